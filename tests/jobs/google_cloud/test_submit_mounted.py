"""`endcap submit` where the bucket is mounted as the state folder: its lock, its markers, its rows."""

import json

import dataproc_shop
import pytest
from dataproc_shop import LAKE, batch_ids, last_line, submit
from feature_rows import CALENDAR

from feature_repo.settings import Settings
from jobs.batches import NotDoneElsewhereError, record_file
from jobs.dataproc_driver import arguments
from jobs.markers import Marker, read_marker, write_marker
from jobs.pipeline import Pipeline
from jobs.result import Result
from jobs.steps import Choices, step_named
from jobs.writer_lock import writer_lock

pytestmark = pytest.mark.gcp


@pytest.fixture
def mounted(tmp_path):
    """A machine with the bucket mounted, whose step is done already, and Dataproc."""
    settings = Settings(state=tmp_path, reports=tmp_path)
    settings.shop_calendar.parent.mkdir()
    CALENDAR.save(settings.shop_calendar)
    (settings.state / "tables" / "ingest.json").write_text('{"last": "2024-01-09"}')
    marker = Marker("run", "2024-01-01T00:00:00+00:00", {}, Result("build-features", 1, "rows", tmp_path), 0)
    write_marker(settings, "build-features", marker)
    with dataproc_shop.cloud(tmp_path) as server:
        server.buckets.objects[f"{LAKE}/tables/ingest.json"] = b'{"last": "2024-01-09"}'
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
    """It may have been of another bucket; the command that is told does it anew, and is not the same."""
    told = submit("build-features")
    assert (told.exit_code, "No cluster has done build-features" in last_line(told)) == (1, True)
    assert "--again`" in last_line(told)


@pytest.mark.parametrize("there", [None, b'{"last": "2024-01-08"}'])
def test_a_state_folder_that_is_not_the_lake_stays_as_it_is(mounted, there):
    """A machine's own folder, or one of another shop: its step is done, and only the batch is run."""
    settings, cloud = mounted
    uri = f"{LAKE}/tables/ingest.json"
    cloud.buckets.objects.pop(uri) if there is None else cloud.buckets.objects.update({uri: there})
    with writer_lock(settings):
        told = submit("build-features")
    assert (told.exit_code, "is not mounted as" in last_line(told), len(cloud.batches)) == (0, True, 1)
    assert read_marker(settings, "build-features")


def test_vectors_of_another_model_are_not_taken_for_the_usual_ones(mounted):
    """The marker says which model was asked for, so that a run without it does the step anew."""
    settings, cloud = mounted
    table = settings.feature_table("item_text")

    def embedded(request):
        table.mkdir(parents=True, exist_ok=True)
        asked = arguments(list(request.batch.pyspark_batch.args))
        result = {"step": "embed-items", "rows": 1, "unit": "items", "where": "gs://lake", "notes": []}
        record = {"began_at": "2024-01-09T00:00:00+00:00", "code": asked.code, "model": asked.model or ""}
        path = record_file(settings, "embed-items", None)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(record | {"result": result}))

    cloud.hooks["CreateBatch"] = embedded
    assert submit("embed-items", "--model", "gs://m/bert").exit_code == 0
    pipeline, step = Pipeline(settings), step_named("embed-items")
    assert pipeline.reason_to_run(step, Choices(model="gs://m/bert")) is None
    assert pipeline.reason_to_run(step, Choices()) == "arguments changed"
    with pytest.raises(NotDoneElsewhereError, match=r"--model 'gs://m/bert', and it is asked for with ''"):
        pipeline.taken_over(step, Choices())


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
