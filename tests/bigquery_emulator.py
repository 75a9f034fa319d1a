"""A BigQuery emulator in a process of its own: `python tests/bigquery_emulator.py` prints its URL and serves.

bqemulator 1.1.1 runs queries in DuckDB after sqlglot has translated them; what it lacks of what we use is
mended below. It ends with its standard input.
"""

import asyncio
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from bqemulator.api.routes import upload
from bqemulator.catalog.models import JobMeta
from bqemulator.config import LogLevel, Settings
from bqemulator.domain.errors import ResourceRef, resource_already_exists
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


async def main():
    """Serve until the standard input ends."""
    server = EmulatorServer(Settings(rest_port=0, grpc_port=0, log_level=LogLevel.ERROR))
    await server.start()
    print(server.rest_url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


asyncio.run(main())
