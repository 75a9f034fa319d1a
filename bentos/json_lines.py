"""A file of JSON, a record a line, that no crash breaks: what one cut off is no line, and is overwritten."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record behind the last whole line; it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(content.rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path) -> list[bytes]:
    """The lines that are whole, the oldest first; none without the file."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
