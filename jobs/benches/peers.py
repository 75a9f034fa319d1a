"""Measure the peers at one cut, on the catalogue of its release.

In: the tables and state/training/cut-<w>/release. Out: per_shopper_peers.parquet beside the release.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from bentos.blas import use_one_blas_thread
from bentos.release import load
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.train import release_folder
from training import per_shopper
from training.peers.measure import measured
from training.split import temporal_split
from training.warehouse import Warehouse


def per_shopper_file(settings: Settings, cut: int) -> Path:
    """Where the peers' values per shopper of one cut are kept."""
    return settings.training / f"cut-{cut}" / "per_shopper_peers.parquet"


def catalogue_hash(settings: Settings, cut: int) -> str:
    """What the peers take from a release: which items it may recommend."""
    ids = load(release_folder(settings, cut)).catalogue.item_ids
    return hashlib.sha256("\n".join(ids.tolist()).encode()).hexdigest()


def measure(settings: Settings, cut: int, say: Callable[[str], None]) -> int:
    """Measure every peer on both tasks; the number of values."""
    use_one_blas_thread()
    split = temporal_split(ShopCalendar.load(settings.shop_calendar), cut)
    catalogue = load(release_folder(settings, cut)).catalogue.item_ids
    values = measured(Warehouse.of(settings), split.test, catalogue, say)
    per_shopper.write(values, per_shopper_file(settings, cut))
    return len(values)
