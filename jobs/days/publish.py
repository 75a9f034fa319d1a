"""Put the challenger that has passed the gate into the model store, with its figures and the decision.

In: state/days/D/release, quality.json, gate.json. Out: one immutable model whose version is the day and a
hash of the content, and state/days/D/tag. A second run finds the model of the first.

    endcap publish --date 2017-12-04
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from bentos.release import MANIFEST, read_manifest, store_release
from feature_repo.settings import Settings
from jobs.publish import code_revision, ingested_from
from jobs.result import Result


def version_of(day: date, manifest: Mapping[str, Any]) -> str:
    """Version of a day's release: equal content has equal versions, whenever and wherever it was made."""
    content = json.dumps([manifest["as_of"], manifest["files"]], sort_keys=True)
    return f"{day.isoformat()}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def tag_of(settings: Settings, day: date) -> str:
    """Tag of the day's release; FileNotFoundError where it was not published."""
    path = settings.day(day) / "tag"
    if not path.exists():
        raise FileNotFoundError(f"No release of {day} in {path}; run `endcap daily --date {day}`")
    return path.read_text().strip()


def run(settings: Settings, day: date) -> Result:
    """Store the day's release. FileNotFoundError names the step that is missing."""
    folder = settings.day(day)
    decision = decision_of(folder, day)
    ingested = ingested_from(settings)
    manifest = read_manifest(folder / "release")
    facts = {
        **manifest,
        "source": ingested["source"],
        "recorded": ingested["recorded"],
        "metrics": json.loads((folder / "quality.json").read_text()),
        "gate": decision,
        "revision": code_revision(),
    }
    ready = folder / "published"
    copy_with(folder / "release", facts, ready)
    tag = store_release(ready, version_of(day, manifest))
    shutil.rmtree(ready)
    aside = folder / "tag.aside"
    aside.write_text(tag + "\n")
    aside.replace(folder / "tag")
    megabytes = sum(path.stat().st_size for path in (folder / "release").iterdir()) / 1e6
    return Result("publish", len(manifest["files"]), "files", tag, detail=f"{megabytes:.0f} MB")


def decision_of(folder: Path, day: date) -> dict[str, Any]:
    """The gate's decision; ValueError where it did not let the challenger pass."""
    path = folder / "gate.json"
    if not path.exists():
        raise FileNotFoundError(f"No decision in {path}; run `endcap gate --date {day}`")
    decision: dict[str, Any] = json.loads(path.read_text())
    if not decision["promoted"]:
        raise ValueError(f"The gate refused the challenger of {day}; see {path}")
    return decision


def copy_with(release: Path, facts: Mapping[str, Any], folder: Path) -> None:
    """A copy of a release's folder with other facts in its manifest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in facts["files"]:
        shutil.copy2(release / name, folder / name)
    (folder / MANIFEST).write_text(json.dumps(facts, indent=1))
