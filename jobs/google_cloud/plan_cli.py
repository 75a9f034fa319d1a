"""`endcap plan`: what the steps of a cut or a day would cost in BigQuery."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

import os
from datetime import date

import click

from feature_repo.settings import PROFILES, Settings
from jobs.verbs import Day, Refused

TOO_DEAR = 6  # exit code of a plan above its limit


class RefusedPlan(Refused):
    """A plan costs too much."""

    exit_code = TOO_DEAR


@click.command()
@click.option(
    "--profile",
    type=click.Choice([name for name in PROFILES if name != "embedded"]),
    help="Instead of ENDCAP_PROFILE.",
)
@click.option("--cut", type=click.IntRange(min=1), help="A training in full as of the end of this week.")
@click.option("--date", "day", type=Day(), help="The steps of this day, as in the first run of a week.")
@click.option("--limit", type=click.FloatRange(min=0), default=20.0, show_default=True, help="In dollars.")
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    default=6.25,
    show_default=True,
    help="Dollars for a TiB that is read: your region's on-demand price.",
)
@click.option("--each", is_flag=True, help="Show each query, the dearest first.")
def plan(
    profile: str | None, cut: int | None, day: date | None, limit: float, price: float, each: bool
) -> None:
    """Preview what steps would cost in BigQuery; nothing is run, and dry runs are free.

    Exit code 6: it is more than the limit. Loads cost nothing but for the rows of a day that are replaced.

    \b
    Example:
      endcap plan --profile gcp --date 2017-12-04
      endcap plan --profile gcp --cut 49 --limit 5 --each
    """
    from tqdm import tqdm

    if (cut is None) == (day is None):
        raise click.UsageError("Give either --cut 49 or --date 2017-12-04")
    if profile:
        os.environ["ENDCAP_PROFILE"] = profile  # Feast's definitions read it, too
    settings = Settings.from_environment()
    if not settings.in_bigquery:
        raise click.UsageError("Only BigQuery bills for queries; give --profile gcp")

    from jobs.days.steps import filled_to
    from jobs.google_cloud.cost_plan import DryRuns, TooDearError, lines, within
    from jobs.google_cloud.questions import Questions

    questions, runs = Questions(settings), DryRuns(settings)
    asked = questions.of_day(day, filled_to(settings, day)) if day else questions.of_cut(cut or 0)
    total = sum(len(some) for some in asked.values())
    with tqdm(total=total, desc="dry runs", unit=" queries", disable=None) as bar:
        found = {}
        for name, some in asked.items():
            found[name] = [runs.priced(one) for one in some]
            bar.update(len(some))
    click.echo("\n".join(lines(found, price, each=each)))
    try:
        within(found, price, limit)
    except TooDearError as error:
        raise RefusedPlan(str(error)) from error
