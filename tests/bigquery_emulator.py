"""A BigQuery emulator in a process of its own: `python tests/bigquery_emulator.py` prints where it serves.

That is its URL, and HOST:PORT of what streams rows.

bqemulator 1.1.1 runs queries in DuckDB after sqlglot has translated them; what it lacks of what we use is
mended below. It ends with its standard input. Given a folder, it writes each query into a file of it, for
tests of what is asked; gs://BUCKET is a folder of that name beside them.
"""

import asyncio
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from bqemulator.api.routes import jobs, tables, upload
from bqemulator.catalog.models import JobMeta
from bqemulator.config import LogLevel, Settings
from bqemulator.domain.errors import ResourceRef, resource_already_exists
from bqemulator.grpc_api.write_servicer import BigQueryWriteHandler
from bqemulator.scripting.interpreter import ScriptInterpreter
from bqemulator.server import EmulatorServer
from bqemulator.storage.engine import DuckDBEngine
from sqlglot.parsers.bigquery import BigQueryParser

# It would download extensions of DuckDB, for geography and Avro.
DuckDBEngine._load_spatial = DuckDBEngine._load_format_extensions = lambda _: None
# It parses each query twenty times, most of it in search of `FROM table, table.array`, which we never write.
BigQueryParser.SUPPORTS_IMPLICIT_UNNEST = False

# A load of an uploaded file has the id that the client gave it, and that once.
job_id: ContextVar[str] = ContextVar("job_id")
configuration_of, run_load = upload._load_configuration_from_envelope, upload._run_load


def with_job_id(envelope):
    """The configuration and, beside it, which job it is of."""
    return {**configuration_of(envelope), "jobReference": envelope["jobReference"]}


async def run_load_once(*, project_id, configuration, ctx, **rest):
    """`_run_load` under the client's id, which is taken from when it begins."""
    name = configuration.pop("jobReference")["jobId"]
    if ctx.catalog.get_job(project_id, name) is not None:
        raise resource_already_exists(ResourceRef("job", project_id, resource_id=name))
    times = dict.fromkeys(("creation_time", "start_time"), datetime.now(UTC))
    what = {"configuration": configuration, "job_type": "LOAD", "state": "RUNNING", "etag": name}
    ctx.catalog.upsert_job(JobMeta(project_id=project_id, job_id=name, **what, **times))
    job_id.set(name)
    return await run_load(project_id=project_id, configuration=configuration, ctx=ctx, **rest)


upload._load_configuration_from_envelope, upload._run_load = with_job_id, run_load_once
upload._new_job_id = job_id.get
upload._PERMITTED_MEDIA_CONTENT_TYPES += ("*/*",)  # as Google's client says of small files


# A table is asked for what must be filtered by itself, no longer by its partitioning.
meta_of, rest_of = tables._rest_to_table_meta, tables._table_to_rest


def meta_with_filter(project_id, dataset_id, body, clock, existing=None):
    """What is kept of a table."""
    by, name = body.get("timePartitioning"), "requirePartitionFilter"
    body = {**body, "timePartitioning": {**by, name: body.get(name, False)}} if by else body
    return meta_of(project_id, dataset_id, body, clock, existing)


def rest_with_filter(table):
    """What is told of a table."""
    by = table.time_partitioning
    return {**rest_of(table), "requirePartitionFilter": bool(by and by.require_partition_filter)}


tables._rest_to_table_meta, tables._table_to_rest = meta_with_filter, rest_with_filter

# A column of Parquet is the table's of its name, wherever it stands.
execute = DuckDBEngine.execute
DuckDBEngine.execute = lambda self, sql, parameters=None: execute(
    self, sql.replace(" SELECT * FROM read_parquet(?)", " BY NAME SELECT * FROM read_parquet(?)"), parameters
)
# Temporary tables are a script's own, and here those of all scripts together.
exec_sql = ScriptInterpreter._exec_sql
ScriptInterpreter._exec_sql = lambda self, sql: exec_sql(
    self, sql.replace("CREATE TEMP TABLE", "CREATE OR REPLACE TEMP TABLE")
)
# Streamed rows come in a thread of gRPC's; the database is the main thread's, and the last result in the way.
flush_to_target = BigQueryWriteHandler._flush_to_target


async def flush_alone(handler, stream, rows):
    """`_flush_to_target` where and when nothing else is done."""
    engine = handler._ctx.engine
    async with engine.write_lock():
        engine.execute("SELECT 1").fetchall()
        flush_to_target(handler, stream, rows)


def flush_or_not(handler, stream, rows):
    """Wait for that; rows that do not come in have taken no offset."""
    try:
        asyncio.run_coroutine_threadsafe(flush_alone(handler, stream, rows), loops[0]).result()
    except BaseException:
        stream.next_offset -= rows.num_rows
        stream.row_count -= rows.num_rows
        raise


loops, BigQueryWriteHandler._flush_to_target = [], flush_or_not
FOLDER = Path(sys.argv[1]).absolute() if len(sys.argv) > 1 else None
numbers, execute_query_job = count(1), jobs.execute_query_job


async def execute_noted(project_id, job_id, bq_sql, *rest, **named):
    """`execute_query_job`, with a note of what was asked."""
    if FOLDER:
        (FOLDER / f"{next(numbers):06d}.sql").write_text(bq_sql)
    return await execute_query_job(project_id, job_id, bq_sql, *rest, **named)


jobs.execute_query_job = execute_noted


async def main():
    """Serve until the standard input ends."""
    loops.append(asyncio.get_running_loop())
    where = {"gcs_local_root": FOLDER} if FOLDER else {}
    server = EmulatorServer(Settings(rest_port=0, grpc_port=0, log_level=LogLevel.ERROR, **where))
    await server.start()
    print(server.rest_url, f"127.0.0.1:{server.grpc_port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


asyncio.run(main())
