"""The pointer to the release in use, and how it came there: published, or rolled back to.

    state/current           one line, the tag; moved by one atomic rename
    state/releases.jsonl    a line for each move, the newest last: when, to which, from which, why

A roll-back goes to the release that was current before the current one was published, so a second one goes
further back and not forth again.
"""

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from bentos import json_lines
from bentos.release import Release, ReleaseError, load_stored, stored_model
from feature_repo.settings import Settings

PUBLISHED, ROLLED_BACK = "published", "rolled back"


@dataclass(frozen=True)
class Move:
    """One move of the pointer."""

    at: str
    tag: str
    before: str | None
    why: str
    rolled_back: bool = False


def current_tag(settings: Settings) -> str:
    """Tag of the release in use; ReleaseError when there is none."""
    path = settings.current_release
    tag = path.read_text().strip() if path.is_file() else ""
    if not tag:
        raise ReleaseError(f"No current release in {path}; run `endcap publish`")
    return tag


def open_current(settings: Settings) -> Release:
    """Load the release that `current` points to."""
    return load_stored(stored_model(current_tag(settings)))


def set_current(settings: Settings, tag: str, *, why: str = PUBLISHED, rolled_back: bool = False) -> None:
    """Point `current` at another release, in one atomic rename, after the move is on the disk."""
    path = settings.current_release
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text().strip() or None if path.is_file() else None
    move = Move(datetime.now(UTC).isoformat(timespec="seconds"), tag, before, why, rolled_back)
    json_lines.append(settings.release_history, asdict(move))
    aside = path.with_suffix(".aside")
    with aside.open("w") as file:
        file.write(tag + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def history(settings: Settings) -> list[Move]:
    """All moves, the oldest first; a last line that a crash cut off is none."""
    return [Move(**json.loads(line)) for line in json_lines.whole_lines(settings.release_history)]


def fallbacks(settings: Settings) -> list[str]:
    """Releases that one can roll back to, the nearest first: those under the current one."""
    stack: list[str] = []
    for move in history(settings):
        if move.before in stack:
            del stack[stack.index(move.before) + 1 :]  # noted, and then not made for a crash
        elif move.before:  # of a time without a history
            stack = [move.before]
        if move.rolled_back and move.tag in stack:
            del stack[stack.index(move.tag) + 1 :]
        else:
            stack = [*(tag for tag in stack if tag != move.tag), move.tag]
    current = current_tag(settings)
    if current in stack:
        del stack[stack.index(current) :]
    return stack[::-1]
