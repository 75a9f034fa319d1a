"""`endcap export-logs --watch`: what is new, round after round, until it is told to stop."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from cloud_logs import assert_all_there, embedded, log, there
from emulated_cloud import ROOT, environment
from logged_shop import log_events

from jobs.experiments import logs

pytestmark = pytest.mark.gcp


def test_a_round_that_fails_is_said_and_the_next_one_goes_on(shop, monkeypatch):
    """Rounds that moved something are told, others not; an error is said, and what it left is moved then."""
    host, said = "BIGQUERY_STORAGE_EMULATOR_HOST", []
    between = iter(
        [
            lambda: log(shop, 5, 3),
            lambda: (log(shop, 8, 2), monkeypatch.setenv(host, "127.0.0.1:1")),
            lambda: monkeypatch.setenv(host, answers),
            lambda: None,
        ]
    )
    answers = os.environ[host]

    def ended(seconds):
        todo = next(between, None)
        if todo is not None:
            todo()
        return todo is None or seconds != 7

    log(shop, 0, 5)
    found = list(logs.watched(shop, 7, ended=ended, say=said.append))
    assert [(result.rows, result.detail.rpartition(" ")[2]) for result in found] == [
        (10, "4"),
        (6, "4"),
        (0, "4"),
    ]
    assert len(said) == 1
    assert re.match(r"could not export: BigQuery could not load the logs into .*: 503 ", said[0])
    assert_all_there(shop)


@contextmanager
def watching(where):
    """`endcap export-logs --watch 1`, once its first round is done."""
    command = [sys.executable, "-m", "jobs.cli", "export-logs", "--watch", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=where, cwd=ROOT, **pipes) as process:
        try:
            assert process.stdout.readline().startswith("export-logs ")
            yield process
        finally:
            process.kill()


def test_a_watch_streams_a_new_event_within_seconds(shop, bigquery):
    """In a process of its own, which says a line for it, and ends in peace when it is told to."""
    log(shop, 0, 5)
    with watching(environment(shop, bigquery.url, "")) as process:
        begin = time.monotonic()
        log_events(shop, 5, 1)
        while there(shop, "events").total() != 6:
            assert time.monotonic() - begin < 10
            time.sleep(0.1)
        assert re.match(r"export-logs +1 new rows .* events 1, parts loaded", process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=10)
    told = "what is new, every 1 s; Ctrl-C ends it after a round\n"
    assert (process.returncode, rest, errors) == (0, "", told)
    assert_all_there(shop)


def test_a_watch_needs_no_google_cloud(shop):
    """Under the embedded profile only parts are written, without Google's libraries; an interrupt ends it."""
    local = embedded(shop)
    log(local, 0, 5)
    with watching(environment(local, "", "")) as process:
        log_events(local, 5, 1)
        assert process.stdout.readline().endswith("answers 0, events 1\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    assert logs.run(local).rows == 0
