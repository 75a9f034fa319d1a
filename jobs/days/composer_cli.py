"""The options of `endcap airflow-dag --on composer`, and what becomes of them."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from feature_repo.settings import Settings
from jobs.google_cloud.dataproc_cli import lake_of

if TYPE_CHECKING:
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
    steps: "Sequence[Step]",
    timezone: str,
    first: date,
    schedule: str,
    choices: Sequence[str],
    *,
    project: str | None,
    region: str | None,
    job: str,
    bucket: str | None,
    service_account: str,
    subnet: str,
    image: str,
    gpu: bool,
    properties: tuple[str, ...],
) -> str:
    """The file; its batches run the code as it is here, which `endcap submit code` brings to the bucket."""
    from jobs.days.airflow import DEFAULT_HOURS
    from jobs.days.composer import dag_text
    from jobs.google_cloud.code_upload import code_at
    from jobs.google_cloud.package_zip import Package
    from jobs.google_cloud.spark_runs import SparkRun, Where
    from jobs.google_cloud.spark_runs import properties as properties_of

    if project is None or region is None:
        raise click.UsageError("give --project and --region, in which Composer is to run the days")
    root, where = lake_of(settings, bucket), Where(project, region)
    code, told = code_at(root, Package.made()), properties_of(properties)
    batch: dict[str, Any] = {"service_account": service_account, "subnet": subnet, "properties": told}
    batch["ttl_s"] = DEFAULT_HOURS * 3_600  # as Airflow gives it up: no two at a time
    runs = [SparkRun("build-features", root, code, **batch)]
    if image:  # the job's image has torch and BERT, Dataproc's has not
        runs.append(SparkRun("embed-items", root, code, image=image, gpu=gpu, **batch))
    elif gpu:
        raise click.UsageError("give --image with torch and BERT for the workers that embed on GPUs")
    click.echo(
        f"the DAG runs {code.zip_uri}; bring it there: endcap submit code --project {project}", err=True
    )
    return dag_text(
        steps,
        timezone=timezone,
        first=first,
        schedule=schedule,
        where=where,
        job=job,
        runs=runs,
        choices=choices,
    )
