"""The releases in the model store: what they are of, how good, which serves, which one can roll back to.

endcap releases
endcap releases --keep 5            # delete old ones, never the current, its fallback, or an experiment's
endcap rollback                     # to the one before the current one
endcap rollback endcap-release:abc --why "empty pages"
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentos.arms import experiments_in_force, releases_of
from bentos.current_release import current_tag, fallbacks, set_current
from bentos.release import MODEL_NAME, ReleaseError, read_manifest, stored_model
from feature_repo.settings import Settings

UNREADABLE = "cannot be read"
SHOWN = (("all", "recall@10"), ("discover", "recall@10"))


class RollbackError(RuntimeError):
    """There is nothing to roll back to; the message says what there is."""


@dataclass(frozen=True)
class Stored:
    """One release of the store; `marks` say what it is to this installation."""

    tag: str
    created: str
    as_of: str
    revision: str
    figures: tuple[float | None, ...]
    mebibytes: float
    marks: tuple[str, ...]


def stored(settings: Settings) -> list[Stored]:
    """All releases of the store, the newest first; one that cannot be read says so among its marks."""
    import bentoml

    marks = marked(settings)
    try:
        models = bentoml.models.list(MODEL_NAME)
    except bentoml.exceptions.NotFound:  # BentoML's word for none
        return []
    newest = sorted(models, key=lambda model: model.creation_time, reverse=True)
    return [told(model, marks.get(str(model.tag), ())) for model in newest]


def marked(settings: Settings) -> dict[str, tuple[str, ...]]:
    """What releases are to this installation, by tag: current, fallback, in an experiment, replayed."""
    found: dict[str, tuple[str, ...]] = {}
    with suppress(ReleaseError):  # none is current; arms name theirs all the same
        found[current_tag(settings)] = ("current",)
        for tag in fallbacks(settings)[:1]:
            found[tag] = ("fallback",)
    for tag in releases_of(experiments_in_force(settings)):
        found[tag] = (*found.get(tag, ()), "in an experiment")
    for path in sorted((settings.state / "replays").glob("*/current")):
        tag = path.read_text().strip()
        found[tag] = (*found.get(tag, ()), f"replayed as {path.parent.name}")
    return found


def told(model: Any, marks: tuple[str, ...]) -> Stored:
    """One entry of the store."""
    folder = Path(model.path)
    created = model.creation_time.isoformat(timespec="seconds")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    try:
        manifest = read_manifest(folder)
    except ReleaseError:
        nothing = (None,) * len(SHOWN)
        return Stored(str(model.tag), created, "?", "?", nothing, size, (*marks, UNREADABLE))
    return Stored(
        tag=str(model.tag),
        created=created,
        as_of=str(manifest["as_of"])[:10],
        revision=str(manifest.get("revision", "?")),
        figures=tuple(figure(manifest.get("metrics", ()), *each) for each in SHOWN),
        mebibytes=size,
        marks=marks,
    )


def figure(records: Sequence[Any], task: str, metric: str) -> float | None:
    """The stack's figure in the records of a release."""
    wanted = {"task": task, "metric": metric, "model": "stack"}
    found = (each for each in records if wanted.items() <= each.items() and not each.get("versus"))
    return next((each["value"] for each in found), None)


def table(found: Sequence[Stored]) -> str:
    """The releases as text."""
    if not found:
        return "There is no release in the model store; run `endcap publish`"
    columns = ("tag", "created", "as of", "all R@10", "discover R@10", "revision", "MiB", "")
    rows = [
        (
            each.tag,
            each.created,
            each.as_of,
            *("-" if value is None else f"{value:.4f}" for value in each.figures),
            each.revision,
            f"{each.mebibytes:.0f}",
            ", ".join(each.marks),
        )
        for each in found
    ]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (columns, *rows))
    return "\n".join(lines)


def prune(settings: Settings, keep: int) -> list[str]:
    """Delete all but the newest `keep` releases and those that are in use or could be; their tags.

    One that cannot be read is of no use and counts as any other.
    """
    import bentoml

    spare = [each.tag for each in stored(settings)[keep:] if not {*each.marks} - {UNREADABLE}]
    for tag in spare:
        bentoml.models.delete(tag)
    return spare


def roll_back(settings: Settings, tag: str | None, why: str) -> tuple[str, str]:
    """Make an earlier release current again: (from, to). RollbackError where there is none.

    ReleaseError where the one that is named is not in the store, or damaged.
    """
    before = current_tag(settings)
    known = fallbacks(settings)
    to = tag or next(iter(known), None)
    if to is None:
        raise RollbackError(f"No release was current before {before}; name one of `endcap releases`")
    to = str(stored_model(to).tag)
    if to == before:
        raise RollbackError(f"{to} is current already; name another of `endcap releases`")
    set_current(settings, to, why=why, rolled_back=True)
    return before, to
