"""Copies of an installation for benches: what they buy or read belongs to no shop."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from feature_repo.settings import Settings


def copied(settings: Settings, state: Path) -> Settings:
    """Settings of a copy of what serving needs."""
    apart = replace(settings, state=state)
    with closing(sqlite3.connect(settings.online_store)) as connection:
        connection.execute("VACUUM INTO ?", [str(apart.online_store)])
    shutil.copy(settings.current_release, apart.current_release)
    return apart
