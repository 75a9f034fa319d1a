"""The verbs of logical dates: a day, several, and the steps that only a day has."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.days.composer_cli import composer_options, composer_text
from jobs.verbs import Day, Refused, heed_termination, to_stderr

REFUSED = 3  # exit code of a day whose challenger the gate refuses: `current` did not move

date_option = click.option(
    "--date", "day", type=Day(), help="One logical date, after those that are in; else the whole."
)
day_option = click.option("--date", "day", type=Day(), required=True, help="The logical date, a local day.")
source_options = (
    click.option(
        "--source", default="complete_journey", show_default=True, help="Where the data comes from."
    ),
    click.option("--scale", type=float, help="Size, for sources that can be of any size."),
)


class RefusedChallenger(Refused):
    """The gate let a challenger not pass."""

    exit_code = REFUSED


def _daily(elsewhere: tuple[str, ...] = ()) -> Any:
    """The runner of days over this installation, whose steps in `elsewhere` a cluster does."""
    from jobs.days.daily import Daily
    from jobs.days.steps import DAY_STEPS
    from jobs.pipeline import Pipeline
    from jobs.source_days import changed_days

    heed_termination()
    pipeline = Pipeline(Settings.from_environment(), steps=DAY_STEPS, elsewhere=elsewhere)
    return Daily(pipeline, changed_days, say=click.echo, head=to_stderr)


@click.command()
@day_option
@source_options[0]
@source_options[1]
@click.option("--override", help="Release a challenger that the gate refuses; say why, for the record.")
@click.option("--until", help="Stop after this step.")
@click.option("--again", help="Do this step, and what depends on it, even if it is done.")
@click.option(
    "--elsewhere",
    type=click.Choice(["build-features", "embed-items"]),
    multiple=True,
    help="Take this step as done by Dataproc; fail where it is not.",
)
@click.option("--refusal-passes", is_flag=True, help="End with exit code 0 where the gate refuses, too.")
def daily(
    day: date,
    until: str | None,
    again: str | None,
    elsewhere: tuple[str, ...],
    *,
    refusal_passes: bool,
    **choices: Any,
) -> None:
    """Take in one logical date, train, and let what passes the gate serve.

    Exit code 3: the gate refused the challenger, and the champion goes on serving.

    \b
    Example:
      endcap daily --date 2017-12-04
      endcap daily --date 2017-12-04 --override "the new shop has opened"
    """
    from jobs.pipeline import RefusedError
    from jobs.steps import Choices

    try:
        _daily(elsewhere).day(Choices(day=day, **choices), until=until, again=again)
    except RefusedError as error:
        if refusal_passes:  # for what knows only success and failure, and would try again
            click.echo(f"{error}; the champion goes on serving")
            return
        raise RefusedChallenger(str(error)) from error


@click.command()
@click.option(
    "--from", "first", type=Day(), required=True, help="First day, which follows those that are in."
)
@click.option("--to", "last", type=Day(), required=True, help="Last day, that day included.")
@source_options[0]
@source_options[1]
@click.option(
    "--every-model", is_flag=True, help="Train and judge a model of each day, not of the last alone."
)
def backfill(first: date, last: date, every_model: bool, **choices: Any) -> None:
    """Take in several days anew, one after the other, and train on the last.

    \b
    Example:
      endcap backfill --from 2017-12-04 --to 2017-12-17
    """
    from jobs.pipeline import RefusedError
    from jobs.steps import Choices

    try:
        _daily().backfill(Choices(**choices), first, last, every_model=every_model)
    except RefusedError as error:
        raise RefusedChallenger(str(error)) from error


@click.command("airflow-dag")
@source_options[0]
@source_options[1]
@click.option(
    "--schedule",
    default="0 4 * * *",
    show_default=True,
    help="When a day is done, by the shop's clocks, as cron has it.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The file to write; by default it is printed.")
@click.option(
    "--on",
    type=click.Choice(["airflow", "composer"]),
    default="airflow",
    show_default=True,
    help="Where: tasks that shell out, or Dataproc batches and runs of a Cloud Run job.",
)
@composer_options
def airflow_dag(
    source: str, scale: float | None, schedule: str, out: Path | None, on: str, **cloud: Any
) -> None:
    """Make an Airflow DAG of the steps of a day, each of which only shells out; or one for Composer.

    \b
    Example:
      endcap airflow-dag --out dags/endcap_daily.py
      endcap airflow-dag --on composer --project my-shop --region europe-west4 --out dags/endcap_daily.py
    """
    from jobs.days.airflow import dag_text, write
    from jobs.days.daily import last_day
    from jobs.days.steps import DAY_STEPS
    from jobs.steps import steps_here

    settings = Settings.from_environment()
    if on == "composer" and not settings.in_bigquery:
        raise click.UsageError("Composer runs the days of the gcp profile; set ENDCAP_PROFILE=gcp")
    steps = steps_here(settings, DAY_STEPS)
    timezone = ShopCalendar.load(settings.shop_calendar).timezone
    day = last_day(settings) + timedelta(days=2)
    choices = ["--source", source, *(["--scale", str(scale)] if scale else [])]
    dag: dict[str, Any] = {"timezone": timezone, "first": day, "schedule": schedule, "choices": choices}
    on_composer = on == "composer"
    text = composer_text(settings, steps, dag=dag, **cloud) if on_composer else dag_text(steps, **dag)
    if out is None:
        click.echo(text, nl=False)
        return
    write(out, text)
    click.echo(f"{len(steps)} tasks in {out}")
