"""What Google Cloud refuses, in one line: what was tried, why it was not done, and what to do next.

    with told("upload the model", needs="roles/aiplatform.user", project="my-shop"):
        client.upload_model(...)

Google's errors come as a dozen types with texts of several lines; here each is a CloudError.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 400  # characters of Google's own reason: it may quote a whole request
PASSWORD = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)")


class CloudError(RuntimeError):
    """Google Cloud has not done what it was asked; the message says what that was, why, and what to do."""


@contextmanager
def told(what: str, *, needs: str = "", project: str = "") -> Iterator[None]:
    """Say in one line what was tried where one of Google's clients fails in the block.

    `needs` is the role that allows it, `project` the one that is asked.
    """
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise refusal(error, what, needs=needs, project=project) from error


def refusal(error: Exception, what: str, *, needs: str = "", project: str = "") -> CloudError:
    """One of Google's errors as ours."""
    place = f" in project {project}" if project else ""
    return CloudError(f"Google Cloud could not {what}{place}: {reason(error)}; {next_step(error, needs)}")


def reason(error: Exception) -> str:
    """Why, in one line: the status and Google's words, without a password that they may quote."""
    from google.api_core.exceptions import GoogleAPICallError

    said = getattr(error, "message", None) or str(error)
    line = PASSWORD.sub("...", " ".join(str(said).split())) or type(error).__name__
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    status = type(error).__name__ if isinstance(error, GoogleAPICallError) else ""
    return f"{status}: {line}".removeprefix(": ").rstrip(".;")


def next_step(error: Exception, needs: str) -> str:
    """What to do about it."""
    from google.api_core import exceptions as google
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    if isinstance(error, DefaultCredentialsError):
        return "run `gcloud auth application-default login`, or name a key in GOOGLE_APPLICATION_CREDENTIALS"
    if isinstance(error, GoogleAuthError | google.Unauthenticated):
        return "sign in anew with `gcloud auth application-default login`, and try again"
    role = needs or "the role that allows it"
    steps: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (google.PermissionDenied, f"grant {role} to who runs this, and see that the API is enabled"),
        (google.Forbidden, f"grant {role} to who runs this, and see that the API is enabled"),
        (
            (google.ResourceExhausted, google.TooManyRequests),
            "ask for more quota (console: IAM & Admin, Quotas), or use a smaller machine or another region",
        ),
        (google.NotFound, "check the project, the region and the name"),
        (google.AlreadyExists, "use what is there, or give another name"),
        (google.Aborted, "somebody else changes it now; run the same command again"),
        (google.FailedPrecondition, "it is in a state that does not allow that; see the console"),
        (google.InvalidArgument, "correct what is named there"),
        (
            (google.DeadlineExceeded, google.RetryError, google.GatewayTimeout),
            "it did not answer in time and may still go on; run the same command again to follow it",
        ),
        (google.ServerError, "it is Google's side; run the same command again in a minute"),
    )
    return next((step for kinds, step in steps if isinstance(error, kinds)), "run the same command again")
