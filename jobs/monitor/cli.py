"""The verb of the monitor: `endcap monitor`."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from collections import Counter
from datetime import date

import click

from feature_repo.settings import Settings
from jobs.verbs import Day


@click.command()
@click.option("--date", "day", type=Day(), required=True, help="The day, as the shop's clocks have it.")
@click.option(
    "--days", type=click.IntRange(min=2), help="Only look back: at the rows of so many days up to it."
)
def monitor(day: date, days: int | None) -> None:
    """Say whether a day is in order: its rows, its features, and what was served.

    Exit code 4: something is broken. 0: all is in order, or worth a look at most.

    \b
    Example:
      endcap monitor --date 2017-12-04
      endcap monitor --date 2017-11-30 --days 180
    """
    from jobs.monitor.alerts import OK, exit_code, worst
    from jobs.monitor.run import back, run

    settings = Settings.from_environment()
    if days is None:
        found = run(settings, day)
        click.echo("\n".join(found.lines()))
        click.get_current_context().exit(exit_code(found.alerts))
    looked = back(settings, day, days)
    for each, alerts in looked.items():
        for alert in alerts:
            if alert.level != OK:
                click.echo(f"{each}  {alert.line}")
    counts = Counter(worst(alerts) for alerts in looked.values())
    click.echo(f"{days} days: " + ", ".join(f"{counts[level]} {level}" for level in ("ok", "warn", "fail")))
