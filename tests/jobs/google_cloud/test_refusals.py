"""What Google Cloud refuses is told in one line: what was tried, the reason, the next step."""

import pytest
from google.api_core import exceptions as google
from google.auth.exceptions import DefaultCredentialsError, RefreshError

from jobs.google_cloud.refusals import LONGEST, CloudError, told

pytestmark = pytest.mark.gcp


def line(error, **more):
    """How an error is told."""
    with pytest.raises(CloudError) as found, told("make a bucket", **more):
        raise error
    return str(found.value)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (google.PermissionDenied("no"), "grant roles/storage.admin to who runs this"),
        (google.Forbidden("no"), "grant roles/storage.admin to who runs this"),
        (google.ResourceExhausted("no"), "ask for more quota"),
        (google.TooManyRequests("no"), "ask for more quota"),
        (google.NotFound("no"), "check the project, the region and the name"),
        (google.AlreadyExists("no"), "use what is there, or give another name"),
        (google.Aborted("no"), "somebody else changes it now"),
        (google.FailedPrecondition("no"), "it is in a state that does not allow that"),
        (google.InvalidArgument("no"), "correct what is named there"),
        (google.DeadlineExceeded("no"), "it did not answer in time and may still go on"),
        (google.RetryError("no", cause=None), "it did not answer in time and may still go on"),
        (google.ServiceUnavailable("no"), "it is Google's side; run the same command again"),
        (google.InternalServerError("no"), "it is Google's side; run the same command again"),
        (google.Unauthenticated("no"), "sign in anew with"),
        (RefreshError("no"), "sign in anew with"),
        (DefaultCredentialsError("no"), "run `gcloud auth application-default login`"),
        (google.GoogleAPIError("no"), "run the same command again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_next_step(error, step):
    """The line begins with what was tried and where, and ends with what to do."""
    found = line(error, needs="roles/storage.admin", project="my-shop")
    assert found.startswith("Google Cloud could not make a bucket in project my-shop: ")
    assert found.partition("no; ")[2].startswith(step)


def test_it_is_one_line_without_a_password():
    """Google's texts have many lines, and may quote a request with a URL in it."""
    found = line(google.InvalidArgument("env:\n  redis://user:swordfish@10.0.0.3/0\n  is\n\nwrong."))
    assert "InvalidArgument: env: redis://...@10.0.0.3/0 is wrong; correct" in found
    long = line(google.InvalidArgument("x" * 10_000))
    assert len(long) < LONGEST + 200


def test_other_errors_are_left_as_they_are():
    """A mistake of ours stays one."""
    with pytest.raises(KeyError), told("make a bucket"):
        raise KeyError("name")
