"""The verbs `endcap deploy vertex` and `endcap undeploy vertex`."""

# ruff: noqa: D301 - click reads the backspace character in a help text as "keep these lines as they are"

from typing import Any

import click

from jobs.verbs import heed_termination, to_stderr

project_option = click.option("--project", required=True, help="Of Google Cloud.")
region_option = click.option("--region", required=True, help="Where it serves, such as europe-west4.")
endpoint_option = click.option("--endpoint", default="endcap", show_default=True, help="The endpoint's id.")
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.IntRange(min=1),
    default=3600,
    show_default=True,
    help="Seconds for one long operation of Google's.",
)


@click.group()
def deploy() -> None:
    """Have the service answer elsewhere."""


@click.group()
def undeploy() -> None:
    """Take the service back from elsewhere."""


@deploy.command("vertex")
@project_option
@region_option
@endpoint_option
@timeout_option
@click.option("--image", required=True, help="The Bento's image in Artifact Registry, by a tag of its own.")
@click.option("--machine-type", default="n2-standard-2", show_default=True, help="Of each replica.")
@click.option(
    "--min-replicas", type=click.IntRange(1), default=1, show_default=True, help="That are always there."
)
@click.option(
    "--max-replicas",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="That there may be under load.",
)
@click.option("--service-account", help="That the container runs as; it reads the secret.")
@click.option("--redis-secret", help="With the Redis URL: projects/P/secrets/S/versions/V.")
@click.option("--env", "words", multiple=True, help="NAME=VALUE for the container; no secrets.")
@click.option(
    "--canary",
    type=click.IntRange(1, 50),
    default=10,
    show_default=True,
    help="Percent of the requests that it gets at first.",
)
@click.option(
    "--observe",
    "observe_s",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    help="Seconds that it keeps to those, while we ask it.",
)
@click.option("--smoke-user", "user", help="Who asks the smoke tests; must be known to the shop.")
@click.option(
    "--max-errors",
    type=click.FloatRange(0, 1),
    default=0.02,
    show_default=True,
    help="Share of the canary's answers to our requests that may fail.",
)
@click.option(
    "--max-p95-ms",
    type=click.FloatRange(min=1),
    default=1000,
    show_default=True,
    help="Within which 95 % of its answers must come.",
)
@click.option("--retire", is_flag=True, help="Take down what is without traffic then; one cannot go back.")
def deploy_vertex(project: str, region: str, endpoint: str, words: tuple[str, ...], **options: Any) -> None:
    """Deploy an image as a Vertex AI endpoint: smoke test, canary, all traffic; back on any failure.

    The canary is a share of the requests, so that one shopper may meet both models. Experiments, which keep
    each shopper in one arm, are the service's own: see `endcap experiment`.

    \b
    Example:
      endcap deploy vertex --project my-shop --region europe-west4 --image europe-west4-docker.pkg.dev/my-shop/endcap/service:r12 --canary 10
    """  # noqa: E501 - an example is one line
    from jobs.google_cloud import vertex
    from jobs.google_cloud.vertex_api import Vertex
    from jobs.google_cloud.vertex_model import Place, Wanted, variables
    from jobs.google_cloud.vertex_smoke import Limits

    heed_termination()
    place = Place(project, region, endpoint)
    plans = ("canary", "observe_s", "user", "retire", "timeout_s")
    plan = {name: options.pop(name) for name in plans}
    limits = Limits(options.pop("max_errors"), options.pop("max_p95_ms"))
    wanted = Wanted(place, env=variables(words), **options)
    click.echo(vertex.deploy(Vertex.connected(place, to_stderr), wanted, vertex.Plan(**plan, limits=limits)))


@undeploy.command("vertex")
@project_option
@region_option
@endpoint_option
@timeout_option
@click.option("--to", type=click.Choice(["previous"]), help="Go back to what served before.")
@click.option(
    "--all", "everything", is_flag=True, help="Remove the endpoint and what is deployed there, if we made it."
)
def undeploy_vertex(
    project: str, region: str, endpoint: str, timeout_s: float, to: str | None, *, everything: bool
) -> None:
    """Go back to the model that served before, or remove the endpoint.

    \b
    Example:
      endcap undeploy vertex --project my-shop --region europe-west4 --to previous
      endcap undeploy vertex --project my-shop --region europe-west4 --all
    """
    from jobs.google_cloud import vertex
    from jobs.google_cloud.vertex_api import Vertex
    from jobs.google_cloud.vertex_model import Place

    if (to is None) != everything:
        raise click.UsageError("give either --to previous or --all")
    end = vertex.remove if everything else vertex.go_back
    click.echo(end(Vertex.connected(Place(project, region, endpoint), to_stderr), timeout_s))
