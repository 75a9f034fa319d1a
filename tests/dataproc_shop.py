"""`endcap submit` in this process, against a Dataproc and a Cloud Storage of our own."""

import signal
from contextlib import contextmanager

import dataproc_server
import pytest
import storage_server
from click.testing import CliRunner
from google.cloud import dataproc_v1 as api

from jobs.cli import endcap
from jobs.google_cloud import dataproc

LAKE = "gs://my-shop-lake/state"
PLACE = ("--project", "my-shop", "--region", "europe-west4")


@contextmanager
def cloud(state):
    """The server, over a state folder; clients of this process are its, wait for nothing, sign in nowhere."""
    with (
        storage_server.serving() as (buckets, url),
        dataproc_server.serving(buckets) as (server, channel),
        pytest.MonkeyPatch.context() as patch,
    ):
        for kind, name in ((dataproc.Batches, "BatchController"), (dataproc.Jobs, "JobController")):
            patch.setattr(kind, "connected", connection(kind, getattr(api, f"{name}Client"), channel))
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        patch.setenv("ENDCAP_STATE", str(state))
        patch.setenv("ENDCAP_BUCKET", LAKE)
        patch.setattr(dataproc, "POLL_S", 0.001)
        patch.setattr(dataproc, "PATIENCE_S", 0.2)
        before = [signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)]
        yield server
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def connection(kind, client, channel):
    """A runner's `connected` that uses a channel."""
    return lambda where: kind(where, client(transport=client.get_transport_class("grpc")(channel=channel)))


def submit(step, *words):
    """What `endcap submit STEP` comes to in this process."""
    return CliRunner().invoke(endcap, ["submit", step, *PLACE, *words])


def batch_ids(server):
    """Ids of the batches that were created, in order."""
    return [name.rpartition("/")[2] for name in server.batches]


def last_line(told):
    """The last line of what a verb has said."""
    return told.output.splitlines()[-1]
