"""Publish the evaluated release of one cut: into BentoML's model store, then `current` points to it.

In: state/training/cut-<w>/release and reports/quality.json. Out: one immutable model, one pointer.

    endcap publish --cut 49
"""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from bentos.current_release import set_current
from bentos.release import load, save, store_release
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.train import release_folder


def code_revision() -> str:
    """The commit that trained this release; "unknown" outside a checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def ingested_from(settings: Settings) -> dict[str, Any]:
    """What `endcap ingest` says of the data: its source, and whether it is a recording."""
    path = settings.state / "tables" / "ingest.json"
    if not path.exists():
        raise FileNotFoundError(f"No tables in {path.parent}; run `endcap ingest`")
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def quality_records(settings: Settings, cut: int) -> list[dict[str, Any]]:
    """Figures of one cut; FileNotFoundError names the step that writes them."""
    path = settings.reports / "quality.json"
    records = json.loads(path.read_text()) if path.exists() else []
    records = [record for record in records if record.get("cut") == cut]
    if not records:
        raise FileNotFoundError(f"No figures of cut {cut} in {path}; run `endcap evaluate --cut {cut}`")
    return records


def run(settings: Settings, cut: int) -> Result:
    """Store the release with its figures and make it the current one."""
    folder = release_folder(settings, cut)
    if not folder.exists():
        raise FileNotFoundError(f"No trained release in {folder}; run `endcap train --cut {cut}`")
    ingested = ingested_from(settings)
    release = load(folder)
    manifest = {
        **release.manifest,
        "source": ingested["source"],
        "recorded": ingested["recorded"],
        "metrics": quality_records(settings, cut),
        "revision": code_revision(),
    }
    ready = folder.with_name("published")
    save(replace(release, manifest=manifest), ready)
    tag = store_release(ready)
    set_current(settings, tag)
    return Result(
        step="publish",
        rows=len(release.catalogue.item_ids),
        unit="items",
        where=tag,
        detail=f"current -> {tag}",
    )
