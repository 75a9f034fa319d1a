"""`endcap submit` where the bucket is mounted as the state folder: its lock, its markers, its rows."""

import dataproc_shop
import pytest
from dataproc_shop import batch_ids, last_line, submit
from feature_rows import CALENDAR

from feature_repo.settings import Settings
from jobs.markers import Marker, read_marker, write_marker
from jobs.result import Result
from jobs.writer_lock import writer_lock

pytestmark = pytest.mark.gcp


@pytest.fixture
def mounted(tmp_path):
    """A machine with the bucket mounted, whose step is done already, and Dataproc."""
    settings = Settings(state=tmp_path, reports=tmp_path)
    settings.shop_calendar.parent.mkdir()
    CALENDAR.save(settings.shop_calendar)
    marker = Marker("run", "2024-01-01T00:00:00+00:00", {}, Result("build-features", 1, "rows", tmp_path), 0)
    write_marker(settings, "build-features", marker)
    with dataproc_shop.cloud(tmp_path) as server:
        yield settings, server


def test_a_step_is_not_done_while_its_batch_runs_or_has_failed(mounted):
    """Its marker goes before a batch may change what is there; a refusal before that leaves it."""
    settings, cloud = mounted
    cloud.buckets.refuse = (403, "no")
    submit("build-features")
    assert read_marker(settings, "build-features")
    cloud.buckets.refuse, cloud.states = None, ("RUNNING", "FAILED")
    cloud.hooks["CreateBatch"] = lambda _: cloud.calls.append(read_marker(settings, "build-features"))
    submit("build-features")
    assert None in cloud.calls
    assert read_marker(settings, "build-features") is None


@pytest.mark.usefixtures("mounted")
def test_a_batch_that_leaves_no_record_here_does_not_count():
    """The folder that is mounted may be of another bucket."""
    told = submit("build-features")
    assert (told.exit_code, "No cluster has done build-features" in last_line(told)) == (1, True)


def test_nobody_writes_to_the_state_folder_meanwhile(mounted):
    """Who does already is named, and nothing is submitted."""
    settings, cloud = mounted
    with writer_lock(settings):
        told = submit("build-features")
    assert (told.exit_code, "is writing to" in last_line(told), cloud.calls) == (1, True, [])


def test_other_rows_are_another_run(mounted):
    """After `endcap ingest` the same command does the step anew, also where the words are the same."""
    settings, cloud = mounted
    for run in ("first", "second"):
        marker = Marker(run, "2024-01-01T00:00:00+00:00", {}, Result("ingest", 1, "rows", ""), 0)
        write_marker(settings, "ingest", marker)
        submit("build-features")
    assert len(set(batch_ids(cloud))) == 2


def test_a_day_that_was_done_anew_makes_the_next_another_run(mounted):
    """A day's features go on from those of the day before."""
    settings, cloud = mounted
    for run in ("first", "second"):
        marker = Marker(run, "2024-01-01T00:00:00+00:00", {}, Result("build-features", 1, "rows", ""), 0)
        write_marker(settings, "2024-01-08/build-features", marker)
        submit("build-features", "--date", "2024-01-09")
    assert len({name.removesuffix("-1") for name in batch_ids(cloud)}) == 2
