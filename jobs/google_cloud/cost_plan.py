"""What steps would cost in BigQuery, before they run: each of their queries as a dry run, which is free.

In: `Question`s by step. Out: a line a step with bytes and price, and a refusal above a limit. BigQuery tells
how much it would read, by columns and partitions; what clusters save on top it does not tell beforehand.

    ENDCAP_PROFILE=gcp endcap plan --date 2017-12-04
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.cloud import bigquery

from feature_repo.bigquery.client import connected, told
from feature_repo.bigquery.tables import parameter
from feature_repo.settings import Settings
from jobs.google_cloud.questions import Question

TIB = 2**40
LEAST = 10 * 2**20  # bytes billed of each table that a query reads, at least: BigQuery's on-demand pricing


class TooDearError(RuntimeError):
    """A plan costs more than its limit; the message says how much."""


@dataclass(frozen=True)
class Priced:
    """A question and the bytes that BigQuery would read for it."""

    question: Question
    n_bytes: int

    @property
    def billed(self) -> int:
        """Bytes on the bill: at least ten MiB a query."""
        return max(self.n_bytes, LEAST)


class DryRuns:
    """Dry runs in one dataset; the same query is tried once."""

    def __init__(self, settings: Settings) -> None:
        self.dataset = settings.dataset
        with told(f"be reached for {self.dataset}"):
            self.client = connected(settings)
        self.found: dict[tuple[str, tuple[object, ...]], int] = {}

    def priced(self, question: Question) -> Priced:
        """A question with its bytes; BigQueryError with the reason where it could not run."""
        key = question.query, question.parameters
        if key not in self.found:
            how = bigquery.QueryJobConfig(
                default_dataset=self.dataset,
                query_parameters=[parameter(each) for each in question.parameters],
                dry_run=True,
                use_query_cache=False,
            )
            with told(f"say what {question.what} would read in {self.dataset}"):
                job = self.client.query(question.query, job_config=how)
                self.found[key] = int(job.total_bytes_processed or 0)
        return Priced(question, self.found[key])


def lines(plan: Mapping[str, Sequence[Priced]], price: float, *, each: bool = False) -> Iterator[str]:
    """A plan as text: a line a step, and with `each` a line a query; `price` is of a TiB, in dollars."""
    for name, asked in plan.items():
        yield line(name, f"{len(asked)} queries", sum(one.billed for one in asked), price)
        if each:
            for one in sorted(asked, key=lambda one: -one.n_bytes):
                yield line("", one.question.what, one.billed, price)
    yield line("in all", "", billed(plan), price)


def line(name: str, what: str, n_bytes: int, price: float) -> str:
    """Who, what, how much."""
    return f"{name:<14} {what:<34} {n_bytes / 2**30:>12,.3f} GiB {dollars(n_bytes, price):>12,.4f} $"


def billed(plan: Mapping[str, Sequence[Priced]]) -> int:
    """Bytes on the bill of a whole plan."""
    return sum(one.billed for asked in plan.values() for one in asked)


def dollars(n_bytes: int, price: float) -> float:
    """What bytes cost, at a price for a TiB."""
    return n_bytes / TIB * price


def within(plan: Mapping[str, Sequence[Priced]], price: float, limit: float) -> None:
    """TooDearError where a plan costs more than a limit in dollars; the message names its dearest step."""
    cost = dollars(billed(plan), price)
    if cost > limit:
        dearest = max(plan, key=lambda name: sum(one.billed for one in plan[name]))
        raise TooDearError(
            f"This would cost {cost:,.2f} $, most of it {dearest}, and the limit is {limit:,.2f} $;"
            " look into it with --each, or give a higher --limit"
        )
