"""Google Cloud on this machine: BigQuery as its emulator, buckets as folders, and settings that use them."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import google.auth.credentials
from google.cloud import bigquery as client

from feature_repo.settings import Settings

EMULATOR = Path(__file__).with_name("bigquery_emulator.py")
ROOT = Path(__file__).resolve().parents[1]
PROJECT = "my-shop"
numbers = count(1)


@dataclass(frozen=True)
class Emulator:
    """Where it answers, where it takes streams of rows, and the folder of queries and buckets."""

    url: str
    streams: str
    folder: Path

    def queries(self):
        """What it was asked so far, in order."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sql"))]


@contextmanager
def bigquery(folder):
    """A BigQuery emulator for as long as the block lasts."""
    command = [sys.executable, "-W", "ignore", str(EMULATOR), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=os.environ | {"ENDCAP_PROFILE": "gcp-emulated"}, **pipes) as process:
        yield Emulator(*next(line.split() for line in process.stdout if line.startswith("http")), folder)
        process.stdin.close()


def connected(url):
    """Google's client of that emulator."""
    nobody = google.auth.credentials.AnonymousCredentials()
    return client.Client(PROJECT, nobody, client_options={"api_endpoint": url})


def new_dataset(url):
    """PROJECT.DATASET of a dataset that nobody else has."""
    dataset = f"{PROJECT}.endcap_{next(numbers)}"
    connected(url).create_dataset(dataset)
    return dataset


def empty_shop(url, folder):
    """Settings of a shop whose dataset has nothing in it."""
    return Settings(folder, folder / "reports", profile="gcp-emulated", bigquery_dataset=new_dataset(url))


def environment(settings, url, redis_url):
    """Environment of a process under the settings of a shop on this machine's Google Cloud."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENDCAP_")}
    return {
        **inherited,
        "ENDCAP_PROFILE": settings.profile,
        "ENDCAP_STATE": str(settings.state),
        "ENDCAP_REPORTS": str(settings.reports),
        "ENDCAP_BIGQUERY_DATASET": settings.bigquery_dataset,
        "ENDCAP_REDIS_URL": redis_url,
        "BIGQUERY_EMULATOR_HOST": url,
    }
