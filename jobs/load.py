"""Bring tables and feature tables into BigQuery, under the gcp profile: what changed since the last time.

In: the Parquet parts of the tables of the contract and of the features. Out: tables of the same names in the
dataset ENDCAP_BIGQUERY_DATASET, laid out as `feature_repo.bigquery.layouts` says.

    ENDCAP_PROFILE=gcp ENDCAP_BIGQUERY_DATASET=my-shop.endcap endcap load

What a full run wrote replaces the whole table by one load job, which costs nothing and is all or nothing. A
day's part takes the place of that day's rows in one statement (MERGE, which reads the partitions of the day).
What is in a table is noted per part after it is there; who comes again after a crash does the same once more.
Where the state folder lies in Cloud Storage (ENDCAP_BUCKET), BigQuery reads the parts there itself.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from google.cloud import bigquery

from feature_repo.bigquery.client import connected, told
from feature_repo.bigquery.layouts import CONTRACT, LAYOUTS, columns_of
from feature_repo.bigquery.tables import from_parquet, laid_out
from feature_repo.settings import Settings
from jobs.result import Result

BASE = "base"
DAY = re.compile(r"(?:day-)?(\d{4}-\d\d-\d\d)\.parquet")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Part:
    """What of a table is replaced as a whole: all of the full run, or a day.

    Attributes
    ----------
    mark
        names, sizes and times of its files: another one where they were written again
    first, last
        the span of its rows' times in microseconds since 1970, None for a full run or no rows
    """

    mark: str
    first: int | None = None
    last: int | None = None


def run(settings: Settings) -> Result:
    """Load what changed; BigQueryError with its reason where that fails, FileNotFoundError without tables."""
    started = perf_counter()
    if not settings.table("transactions").exists():
        raise FileNotFoundError(f"No tables in {settings.state / 'tables'}; run `endcap ingest`")
    notes, total = [], 0
    with told(f"load tables into {settings.dataset}"):
        client = connected(settings)
        for name in LAYOUTS:
            if not any(files_of(settings, name)):
                continue  # features are not there yet
            began = perf_counter()
            parts, rows = Loading(settings, client, name).bring_up_to_date()
            total += rows
            if parts:
                notes.append(f"{name}: {parts} parts, {rows:,} rows in {perf_counter() - began:.1f} s")
    seconds = perf_counter() - started
    return Result("load", total, "rows", settings.state / "bigquery", seconds, settings.dataset, tuple(notes))


def files_of(settings: Settings, name: str) -> Iterator[Path]:
    """Parquet files of a table of the contract or of the features, in order."""
    folder = settings.table(name).parent if name in CONTRACT else settings.feature_table(name)
    return iter(sorted(path for path in folder.glob("*.parquet") if not path.name.startswith((".", "_"))))


def grouped(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by part: a day's under the day, the others are of the full run."""
    found: dict[str, list[Path]] = {}
    for path in files:
        day = DAY.fullmatch(path.name)
        found.setdefault(day[1] if day else BASE, []).append(path)
    return found


class Loading:
    """One table on its way into BigQuery."""

    def __init__(self, settings: Settings, client: bigquery.Client, name: str) -> None:
        self.settings, self.client, self.name, self.layout = settings, client, name, LAYOUTS[name]
        self.schema = [
            bigquery.SchemaField(each.name, each.type, mode=each.mode, description=each.description)
            for each in columns_of(name)
        ]
        self.table = self.made(name)
        self.ledger = settings.state / "bigquery" / f"{settings.dataset}.{name}.json"

    def bring_up_to_date(self) -> tuple[int, int]:
        """Load every part that changed, drop those that went; how many parts and rows were loaded."""
        wanted, there = grouped(list(files_of(self.settings, self.name))), self.noted()
        marks = {name: mark_of(files) for name, files in wanted.items()}
        n_parts = n_rows = 0
        if BASE not in there or there[BASE].mark != marks.get(BASE):
            self.ledger.unlink(missing_ok=True)
            there, n_parts = {}, 1
            n_rows += self.load(wanted.get(BASE, []), self.table)
            self.note(there, BASE, Part(marks.get(BASE, "")))
        for day in sorted((wanted.keys() | there.keys()) - {BASE}):
            if day not in wanted or day not in there or there[day].mark != marks[day]:
                part = Part(marks[day], *span_of(wanted[day], self.layout.time)) if day in wanted else None
                n_rows += self.replace(there.get(day), part, wanted.get(day, []))
                n_parts += 1
                self.note(there, day, part)
        return n_parts, n_rows

    def made(self, name: str) -> bigquery.Table:
        """The table of that name, made where it is not there yet."""
        return laid_out(self.client, f"{self.settings.dataset}.{name}", self.schema, self.layout)

    def load(self, files: Sequence[Path], table: bigquery.Table) -> int:
        """Put the rows of files in the place of all rows of a table; how many."""
        how = from_parquet(table, self.schema, bigquery.WriteDisposition.WRITE_TRUNCATE)
        rows = sum(int(pq.read_metadata(path).num_rows) for path in files)
        if self.settings.bucket:
            uris = [self.settings.uri(path) for path in files]
            self.client.load_table_from_uri(uris, table, job_config=how).result()
        else:
            with one_file(files, self.name) as file:
                self.client.load_table_from_file(file, table, job_config=how).result()
        return rows

    def replace(self, before: Part | None, part: Part | None, files: Sequence[Path]) -> int:
        """Put a day's rows in the place of those it had; how many."""
        times = [
            time for each in (before, part) if each for time in (each.first, each.last) if time is not None
        ]
        if not times:
            return 0
        bounds = [instant("first", min(times)), instant("last", max(times))]
        aside = self.made(f"{self.name}__aside")
        rows = self.load(files, aside)
        time, names = self.layout.time, ", ".join(field.name for field in self.schema)
        self.client.query(
            f"MERGE `{self.settings.dataset}.{self.name}` AS t"
            f" USING (SELECT * FROM `{self.settings.dataset}.{aside.table_id}`"
            f" WHERE {time} BETWEEN @first AND @last) AS s ON FALSE"
            f" WHEN NOT MATCHED BY SOURCE AND t.{time} BETWEEN @first AND @last THEN DELETE"
            f" WHEN NOT MATCHED BY TARGET THEN INSERT ({names}) VALUES ({names})",
            job_config=bigquery.QueryJobConfig(query_parameters=bounds),
        ).result()
        self.client.delete_table(aside)
        return rows

    def noted(self) -> dict[str, Part]:
        """Parts that are in the table; none of a table that was made anew since."""
        if not self.ledger.is_file():
            return {}
        record = json.loads(self.ledger.read_text())
        if record["created"] != self.created:
            return {}
        return {name: Part(**told_of) for name, told_of in record["parts"].items()}

    def note(self, there: dict[str, Part], name: str, part: Part | None) -> None:
        """Note that a part is there, or None: that it is not; aside and renamed."""
        if part is None:
            there.pop(name, None)
        else:
            there[name] = part
        record = {"created": self.created, "parts": {key: asdict(each) for key, each in there.items()}}
        self.ledger.parent.mkdir(parents=True, exist_ok=True)
        aside = self.ledger.with_suffix(".aside")
        aside.write_text(json.dumps(record, indent=1))
        aside.replace(self.ledger)

    @property
    def created(self) -> str:
        """When the table was made."""
        return str(self.table.created)


def mark_of(files: Sequence[Path]) -> str:
    """Names, sizes and times of files."""
    told_of = ((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return " ".join(f"{name}:{size}:{time}" for name, size, time in told_of)


def span_of(files: Sequence[Path], time: str | None) -> tuple[int | None, int | None]:
    """First and last time of the rows in microseconds since 1970, None for both without rows."""
    found: Mapping[str, Any] = pc.min_max(pq.read_table(files, columns=[time])[time]).as_py()
    if found["min"] is None:
        return None, None
    return micros(found["min"]), micros(found["max"])


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(name: str, us: int) -> bigquery.ScalarQueryParameter:
    """A parameter of a query."""
    return bigquery.ScalarQueryParameter(name, "TIMESTAMP", datetime.fromtimestamp(us / 1e6, tz=UTC))


@contextmanager
def one_file(files: Sequence[Path], name: str) -> Iterator[IO[bytes]]:
    """Files as one: a load job takes one upload, and only one job is all or nothing."""
    if len(files) == 1:
        with files[0].open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        schema = pq.read_schema(files[0]) if files else empty_schema(name)
        with closing(pq.ParquetWriter(file, schema, compression="zstd")) as writer:
            for path in files:
                with ExitStack() as stack:
                    source = stack.enter_context(pq.ParquetFile(path))
                    for batch in source.iter_batches():
                        writer.write_batch(batch.cast(schema))
        file.seek(0)
        yield file


OF_BIGQUERY = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}


def empty_schema(name: str) -> pa.Schema:
    """Columns of a table that has no file."""
    kinds = ((each, OF_BIGQUERY[each.type]) for each in columns_of(name))
    return pa.schema((each.name, pa.list_(kind) if each.mode == "REPEATED" else kind) for each, kind in kinds)
