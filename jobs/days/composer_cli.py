"""The options of `endcap airflow-dag --on composer`, and what becomes of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from feature_repo.settings import Settings
from jobs.google_cloud.dataproc_cli import lake_of

if TYPE_CHECKING:
    from jobs.google_cloud.spark_runs import SparkRun
    from jobs.steps import Step

Command = Callable[..., None]
OPTIONS = (
    click.option("--project", help="On Composer: of Google Cloud."),
    click.option("--region", help="On Composer: of the batches and the job."),
    click.option("--job", default="endcap", show_default=True, help="On Composer: the Cloud Run job."),
    click.option("--bucket", help="On Composer: gs://... of the state folder; ENDCAP_BUCKET if not given."),
    click.option("--service-account", default="", help="On Composer: that batches run as."),
    click.option("--subnet", default="", help="On Composer: of the batches."),
    click.option(
        "--image",
        default="",
        help="On Composer: of the workers that embed, with torch and BERT; without it the job embeds.",
    ),
    click.option("--gpu", is_flag=True, help="On Composer: embed on GPUs."),
    click.option("--property", "properties", multiple=True, help="On Composer: one of Spark's, NAME=VALUE."),
)


def composer_options(command: Command) -> Command:
    """The options that only Composer has."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def composer_text(
    settings: Settings,
    steps: Sequence["Step"],
    *,
    project: str | None,
    region: str | None,
    job: str,
    bucket: str | None,
    dag: Mapping[str, Any],
    **batch: Any,
) -> str:
    """The file; its batches run the code as it is here, which `endcap submit code` brings to the bucket.

    `dag` has what any DAG is told, the time zone and such; `batch` what batches are.
    """
    from jobs.days.composer import dag_text
    from jobs.google_cloud.spark_runs import Where

    if project is None or region is None:
        raise click.UsageError("give --project and --region, in which Composer is to run the days")
    runs = batches(lake_of(settings, bucket), **batch)
    code = runs[0].code.zip_uri
    click.echo(f"the DAG runs {code}; bring it there: endcap submit code --project {project}", err=True)
    return dag_text(steps, where=Where(project, region), job=job, runs=runs, **dag)


def batches(
    root: str, *, image: str, gpu: bool, properties: tuple[str, ...], **more: str
) -> list["SparkRun"]:
    """The steps that are batches, each of which ends itself when Airflow gives it up: no two at a time."""
    from jobs.days.airflow import DEFAULT_HOURS
    from jobs.google_cloud import spark_runs
    from jobs.google_cloud.code_upload import code_at
    from jobs.google_cloud.package_zip import Package

    code, told = code_at(root, Package.made()), spark_runs.properties(properties)
    alike: dict[str, Any] = {"properties": told, "ttl_s": DEFAULT_HOURS * 3_600, **more}
    runs = [spark_runs.SparkRun("build-features", root, code, **alike)]
    if image:  # the job's image has torch and BERT, Dataproc's has not
        runs.append(spark_runs.SparkRun("embed-items", root, code, image=image, gpu=gpu, **alike))
    elif gpu:
        raise click.UsageError("give --image with torch and BERT for the workers that embed on GPUs")
    return runs
