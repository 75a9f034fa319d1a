"""What is logged lies in BigQuery within seconds, each row once, whatever happens between row and note."""

import re
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cloud_logs import assert_all_there, embedded, expected, keep, log, there
from experiment_log import experiment, random_log
from google.api_core.exceptions import AlreadyExists, GoogleAPIError
from google.cloud.bigquery_storage_v1 import types
from logged_shop import expected as logged

from feature_repo.bigquery.client import BigQueryError, connected, streaming
from feature_repo.settings import SettingsError
from jobs.experiments import bigquery_stream, logs
from jobs.experiments.bigquery_log import LAYOUTS, load, mark_of
from jobs.experiments.figures import figures
from jobs.experiments.log_rows import TABLES

pytestmark = pytest.mark.gcp
NOWHERE = "0123456789abcdef"  # a stream that there is not


def export(settings):
    """One round of `export-logs --watch`: rows and parts that it moved."""
    return logs.exported(settings, stream=True)[1]


def note_file(settings, name):
    """Where a table's note lies."""
    table = connected(settings).get_table(f"{settings.dataset}.{name}")
    return bigquery_stream.note_of(mark_of(settings, table))


def note(settings, name):
    """A table's note."""
    return bigquery_stream.read_note(note_file(settings, name))


@contextmanager
def not_noted(settings):
    """What was streamed in the block was not noted, as by a crash: a part was begun, and no more is said."""
    before = {name: note(settings, name) for name in LAYOUTS}
    yield
    for name, each in before.items():
        begun = next(p.name for p in logs.parts(logs.logs_folder(settings) / name) if p.name > each.part)
        bigquery_stream.write_note(note_file(settings, name), replace(each, begun=begun))


def end_streams(settings):
    """Finalise all streams, as BigQuery does with those that nothing came to for days."""
    with streaming(settings) as writer:
        for name in LAYOUTS:
            writer.finalize_write_stream(name=note(settings, name).stream)


def forget_streams(settings):
    """Let no stream that is noted be known, as in BigQuery later still."""
    for name in LAYOUTS:
        each = note(settings, name)
        forgotten = replace(each, stream=re.sub(r"[^/]+$", NOWHERE, each.stream))
        bigquery_stream.write_note(note_file(settings, name), forgotten)


@pytest.fixture
def streamed(shop):
    """A shop whose logs were loaded up to answer and event 19, and streamed since, which no part was yet."""
    log(shop, 0, 20)
    export(shop)
    return shop


def test_rounds_are_streamed_and_read_back(streamed):
    """Answers, slots, draws and events of several rounds, behind what was loaded: all as the logs have it."""
    for first, n in [(20, 30), (50, 1), (51, 40)]:
        log(streamed, first, n)
        assert export(streamed) == 2 * n + 4
        assert_all_there(streamed)
    assert export(streamed) == 0
    assert (note(streamed, "events").offset, note(streamed, "exposures").offset) == (
        71,
        len(logged(streamed)["exposures"]) - there_first(streamed),
    )


def there_first(settings):
    """Rows of the first part of the exposures, which was loaded."""
    return pq.read_metadata(logs.parts(logs.logs_folder(settings) / "exposures")[0]).num_rows


def test_what_was_there_before_is_loaded_by_jobs(shop):
    """All parts before the first round have marks; from then on a plain `export-logs` streams, too."""
    for first in (0, 10):
        log(shop, first, 10)
        logs.run(shop)
    log(shop, 20, 10)
    export(shop)
    mark = note_file(shop, "events").with_suffix("")
    begun = note(shop, "events")
    assert (begun.offset, begun.part) == (0, "part-000000000021-000000000030.parquet")
    assert mark.read_text() == begun.part
    log(shop, 30, 10)
    assert "parts loaded into BigQuery 4" in logs.run(shop).detail
    assert mark.read_text() == begun.part
    assert note(shop, "events") == replace(begun, offset=10, part="part-000000000031-000000000040.parquet")
    assert_all_there(shop)


def test_what_was_not_noted_is_not_streamed_twice(streamed):
    """After a crash between rows and note a part goes to the same offsets, which are taken; then the next."""
    log(streamed, 20, 30)
    with not_noted(streamed):
        export(streamed)
    log(streamed, 50, 10)
    assert export(streamed) == 20 + 8
    assert_all_there(streamed)


@pytest.mark.parametrize("crashed", [False, True])
def test_a_stream_that_was_ended_is_replaced(streamed, crashed):
    """Nothing is lost or doubled, were the part's rows in it or not."""
    ended = note(streamed, "slots").stream
    log(streamed, 20, 30)
    if crashed:
        with not_noted(streamed):
            export(streamed)
    end_streams(streamed)
    assert export(streamed) >= 4
    assert_all_there(streamed)
    assert note(streamed, "slots").stream != ended
    log(streamed, 50, 10)
    export(streamed)
    assert_all_there(streamed)


def test_a_part_goes_on_where_it_broke_off(streamed, monkeypatch):
    """Cut off between two requests, and the stream ended then, twice: the rest is in the third stream."""
    log(streamed, 20, 40)
    append, calls = bigquery_stream.append, iter(range(99))

    def broken(*arguments):
        assert arguments[2] >= 0
        if next(calls) % 3 == 2:
            raise GoogleAPIError("cut off")
        append(*arguments)

    monkeypatch.setattr(bigquery_stream, "LIMIT", 2_000)
    with monkeypatch.context() as patch:
        patch.setattr(bigquery_stream, "append", broken)
        for _ in range(2):
            with pytest.raises(BigQueryError, match="cut off"):
                export(streamed)
            end_streams(streamed)
    assert note(streamed, "slots").offset < 0
    export(streamed)
    assert_all_there(streamed)


def test_a_stream_that_was_forgotten_is_replaced_where_that_is_safe(streamed):
    """Where nothing was on its way; else nobody knows whether it is there: that is said, and nothing sent."""
    log(streamed, 20, 5)
    export(streamed)
    log(streamed, 25, 5)
    forget_streams(streamed)
    export(streamed)
    assert_all_there(streamed)
    log(streamed, 30, 10)
    with not_noted(streamed):
        export(streamed)
    forget_streams(streamed)
    for _ in range(2):
        with pytest.raises(BigQueryError, match=rf"forgotten the stream to {streamed.dataset}\.slots "):
            export(streamed)
    assert_all_there(streamed)
    for name in LAYOUTS:  # as it advises
        connected(streamed).delete_table(f"{streamed.dataset}.{name}")
    export(streamed)
    assert_all_there(streamed)


def test_a_note_of_long_ago_is_told(streamed):
    """A stream that has more rows than a note and the part behind it: drop the table, nothing is sent."""
    log(streamed, 20, 10)
    with not_noted(streamed):
        export(streamed)
        log(streamed, 30, 10)
        export(streamed)
    end_streams(streamed)
    with pytest.raises(BigQueryError, match=r"slots has \d+ rows, where 0 are noted and \d+ follow;"):
        export(streamed)
    assert_all_there(streamed)


def test_big_parts_are_cut_into_requests(streamed, monkeypatch):
    """Each below the limit, at the offset of its first row; a part that was not noted is cut the same way."""
    sent = []
    append = bigquery_stream.append
    monkeypatch.setattr(bigquery_stream, "LIMIT", 2_500)
    monkeypatch.setattr(bigquery_stream, "append", lambda *told: (sent.append(told), append(*told)))
    log(streamed, 20, 60)
    with not_noted(streamed):
        export(streamed)
    first, n = list(sent), len(sent)
    export(streamed)
    assert [told[1:3] + told[4:] for told in sent[n:]] == [told[1:3] + told[4:] for told in first]
    assert max(len(content) for *_, content in first) <= 2_500
    assert len({offset for _, stream, offset, *_ in first if "/slots/" in stream}) > 2
    assert_all_there(streamed)


def test_a_table_made_anew_is_loaded_and_then_streamed_to(streamed):
    """A table that was dropped gets all parts again, and what comes then by a stream of its own."""
    log(streamed, 20, 10)
    export(streamed)
    gone = note(streamed, "slots").stream
    connected(streamed).delete_table(f"{streamed.dataset}.slots")
    log(streamed, 30, 10)
    export(streamed)
    assert (note(streamed, "slots").offset, note(streamed, "slots").stream == gone) == (0, False)
    log(streamed, 40, 10)
    export(streamed)
    assert_all_there(streamed)


def test_rows_that_are_refused_are_told_and_not_noted(shop):
    """In one line, each time; the table has what was before, and the part when it is mended."""
    rows = random_log(1)
    keep(shop, {**rows, "events": rows["events"][:5]})
    load(shop, stream=True)
    path = logs.logs_folder(shop) / "events" / "part-000000001001-000000002000.parquet"
    pq.write_table(pa.Table.from_pylist([dict.fromkeys(TABLES["events"].names, "?")]), path)
    before = note(shop, "events")
    for _ in range(2):
        with pytest.raises(BigQueryError, match=f"could not load the logs into {shop.dataset}: 400 [^\n]*$"):
            load(shop)
    found = note(shop, "events")
    assert (found.part, found.offset) == (before.part, before.offset)
    assert there(shop, "events") == expected("events", rows["events"][:5])
    path.unlink()
    keep(shop, {"events": rows["events"][5:]}, first=1001)
    load(shop)
    assert there(shop, "events") == expected("events", rows["events"])


BATCH = pa.record_batch({"event_id": ["e1"]})


def appended(answer):
    """What comes of rows to which BigQuery answers so, and what it was asked."""
    asked = []

    def append_rows(requests, *, metadata, **_):
        asked.extend([*requests, *metadata])
        if isinstance(answer, Exception):
            raise answer
        return map(types.AppendRowsResponse, answer)

    writer = SimpleNamespace(append_rows=append_rows)
    bigquery_stream.append(writer, "s", 7, BATCH.schema, BATCH.serialize().to_pybytes())
    return asked


TAKEN = {"error": {"code": 6, "message": "taken"}}


@pytest.mark.parametrize("answer", [[{"append_result": {"offset": 7}}], [TAKEN], AlreadyExists("taken")])
def test_rows_that_are_there_already_are_done(answer):
    """Whether an answer says that or the call's own status; the request says which rows, and where."""
    request, where = appended(answer)
    assert (request.write_stream, request.offset) == ("s", 7)
    schema = request.arrow_rows.writer_schema.serialized_schema
    found = pa.ipc.open_stream(schema + request.arrow_rows.rows.serialized_record_batch).read_all()
    assert found.to_pylist() == BATCH.to_pylist()
    assert where == ("x-goog-request-params", "write_stream=s")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([], "closed without an answer"),
        ([{"error": {"code": 8, "message": "too much"}}], "429 too much"),
        ([{"row_errors": [{"index": 2, "message": "no time"}]}], "refuses row 9 of s: no time"),
    ],
)
def test_all_other_answers_are_errors(answer, error):
    """None at all, a status, or rows of which one is bad, which is named."""
    with pytest.raises((GoogleAPIError, BigQueryError), match=error):
        appended(answer)


def without_noise(records):
    """Records with nine digits of each number."""
    return [
        {key: float(f"{value:.9g}") if isinstance(value, float) else value for key, value in each.items()}
        for each in records
    ]


def test_figures_over_streamed_tables_are_those_of_the_logs(shop):
    """A report's records, users and newest answer, over tables whose every row was streamed."""
    load(shop, stream=True)
    keep(shop, random_log(1))
    ours, theirs = figures(embedded(shop), experiment()), figures(shop, experiment())
    assert note(shop, "exposures").offset == len(random_log(1)["exposures"])
    assert (theirs.users, theirs.newest) == (ours.users, ours.newest)
    assert len(ours.records) > 10
    assert without_noise(theirs.records) == without_noise(ours.records)


def test_what_is_missing_is_said(shop, monkeypatch):
    """In one line: the setting, or that nobody answers there; what was loaded stays."""
    log(shop, 0, 5)
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    with pytest.raises(BigQueryError, match=r"could not load the logs into .*: 503 [^\n]*$"):
        export(shop)
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    with pytest.raises(SettingsError, match=r"BIGQUERY_STORAGE_EMULATOR_HOST is not set, and ENDCAP_PROFILE"):
        export(shop)
    assert logs.run(shop).rows == 0
    assert_all_there(shop)
