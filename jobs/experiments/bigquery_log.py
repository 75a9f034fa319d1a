"""The tables of the logs in BigQuery, under the gcp profile: each part is loaded once, and read with Ibis.

In: the parts of `logs.py`. Out: the tables `exposures`, `slots`, `draws` and `events` of the dataset
ENDCAP_BIGQUERY_DATASET, with the same columns.

    ENDCAP_PROFILE=gcp ENDCAP_BIGQUERY_DATASET=my-shop.endcap endcap export-logs

A part is loaded by one job whose id says what is loaded where: the table, the part's name, and a digest of
its content. BigQuery takes an id once, so whoever comes again, after a crash or beside another, is told that
there is such a job, and looks how it ended. A load is all or nothing: one that failed has loaded nothing, and
the next has the next number in its id. Who exports a log anew, as other parts, has to drop the tables first.

`endcap export-logs --watch` loads what there is and then streams the rest (`bigquery_stream.py`): a table has
load jobs up to a part, and a stream behind it, for good.

The services of one shop may each load their log into one dataset; what their parts hold tells them apart.
Request ids are random (uuid4), so no two are alike. Event ids are the clients' and have to be unlike in the
whole shop: an event that two services were told is one event, and counts once.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from hashlib import blake2b
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import Conflict, GoogleAPIError
from google.cloud import bigquery

from feature_repo.bigquery.client import connected, credentials, streaming, told
from feature_repo.bigquery.layouts import Layout
from feature_repo.bigquery.tables import from_parquet, laid_out
from feature_repo.settings import Settings
from jobs.experiments import bigquery_stream
from jobs.experiments.log_rows import STAMP, TABLES, TIMES
from jobs.experiments.logs import logs_folder, parts

# In the order in which they are loaded: a page before its answer, and what came of it last.
LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "slots": Layout(TIMES["slots"], ("request_id",)),
        "draws": Layout(TIMES["draws"], ("request_id",)),
        "exposures": Layout(TIMES["exposures"], ("experiment", "user_id")),
        "events": Layout(TIMES["events"], ("user_id",)),
    }
)
TYPES: Mapping[pa.DataType, str] = MappingProxyType(
    {
        pa.string(): "STRING",
        pa.bool_(): "BOOL",
        pa.int64(): "INT64",
        pa.float64(): "FLOAT64",
        STAMP: "TIMESTAMP",
    }
)


def load(settings: Settings, *, stream: bool = False) -> int:
    """Have the parts in BigQuery that are not yet; how many. BigQueryError where that fails.

    By load jobs, and behind the last of these by a stream, once there was a call with `stream`.
    """
    moved = 0
    with told(f"load the logs into {settings.dataset}"), ExitStack() as opened:
        client = connected(settings)
        writer = cache(lambda: opened.enter_context(streaming(settings)))  # where rows are streamed at all
        for name in LAYOUTS:
            table = table_of(client, settings.dataset, name)
            mark, found = mark_of(settings, table), parts(logs_folder(settings) / name)
            note = bigquery_stream.note_of(mark)
            if not note.is_file():
                moved += load_new(client, mark, table, found)
                if stream:
                    bigquery_stream.begin(writer(), note, table, last_loaded(mark))
            elif found and found[-1].name > bigquery_stream.read_note(note).part:
                moved += bigquery_stream.append_new(writer(), note, table, found)
    return moved


def load_new(client: bigquery.Client, mark: Path, table: bigquery.Table, found: Sequence[Path]) -> int:
    """Load the parts behind the marked one, and mark each; how many."""
    last = last_loaded(mark)
    new = [part for part in found if part.name > last]
    for part in new:
        load_once(client, part, table)
        write_mark(mark, part)
    return len(new)


def tables(settings: Settings) -> dict[str, Any] | None:
    """The dataset's tables by name as Ibis has them, None where nothing was shown yet.

    `transactions`, the contract's, is None where the dataset has none.
    """
    import ibis

    with told(f"read the logs in {settings.dataset}"):
        client = connected(settings)
        shown = client.get_table(f"{settings.dataset}.exposures")
        if not shown.num_rows and not shown.streaming_buffer:  # rows count when they have left the buffer
            return None
        dataset = settings.dataset.split(".")[1]
        there = {table.table_id for table in client.list_tables(dataset)}
        connection = ibis.bigquery.connect(client=client, credentials=credentials(), dataset_id=dataset)
        names = (*LAYOUTS, "transactions")
        return {name: connection.table(name) if name in there else None for name in names}


def table_of(client: bigquery.Client, dataset: str, name: str) -> bigquery.Table:
    """A table of the logs, made where it is not there yet."""
    return laid_out(client, f"{dataset}.{name}", columns(TABLES[name]), LAYOUTS[name])


def columns(schema: pa.Schema) -> list[bigquery.SchemaField]:
    """A part's columns as BigQuery has them."""
    return [
        bigquery.SchemaField(each.name, TYPES[each.type.value_type], mode="REPEATED")
        if pa.types.is_list(each.type)
        else bigquery.SchemaField(each.name, TYPES[each.type])
        for each in schema
    ]


def load_once(client: bigquery.Client, part: Path, table: bigquery.Table) -> None:
    """Have a part in a table, by a load now or before; one without rows needs none.

    A job that was there is waited for; only if it failed itself, not the way to it, there is another.
    """
    if pq.read_metadata(part).num_rows == 0:
        return
    name = job_name(part, table)
    for attempt in count(1):
        job, new = begun(client, part, table, f"{name}-{attempt}")
        try:
            job.result()
            return
        except GoogleAPIError:
            if new or not job.error_result:
                raise


def begun(client: bigquery.Client, part: Path, table: bigquery.Table, job_id: str) -> tuple[Any, bool]:
    """The job of that id, and whether it is new."""
    how = from_parquet(table, table.schema, bigquery.WriteDisposition.WRITE_APPEND)
    try:
        with part.open("rb") as file:
            return client.load_table_from_file(file, table, job_id=job_id, job_config=how), True
    except Conflict:
        return client.get_job(job_id), False


def job_name(part: Path, table: bigquery.Table) -> str:
    """What is loaded where. A table that was dropped and made again is another."""
    digest = blake2b(f"{table.full_table_id} {table.created}".encode(), digest_size=16)
    digest.update(part.read_bytes())
    return f"endcap-{table.table_id}-{part.stem}-{digest.hexdigest()}"


def mark_of(settings: Settings, table: bigquery.Table) -> Path:
    """File that names the last part that is in a table, which saves asking for all before it."""
    made = f"{table.created:%Y%m%dT%H%M%S.%f}"
    return logs_folder(settings) / "loaded" / f"{settings.dataset}.{table.table_id}.{made}"


def last_loaded(mark: Path) -> str:
    """The last part that a mark names, empty for none."""
    return mark.read_text() if mark.is_file() else ""


def write_mark(mark: Path, part: Path) -> None:
    """Note a part, aside and renamed."""
    mark.parent.mkdir(parents=True, exist_ok=True)
    aside = mark.with_name(f"{mark.name}.aside")
    aside.write_text(part.name)
    aside.replace(mark)
