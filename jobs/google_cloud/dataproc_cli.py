"""The verbs `endcap submit build-features`, `endcap submit embed-items` and `endcap submit code`."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from collections.abc import Callable
from datetime import date
from typing import Any

import click

from feature_repo.settings import Settings
from jobs.verbs import Day, heed_termination, to_stderr

bucket_option = click.option(
    "--bucket", help="gs://BUCKET[/FOLDER] where the state folder lies; ENDCAP_BUCKET if not given."
)
project_option = click.option("--project", required=True, help="Of Google Cloud.")
OPTIONS = (
    project_option,
    click.option("--region", required=True, help="Where it runs, such as europe-west4."),
    bucket_option,
    click.option(
        "--cluster", default="", help="A Dataproc cluster to run on, instead of a Serverless batch."
    ),
    click.option("--runtime", default="2.3", show_default=True, help="Of a batch: Dataproc's version."),
    click.option("--image", default="", help="Of a batch's workers, for what the runtime has not."),
    click.option("--property", "words", multiple=True, help="One of Spark's: spark.executor.cores=8."),
    click.option("--service-account", default="", help="That a batch runs as; else the project's default."),
    click.option("--subnet", default="", help="Of a batch, with Private Google Access; else the default."),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.IntRange(600, 14 * 86_400),
        default=6 * 3_600,
        show_default=True,
        help="Seconds after which it is not followed on; a batch ends itself then.",
    ),
    click.option("--again", is_flag=True, help="Do it anew where it is done already."),
)
Command = Callable[..., None]


def dataproc_options(command: Command) -> Command:
    """The options of all that is submitted."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group()
def submit() -> None:
    """Have Spark steps done by Dataproc."""


@submit.command("build-features")
@click.option("--date", "day", type=Day(), help="The features of one logical date; else all of them.")
@dataproc_options
@click.option("--tables", default="", help="bigquery://PROJECT.DATASET to read the tables from.")
@click.option("--features", default="", help="bigquery://PROJECT.DATASET to write whole tables to, besides.")
def submit_build_features(**options: Any) -> None:
    """Compute the feature tables on Dataproc, follow that, and take the step as done.

    \b
    Example:
      endcap submit build-features --project my-shop --region europe-west4 --bucket gs://my-shop-lake/state
      endcap submit build-features --date 2017-12-04 --project my-shop --region europe-west4 --cluster spark
    """
    _submit("build-features", **options)


@submit.command("embed-items")
@click.option("--date", "day", type=Day(), help="As a step of this logical date.")
@dataproc_options
@click.option("--tables", default="", help="bigquery://PROJECT.DATASET to read the tables from.")
@click.option("--model", default="", help="A BERT: a folder on the workers, or gs://... of one.")
@click.option("--gpu", is_flag=True, help="On GPUs: L4 of a batch, those of a cluster.")
def submit_embed_items(**options: Any) -> None:
    """Turn the texts of new items into vectors on Dataproc, where the workers have torch and the model.

    \b
    Example:
      endcap submit embed-items --project my-shop --region europe-west4 --image europe-west4-docker.pkg.dev/my-shop/endcap/spark:1 --gpu
    """  # noqa: E501 - an example is one line
    _submit("embed-items", **options)


@submit.command("code")
@project_option
@bucket_option
def submit_code(project: str, bucket: str | None) -> None:
    """Bring the code of the Spark steps into the bucket, for a DAG on Composer, and name it.

    \b
    Example:
      endcap submit code --project my-shop --bucket gs://my-shop-lake/state
    """
    from jobs.google_cloud.code_upload import code_at, upload
    from jobs.google_cloud.package_zip import Package

    package, root = Package.made(), lake_of(Settings.from_environment(), bucket)
    upload(project, root, package)
    code = code_at(root, package)
    click.echo(f"{code.zip_uri}\n{code.driver_uri}")


def lake_of(settings: Settings, bucket: str | None) -> str:
    """URI of the lake; UsageError where none is named."""
    if not (bucket or settings.bucket):
        raise click.UsageError("give --bucket gs://BUCKET/FOLDER, or set ENDCAP_BUCKET")
    return (bucket or settings.bucket).rstrip("/")


def _submit(
    step: str,
    *,
    project: str,
    region: str,
    cluster: str,
    bucket: str | None,
    words: tuple[str, ...],
    timeout_s: int,
    again: bool,
    day: date | None,
    **options: Any,
) -> None:
    """Submit one step, follow it, and let the pipeline take it as done."""
    from jobs.google_cloud.code_upload import is_mounted
    from jobs.google_cloud.here import Here
    from jobs.google_cloud.spark_runs import Where, properties

    heed_termination()
    settings = Settings.from_environment()
    where, root = Where(project, region, cluster), lake_of(settings, bucket)
    options |= {"root": root, "properties": properties(words), "ttl_s": timeout_s}
    mounted = is_mounted(project, root, settings)
    here = Here(settings, step, day, say=to_stderr, model=options.get("model", ""), mounted=mounted)
    click.echo(here.submitted(where, options, again=again))
