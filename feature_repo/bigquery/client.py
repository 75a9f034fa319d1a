"""BigQuery's client: of the dataset's project, with the machine's or the person's own credentials.

Under the profile gcp-emulated it speaks to the emulator that BIGQUERY_EMULATOR_HOST names, with none, and to
the one at BIGQUERY_STORAGE_EMULATOR_HOST to stream rows.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google.auth
import grpc
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from feature_repo.settings import Settings, SettingsError


class BigQueryError(RuntimeError):
    """BigQuery has not done what it was asked; the message says what that was, and its reason."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say in one line what was tried where Google's client fails."""
    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise BigQueryError(f"BigQuery could not {what}: {' '.join(str(error).split())}") from error


def connected(settings: Settings) -> bigquery.Client:
    """A client of the dataset's project, which pays, for jobs where the dataset lies."""
    prepare(settings)
    project = settings.dataset.split(".")[0]
    client = bigquery.Client(project, credentials())
    try:
        location = client.get_dataset(settings.dataset).location
    except NotFound as error:
        raise BigQueryError(
            f"There is no dataset {settings.dataset}; make it where its data are to lie:"
            f" bq --location=EU mk --dataset {settings.dataset.replace('.', ':')}"
        ) from error
    return bigquery.Client(project, credentials(), location=location)


def streaming(settings: Settings) -> BigQueryWriteClient:
    """A client that streams rows into tables; `with` it, which closes its connection."""
    prepare(settings)
    if settings.profile != "gcp-emulated":
        return BigQueryWriteClient(credentials=credentials())
    host = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
    if not host:
        raise SettingsError(
            "BIGQUERY_STORAGE_EMULATOR_HOST is not set, and ENDCAP_PROFILE is gcp-emulated;"
            " use HOST:PORT at which an emulator serves gRPC"
        )
    return BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=grpc.insecure_channel(host)))


def credentials() -> Any:
    """Those of the machine or the person: Google's application default credentials."""
    found, _ = google.auth.default(scopes=bigquery.Client.SCOPE)
    return found


def prepare(settings: Settings) -> None:
    """Let clients of this process, Feast's and Ibis' own too, speak to the emulator if the profile says so.

    It takes no credentials, and gives results over REST only. SettingsError without an emulator: the clients
    would go to Google's.
    """
    if settings.profile == "gcp-emulated":
        if not os.environ.get("BIGQUERY_EMULATOR_HOST", "").startswith("http"):
            raise SettingsError(
                "BIGQUERY_EMULATOR_HOST is not set, and ENDCAP_PROFILE is gcp-emulated;"
                " use http://HOST:PORT of an emulator"
            )
        google.auth.default = anonymous
        RowIterator._should_use_bqstorage = over_rest  # type: ignore[method-assign]


def anonymous(*_: Any, **__: Any) -> tuple[Any, None]:
    """What `google.auth.default` gives where nobody asks who it is."""
    return AnonymousCredentials(), None  # type: ignore[no-untyped-call]


def over_rest(*_: Any, **__: Any) -> bool:
    """Whether rows come by the Storage Read API: never."""
    return False
