"""Bring the code that a Spark cluster runs into the lake's bucket; tell whether that is mounted here.

Its name tells its content, so what is there is right, and an upload is made on condition that there is
nothing: two that upload at a time upload the same.
STORAGE_EMULATOR_HOST names a server to use instead of Google's, as for all of Google's clients.
"""

from typing import Any

from feature_repo.settings import Settings
from jobs.google_cloud.package_zip import Package
from jobs.google_cloud.refusals import told
from jobs.google_cloud.spark_runs import Code

UPLOADER = "roles/storage.objectUser on the bucket"
UPLOAD_S = 60.0


def code_at(root: str, package: Package) -> Code:
    """Where the code of a package lies in a lake."""
    folder = f"{root}/code"
    return Code(f"{folder}/{package.zip_name}", f"{folder}/{package.driver_name}", package.hash)


def upload(project: str, root: str, package: Package) -> int:
    """Have the code in a lake; how many of its two files were brought there now."""
    from google.cloud.storage import Blob, Client

    code, brought = code_at(root, package), 0
    with told(f"upload the code to {root}", needs=UPLOADER, project=project):
        client = Client(project)
        for uri, content in ((code.zip_uri, package.zipped), (code.driver_uri, package.driver)):
            brought += _brought(Blob.from_string(uri, client=client), content)
    return brought


def is_mounted(project: str, root: str, settings: Settings) -> bool:
    """Whether a lake is the state folder here: the record of the last ingest is the same in both."""
    from google.api_core.exceptions import NotFound
    from google.cloud.storage import Blob, Client

    here = settings.state / "tables" / "ingest.json"
    if not here.is_file():
        return False
    uri = f"{root}/tables/ingest.json"
    with told(f"read {uri}", needs=UPLOADER, project=project):
        try:
            there = Blob.from_string(uri, client=Client(project)).download_as_bytes(timeout=UPLOAD_S)
        except NotFound:
            return False
    return bytes(there) == here.read_bytes()


def _brought(blob: Any, content: bytes) -> bool:
    """Whether a file was not there, and is now."""
    from google.api_core.exceptions import PreconditionFailed

    try:
        blob.upload_from_string(content, if_generation_match=0, timeout=UPLOAD_S)
    except PreconditionFailed:
        return False
    return True
