"""The verb of the parity audit: `endcap audit-parity`."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from datetime import date

import click

from feature_repo.settings import Settings
from jobs.verbs import Day, Refused

MISMATCH = 5  # exit code where a value that was served is not what training would read


class Mismatched(Refused):
    """Values differ."""

    exit_code = MISMATCH


@click.command("audit-parity")
@click.option("--date", "day", type=Day(), help="Answers of one local day; else the newest.")
@click.option("--replay", "name", help="Answers of the replay of this experiment, not the shop's own.")
@click.option("--most", type=click.IntRange(min=1), default=1000, show_default=True, help="Answers.")
def audit_parity(day: date | None, name: str | None, most: int) -> None:
    """Recompute offline what logged answers read online, and compare it bit by bit.

    A share of the answers is logged with its features: ENDCAP_LOG_FEATURES, 0.01 by default.
    Exit code 5: some value differs.

    \b
    Example:
      endcap audit-parity --date 2017-12-04
      endcap audit-parity --replay engine --most 2000
    """
    from jobs.experiments.replay_state import replayed
    from jobs.parity.run import run

    settings = Settings.from_environment()
    report = run(replayed(settings, name) if name else settings, day, most)
    click.echo("\n".join(report.lines()))
    if report.mismatches:
        raise Mismatched("Served features differ from those of training; the examples above say where")
