"""Rows of the logs into BigQuery within seconds, each once: a stream of the Storage Write API for each table.

In: the parts of `logs.py` that no load job was for. Out: their rows in the tables of `bigquery_log.py`.

    ENDCAP_PROFILE=gcp ENDCAP_BIGQUERY_DATASET=my-shop.endcap endcap export-logs --watch 5

A row goes to an offset of its stream, and BigQuery takes one row at each. A note beside the marks of the load
jobs says which stream a table has, the last part that is in it, and the offset that comes next; it is written
when a part is in. Whoever comes again after a crash sends the part to the same offsets, and is told that they
are taken (ALREADY_EXISTS), which is as good as done. Parts lie on the disk before they are sent, and are cut
into requests by what is in them alone, so the second time is like the first.

BigQuery ends a stream that nothing came to for four days. It then says how many rows it has, and the part
goes on in a new stream behind them. If it has forgotten the stream altogether, a part that was on its way
then may be in or not: that is said, and nothing is sent. A table that was dropped and made anew has another
note. Who loses the notes has to drop the tables: load jobs know nothing of what was streamed.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import (
    AlreadyExists,
    FailedPrecondition,
    GoogleAPIError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    from_grpc_status,
)
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient

from feature_repo.bigquery.client import BigQueryError

LIMIT = 8_000_000  # bytes of rows in one request, of which BigQuery takes up to 10 MB
PATIENCE_S = 60.0  # for one request; the next call sends it again
# What is said of a stream that was ended or forgotten; of bad rows, too, so a new stream is tried once.
GONE = (NotFound, FailedPrecondition, InvalidArgument, OutOfRange)


@dataclass(frozen=True)
class Note:
    """How far a table's stream has come.

    `part` is the last that is in the table, `offset` where the next part's first row goes: negative where so
    many of its rows are in already, by an earlier stream. `begun` is that next part, once it is on its way.
    """

    stream: str
    offset: int
    part: str
    begun: str = ""


def begin(writer: BigQueryWriteClient, path: Path, table: bigquery.Table, part: str) -> None:
    """Have all behind a part streamed from now on; those up to it are loaded."""
    write_note(path, Note(new_stream(writer, table), 0, part))


def append_new(writer: BigQueryWriteClient, path: Path, table: bigquery.Table, parts: Sequence[Path]) -> int:
    """Append the rows of the parts that come after the last in the table; how many parts."""
    last = read_note(path).part
    new = [part for part in parts if part.name > last]
    for part in new:
        append_part(writer, path, table, part)
    return len(new)


def append_part(writer: BigQueryWriteClient, path: Path, table: bigquery.Table, part: Path) -> None:
    """Have the rows of a part in a table, and note it; a stream that takes no more is replaced, once."""
    note, rows = read_note(path), pq.read_table(part)
    on_its_way = note.begun == part.name
    for again in (False, True):
        write_note(path, replace(note, begun=part.name))
        try:
            for first, content in pieces(rows, after=max(0, -note.offset)):
                append(writer, note.stream, note.offset + first, rows.schema, content)
                on_its_way = True
        except GONE:
            if again:
                raise
            note = replaced(writer, note, table, rows.num_rows, part.name if on_its_way else "")
        else:
            write_note(path, Note(note.stream, note.offset + rows.num_rows, part.name))
            return


def pieces(rows: pa.Table, *, after: int) -> Iterator[tuple[int, bytes]]:
    """Rows from one on as requests take them: the number of each piece's first row, and its content."""
    for batch in rows.slice(after).combine_chunks().to_batches():
        for small in fitting(batch):
            yield after, small.serialize().to_pybytes()
            after += small.num_rows


def fitting(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Some rows, halved until each piece is small enough for a request."""
    if rows.num_rows < 2 or rows.serialize().size <= LIMIT:
        if rows.num_rows:
            yield rows
        return
    half = rows.num_rows // 2
    yield from fitting(rows.slice(0, half))
    yield from fitting(rows.slice(half))


def append(writer: BigQueryWriteClient, stream: str, offset: int, schema: pa.Schema, content: bytes) -> None:
    """Have rows at an offset of a stream, by this request or by one before it."""
    rows = types.AppendRowsRequest.ArrowData(
        writer_schema=types.ArrowSchema(serialized_schema=schema.serialize().to_pybytes()),
        rows=types.ArrowRecordBatch(serialized_record_batch=content),
    )
    request = types.AppendRowsRequest(write_stream=stream, offset=offset, arrow_rows=rows)
    where = [("x-goog-request-params", f"write_stream={stream}")]  # by which it finds the table's location
    try:
        # Not retried within: the requests are used up by the first try.
        sent = writer.append_rows(iter([request]), retry=None, timeout=PATIENCE_S, metadata=where)
        answer = next(iter(sent), None)
        if answer is None:
            raise GoogleAPIError("the connection was closed without an answer")
        if answer.row_errors:
            bad = answer.row_errors[0]
            raise BigQueryError(f"BigQuery refuses row {offset + bad.index} of {stream}: {bad.message}")
        if answer.error.code:
            raise from_grpc_status(  # type: ignore[no-untyped-call]
                answer.error.code, answer.error.message
            )
    except AlreadyExists:
        return


def replaced(
    writer: BigQueryWriteClient, note: Note, table: bigquery.Table, n_rows: int, on_its_way: str
) -> Note:
    """A note with a new stream, which goes on where the old one ended; it is not written yet.

    `n_rows` is the next part's, `on_its_way` its name if it was being sent.
    """
    there = finalized(writer, note.stream)
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    if there is None:
        if on_its_way:
            raise BigQueryError(
                f"BigQuery has forgotten the stream to {name} while {on_its_way} was on its way, so its rows"
                f" may be there or not; drop {name}, and it is filled anew"
            )
        return replace(note, stream=new_stream(writer, table), offset=min(0, note.offset))
    done = there - note.offset
    if not 0 <= done <= n_rows:
        raise BigQueryError(
            f"The stream to {name} has {there} rows, where {max(0, note.offset)} are noted and {n_rows}"
            f" follow; drop {name}, and it is filled anew"
        )
    return replace(note, stream=new_stream(writer, table), offset=-done)


def finalized(writer: BigQueryWriteClient, stream: str) -> int | None:
    """End a stream; how many rows it has, None where BigQuery knows it no more."""
    try:
        return int(writer.finalize_write_stream(name=stream, retry=None, timeout=PATIENCE_S).row_count)
    except (NotFound, FailedPrecondition, InvalidArgument):
        return None


def new_stream(writer: BigQueryWriteClient, table: bigquery.Table) -> str:
    """Name of a new stream to a table, whose rows can be read as soon as they are in."""
    parent = writer.table_path(table.project, table.dataset_id, table.table_id)
    kind = types.WriteStream(type_=types.WriteStream.Type.COMMITTED)
    made = writer.create_write_stream(parent=parent, write_stream=kind, retry=None, timeout=PATIENCE_S)
    return str(made.name)


def note_of(mark: Path) -> Path:
    """File of a table's note, beside the mark of its load jobs; once there, the table is streamed to."""
    return mark.with_name(f"{mark.name}.stream")


def read_note(path: Path) -> Note:
    """What was noted last."""
    return Note(**json.loads(path.read_text()))


def write_note(path: Path, note: Note) -> None:
    """Note how far a stream has come, aside and renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_text(json.dumps(asdict(note)))
    aside.replace(path)
