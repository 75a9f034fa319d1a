"""The command line: `endcap VERB`. Each verb takes typed options and calls `run` of its module.

Nothing heavy is imported before a verb runs, so `--help` is instant. What goes wrong on purpose is told in
one line with what to do next; `endcap --debug VERB` shows where it came from.
"""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

import json
from datetime import date
from pathlib import Path
from typing import Any

import click

from feature_repo.settings import Settings
from jobs.days.cli import RefusedChallenger, airflow_dag, backfill, daily, date_option, day_option
from jobs.experiments.cli import experiment, export_logs, replay, rollout
from jobs.google_cloud.dataproc_cli import submit
from jobs.google_cloud.plan_cli import plan
from jobs.google_cloud.vertex_cli import deploy, undeploy
from jobs.monitor.cli import monitor
from jobs.parity.cli import audit_parity
from jobs.verbs import TASKS, Cuts, Day, Instant, Names, Refused, Verbs, heed_termination, to_stderr

cut_option = click.option(
    "--cut",
    type=click.IntRange(min=1),
    default=49,
    show_default=True,
    help="Week whose end divides known from new.",
)
source_option = click.option(
    "--source", default="complete_journey", show_default=True, help="Where the data comes from."
)
scale_option = click.option("--scale", type=float, help="Size, for sources that can be of any size.")
champion_option = click.option("--champion", help="The release to be beaten; by default the day's own one.")
model_option = click.option("--model", help="A BERT by name or folder; all-MiniLM-L6-v2 if not given.")


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show where an error came from.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when the parent process ends.")
@click.option(
    "--result-file", type=click.Path(path_type=Path), hidden=True, help="Leave the result here as JSON."
)
@click.pass_context
def endcap(context: click.Context, /, *, with_parent: bool, result_file: Path | None, **_: Any) -> None:
    """Recommendations for a shop, from a year of transactions to a served answer."""
    context.obj = result_file
    if with_parent:
        from jobs.child import die_with_parent

        die_with_parent()


@endcap.command()
@source_option
@scale_option
@click.option("--until", type=Day(), help="Leave out what happened after this local day.")
@date_option
def ingest(**arguments: Any) -> None:
    """Bring a shop's data into the canonical tables.

    \b
    Example:
      endcap ingest --source complete_journey
      endcap ingest --until 2017-12-03
      endcap ingest --date 2017-12-04
    """
    _run_step("ingest", arguments)


@endcap.command("build-features")
@date_option
def build_features(**arguments: Any) -> None:
    """Compute the feature tables with Spark.

    \b
    Example:
      endcap build-features
      endcap build-features --date 2017-12-04
    """
    _run_step("build-features", arguments)


@endcap.command("embed-items")
@model_option
def embed_items(**arguments: Any) -> None:
    """Turn the texts of new items into vectors with BERT.

    \b
    Example:
      endcap embed-items
    """
    _run_step("embed-items", arguments)


@endcap.command()
def load() -> None:
    """Bring tables and features into BigQuery, under the gcp profile: what changed since the last time.

    \b
    Example:
      endcap load
    """
    _run_step("load", {})


@endcap.command()
def apply() -> None:
    """Register entities, views and services with Feast.

    \b
    Example:
      endcap apply
    """
    _run_step("apply", {})


@endcap.command()
@cut_option
def train(**arguments: Any) -> None:
    """Train retrieval and rankers as of the cut.

    \b
    Example:
      endcap train --cut 49
    """
    _run_step("train", arguments)


@endcap.command("warm-start")
@day_option
@champion_option
def warm_start(**arguments: Any) -> None:
    """Let the towers go on with the purchases of a day, and make its challenger.

    \b
    Example:
      endcap warm-start --date 2017-12-04
    """
    _run_step("warm-start", arguments)


@endcap.command()
@cut_option
@date_option
@champion_option
def evaluate(**arguments: Any) -> None:
    """Measure the trained release beside its baselines, a day's challenger beside its champion.

    \b
    Example:
      endcap evaluate --cut 49
      endcap evaluate --date 2017-12-04
    """
    _run_step("evaluate", arguments)


@endcap.command()
@day_option
@champion_option
@click.option("--override", help="Release the challenger although checks refuse it; say why, for the record.")
def gate(day: date, **arguments: Any) -> None:
    """Decide whether a day's challenger may be released: exit code 3 where it may not.

    \b
    Example:
      endcap gate --date 2017-12-10
      endcap gate --date 2017-12-10 --override "the window is a holiday"
    """
    from jobs.days.steps import refusal
    from jobs.steps import Choices

    by_hand = click.get_current_context().obj is None
    _run_step("gate", {"day": day, **arguments})
    why = refusal(Settings.from_environment(), Choices(day=day)) if by_hand else None
    if why:
        raise RefusedChallenger(why)


@endcap.command()
@cut_option
@date_option
def publish(**arguments: Any) -> None:
    """Store the evaluated release and make it current; a day's challenger is stored only.

    \b
    Example:
      endcap publish --cut 49
      endcap publish --date 2017-12-04
    """
    _run_step("publish", arguments)


@endcap.command()
@day_option
def switch(**arguments: Any) -> None:
    """Warm the release of a day and make it current.

    \b
    Example:
      endcap switch --date 2017-12-04
    """
    _run_step("switch", arguments)


@endcap.command()
@click.option("--end", type=Instant(), help="Serve what was known then; by default, all.")
@click.option(
    "--since", type=Instant(), help="Read only what became known since then: the store has the rest."
)
def materialize(**arguments: Any) -> None:
    """Copy the latest features into the online store.

    \b
    Example:
      endcap materialize --end 2017-12-04T05:00:00+00:00
    """
    _run_step("materialize", arguments)


@endcap.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on."
)
def serve(host: str, port: int) -> None:
    """Answer requests with the current release.

    \b
    Example:
      endcap serve --port 3000
    """
    from jobs.serve import run

    run(Settings.from_environment(), host, port)


@endcap.command()
@click.option("--keep", type=click.IntRange(min=1), help="Delete all but so many, and those in use.")
def releases(keep: int | None) -> None:
    """List the releases of the model store, with figures, and say which serves.

    \b
    Example:
      endcap releases
      endcap releases --keep 5
    """
    from jobs.releases import prune, stored, table

    settings = Settings.from_environment()
    for tag in prune(settings, keep) if keep else ():
        click.echo(f"deleted {tag}", err=True)
    click.echo(table(stored(settings)))


@endcap.command()
@click.argument("tag", required=False)
@click.option("--why", default="by hand", show_default=True, help="For the history.")
def rollback(tag: str | None, why: str) -> None:
    """Serve the release before the current one again, or TAG; a running service follows within seconds.

    \b
    Example:
      endcap rollback --why "empty pages"
    """
    from jobs.releases import roll_back

    before, to = roll_back(Settings.from_environment(), tag, why)
    click.echo(f"current -> {to} (was {before})")


@endcap.command("check-rules")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def check_rules(file: Path | None) -> None:
    """Check a rule FILE, state/rules.yaml if none is given, against the current release.

    \b
    Example:
      endcap check-rules
      endcap check-rules rules.aside
    """
    from bentos.rule_parameters import RulesError
    from jobs.check_rules import lines

    settings = Settings.from_environment()
    try:
        click.echo("\n".join(lines(settings, file or settings.rules_file)))
    except RulesError as error:
        raise Refused(str(error)) from error


@endcap.command()
@click.argument("user")
@click.option("--k", type=click.IntRange(1, 100), default=10, show_default=True, help="How many items.")
@click.option(
    "--task", type=TASKS, default="all", show_default=True, help="Everything, or only what is new to them."
)
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="A running server.")
def recommend(user: str, k: int, task: str, url: str) -> None:
    """Ask a running server what to show USER, and why.

    \b
    Example:
      endcap recommend 2375 --k 10 --task discover
    """
    from jobs.recommend import ask, table

    click.echo(table(ask(url, user, k=k, task=task)))


@endcap.command()
@cut_option
@source_option
@scale_option
@model_option
@click.option("--data-until", type=Day(), help="Leave out what happened after this local day.")
@click.option("--until", help="Stop after this step.")
@click.option("--again", help="Do this step, and what depends on it, even if it is done.")
def run(until: str | None, again: str | None, **choices: Any) -> None:
    """Run all steps that are not done yet.

    \b
    Example:
      endcap run --cut 49
      endcap run --cut 45 --until evaluate
    """
    from jobs.pipeline import Pipeline
    from jobs.steps import Choices

    heed_termination()
    pipeline = Pipeline(Settings.from_environment())
    pipeline.run(Choices(**choices), until=until, again=again, say=click.echo, head=to_stderr)


@endcap.command()
@cut_option
@click.option("--date", "day", type=Day(), help="The steps of this day; by default, of the newest.")
def status(cut: int, day: date | None) -> None:
    """Show which steps are done and what is in use.

    \b
    Example:
      endcap status
      endcap status --date 2017-12-04
    """
    from jobs.status import lines
    from jobs.steps import Choices

    click.echo("\n".join(lines(Settings.from_environment(), Choices(cut=cut), day)))


@endcap.command()
@cut_option
def demo(cut: int) -> None:
    """Run it all on a real grocer's year and show the result.

    \b
    Example:
      endcap demo
    """
    from jobs import demo as whole
    from jobs.steps import Choices

    heed_termination()
    whole.run(Settings.from_environment(), Choices(cut=cut), say=click.echo, head=to_stderr)


@endcap.command()
@click.option("--only", type=click.Choice(["batch", "serving", "index"]), help="Run this bench alone.")
def bench(only: str | None) -> None:
    """Measure point-in-time joins, two-tower training, served requests and candidates of large catalogues.

    \b
    Example:
      endcap bench --only serving
    """
    from jobs import bench as benches

    benches.run(Settings.from_environment(), only, say=click.echo)


@endcap.command("bench-quality")
@click.option(
    "--cuts",
    type=Cuts(),
    default="49,45,47",
    show_default=True,
    help="Weeks whose ends divide known from new; the first two, then all, are also pooled.",
)
def bench_quality(cuts: tuple[int, ...]) -> None:
    """Measure recommendations beside well-known recommenders, over several cuts.

    \b
    Example:
      endcap bench-quality --cuts 49,45,47
    """
    from jobs.benches.quality import QualityBench

    heed_termination()
    QualityBench(Settings.from_environment(), say=click.echo, head=to_stderr).run(cuts)


@endcap.command("bench-ablations")
@click.option(
    "--cut",
    type=click.IntRange(min=1),
    default=43,
    show_default=True,
    help="Week whose end divides known from new; at most 43, as later ones are for results.",
)
@click.option("--only", type=Names(), default="", help="These variants alone, by commas.")
def bench_ablations(cut: int, only: tuple[str, ...]) -> None:
    """Measure the stack without each of its parts.

    \b
    Example:
      endcap bench-ablations --cut 43
      endcap bench-ablations --only no_lifts,rank_ndcg
    """
    from jobs.benches.ablations import AblationBench

    heed_termination()
    AblationBench(Settings.from_environment(), say=click.echo, head=to_stderr).run(cut, only)


@endcap.command("bench-daily")
@click.option("--first", type=Day(), default="2017-12-04", show_default=True, help="First day to be played.")
@click.option("--days", type=click.IntRange(min=2), default=14, show_default=True, help="How many days.")
@click.option(
    "--kills", type=click.IntRange(min=0), default=0, show_default=True, help="Kill two days so often, too."
)
@source_option
@scale_option
def bench_daily(first: date, days: int, kills: int, **choices: Any) -> None:
    """Play days in a row: take in, train, judge and switch each, and measure it on the next.

    \b
    Example:
      endcap bench-daily --first 2017-12-04 --days 14
    """
    from jobs.benches.daily import DailyBench
    from jobs.steps import Choices

    heed_termination()
    bench = DailyBench(Settings.from_environment(), say=click.echo, head=to_stderr)
    bench.run(first, days, Choices(**choices), kills=kills)


@endcap.command("bench-cpu-curve")
@cut_option
def bench_cpu_curve(cut: int) -> None:
    """Measure quality against the CPU time of a request.

    \b
    Example:
      endcap bench-cpu-curve --cut 49
    """
    from jobs.benches.cpu_curve import run

    run(Settings.from_environment(), cut, say=click.echo)


def _run_step(name: str, arguments: dict[str, Any]) -> None:
    """Run a step of the pipeline: by hand, or as the pipeline's child, which only leaves its result."""
    from importlib import import_module

    from jobs.days.steps import DAY_STEPS, arguments_by_hand
    from jobs.markers import result_record
    from jobs.pipeline import Pipeline, result_lines
    from jobs.steps import STEPS, Choices, step_named

    settings, day = Settings.from_environment(), arguments.pop("day", None)
    steps, result_file = DAY_STEPS if day else STEPS, click.get_current_context().obj
    if not step_named(name, steps).here(settings):
        raise click.UsageError(f"{name} is a step of the gcp profile; set ENDCAP_PROFILE=gcp")
    if day:
        arguments = dict(arguments_by_hand(settings, name, day, arguments))
    elif "champion" in arguments:
        del arguments["champion"]
    if result_file is None:
        pipeline = Pipeline(settings, steps=steps)
        click.echo(result_lines(pipeline.run_here(name, arguments, Choices(day=day))))
        return
    result = import_module(step_named(name, steps).module).run(settings, **arguments)
    result_file.write_text(json.dumps(result_record(result)))


VERBS = (
    plan,
    *(daily, backfill, airflow_dag, monitor, audit_parity, experiment, replay, rollout, export_logs),
    *(deploy, undeploy, submit),
)
for verb in VERBS:
    endcap.add_command(verb)


def main() -> None:
    """Entry point of the `endcap` command."""
    endcap(prog_name="endcap")


if __name__ == "__main__":
    main()
