"""The verbs of experiments: `endcap experiment`, `endcap rollout`, `endcap replay`, `endcap export-logs`."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from pathlib import Path
from typing import Any

import click

from feature_repo.settings import Settings
from jobs.verbs import TASKS, Refused, heed_termination, to_stderr, until_stopped


@click.group()
def experiment() -> None:
    """Plan, check and report experiments."""


@experiment.command("check")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def check_experiments(file: Path | None) -> None:
    """Check an experiment FILE, state/experiments.yaml if none is given, and say what would be served.

    \b
    Example:
      endcap experiment check
    """
    from bentos.experiments import ExperimentError
    from jobs.experiments.check import lines

    settings = Settings.from_environment()
    try:
        click.echo("\n".join(lines(settings, file or settings.experiments_file)))
    except ExperimentError as error:
        raise Refused(str(error)) from error


@experiment.command("plan")
@click.argument("name")
@click.option(
    "--lift", type=click.FloatRange(min=0, min_open=True), help="To be found; else the experiment's."
)
@click.option(
    "--power",
    type=click.FloatRange(0.05, 0.999),
    default=0.8,
    show_default=True,
    help="How surely it is found.",
)
@click.option("--days", type=click.IntRange(1, 365), default=28, show_default=True, help="It may run.")
@click.option("--replay", is_flag=True, help="Take click rates from the experiment's replay.")
def plan_experiment(name: str, lift: float | None, power: float, days: int, *, replay: bool) -> None:
    """Say how many users and days NAME takes, from what the shop's users did before.

    \b
    Example:
      endcap experiment plan engine --lift 0.05
    """
    from jobs.experiments.planning import run

    click.echo(run(Settings.from_environment(), name, lift=lift, power=power, days=days, replay=replay))


@experiment.command("aa")
@click.option(
    "--experiments",
    type=click.IntRange(20, 100_000),
    default=1000,
    show_default=True,
    help="To be simulated.",
)
@click.option("--days", type=click.IntRange(2, 365), default=19, show_default=True, help="Looks, one a day.")
def aa_experiments(experiments: int, days: int) -> None:
    """Show how often tests find a difference where there is none, on what the shop recorded.

    \b
    Example:
      endcap experiment aa --experiments 1000
    """
    from jobs.experiments.aa import run

    click.echo(run(Settings.from_environment(), experiments=experiments, days=days))


@experiment.command("report")
@click.argument("name")
@click.option("--replay", is_flag=True, help="Of its replay, not of the shop's own log.")
def report_experiment(name: str, *, replay: bool) -> None:
    """Say whether to ship NAME, with all figures; writes a page and its numbers as JSON.

    \b
    Example:
      endcap experiment report engine
    """
    from jobs.experiments.report import run

    found = run(Settings.from_environment(), name, replay=replay)
    click.echo(f"{found.text}\n{found.page}")


@experiment.command("off-policy")
@click.argument("name")
@click.option(
    "--temperature", "temperatures", type=click.FloatRange(0, 100), multiple=True, help="Of a policy."
)
@click.option("--replay", is_flag=True, help="From its replay, not from the shop's own log.")
def off_policy(name: str, temperatures: tuple[float, ...], *, replay: bool) -> None:
    """Say what other policies would have earned in the slots that an arm of NAME explored.

    \b
    Example:
      endcap experiment off-policy explored --temperature 0.5
    """
    from jobs.experiments.other_policies import run

    click.echo(run(Settings.from_environment(), name, temperatures, replay=replay))


@click.command()
@click.argument("name")
@click.option("--watch", type=click.IntRange(min=1), help="Look again every so many seconds.")
@click.option("--stop", help="Roll back now, for this reason.")
def rollout(name: str, watch: int | None, stop: str | None) -> None:
    """Look at the rollout of NAME once, and go on, wait, or roll back.

    \b
    Example:
      endcap rollout engine
      endcap rollout engine --watch 60
      endcap rollout engine --stop "complaints by phone"
    """
    from jobs.experiments.rollout import watched

    heed_termination()
    for look in watched(Settings.from_environment(), name, stop=stop, every_s=watch, say=to_stderr):
        click.echo(str(look))


@click.command("export-logs")
@click.option("--watch", type=click.IntRange(min=1), help="Go on with what is new every so many seconds.")
def export_logs(watch: int | None) -> None:
    """Make tables of what the service has logged since the last time: answers, slots, events.

    \b
    Example:
      endcap export-logs
      endcap export-logs --watch 5
    """
    from jobs.experiments.logs import run, watched

    settings = Settings.from_environment()
    if watch is None:
        click.echo(run(settings))
        return
    to_stderr(f"what is new, every {watch} s; Ctrl-C ends it after a round")
    with until_stopped() as ended:
        for result in watched(settings, watch, ended=ended, say=to_stderr):
            click.echo(str(result))


@click.command()
@click.option("--experiment", "name", required=True, help="Its name in state/experiments.yaml.")
@click.option("--k", type=click.IntRange(1, 100), default=10, show_default=True, help="Items on a page.")
@click.option(
    "--task", type=TASKS, default="all", show_default=True, help="Everything, or only what is new to them."
)
@click.option("--trips", "most", type=click.IntRange(min=1), help="Play so many trips; all if not given.")
@click.option("--every-arm", is_flag=True, help="Show each trip to testers of every arm too, side by side.")
@click.option("--restart", is_flag=True, help="Forget what was played, and play all again.")
def replay(name: str, **arguments: Any) -> None:
    """Play the recorded trips after the release's weeks against a server of its own, and report.

    \b
    Example:
      endcap replay --experiment engine
      endcap replay --experiment engine --trips 2000 --restart
    """
    from jobs.experiments import replay as trips
    from jobs.experiments.report import run

    heed_termination()
    settings = Settings.from_environment()
    click.echo(trips.run(settings, name, **arguments, say=to_stderr))
    found = run(settings, name, replay=True)
    click.echo(f"\n{found.text}\n{found.page}")
