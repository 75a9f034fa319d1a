"""What tests of training share."""

import json

import pytest
from raw_features import RawFeatures

from feature_repo.shop_calendar import ShopCalendar


@pytest.fixture(scope="session")
def raw(installation):
    """The slow reference over the slice: features recounted from raw lines."""
    slots = json.loads((installation.state / "features" / "departments.json").read_text())
    return RawFeatures(installation, ShopCalendar.load(installation.shop_calendar), slots)
