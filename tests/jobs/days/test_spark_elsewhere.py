"""A day whose Spark steps a cluster has done, and a refusal where only success and failure are known."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import fake_days
import pytest
from click.testing import CliRunner
from fake_day_steps import write

from jobs.batches import NotDoneElsewhereError, record_file
from jobs.cli import endcap
from jobs.days import cli
from jobs.google_cloud.package_zip import Package
from jobs.steps import Choices, step_named

pytestmark = pytest.mark.gcp
FIRST, SECOND = (fake_days.BASE + timedelta(days=n) for n in (1, 2))


@pytest.fixture
def shop(tmp_path):
    """A shop of days whose features are built elsewhere."""
    daily = fake_days.shop(tmp_path)
    return replace(daily, pipeline=replace(daily.pipeline, elsewhere=("build-features",)))


def state_of(shop):
    """Its state folder."""
    return shop.pipeline.settings.state


def did(shop):
    """Steps that were done here."""
    return [line.split()[0] for line in (state_of(shop) / "calls.log").read_text().splitlines()]


def built(shop, day, total, *, code=None, began=None):
    """What a batch leaves: the features of a day, and its record."""
    write(state_of(shop) / "features" / f"{day}.txt", str(total))
    result = {"step": "build-features", "rows": 1, "unit": "rows", "where": "gs://lake", "notes": []}
    record = {"began_at": (began or datetime.now(UTC)).isoformat(), "result": result}
    record["code"] = Package.made().hash if code is None else code
    write(record_file(shop.pipeline.settings, "build-features", day), json.dumps(record))


def test_without_a_batch_the_day_stops_and_names_the_command(shop):
    """Its rows are in, no step after that is done, and no features are built here instead."""
    with pytest.raises(NotDoneElsewhereError, match=rf"run `endcap submit build-features --date {FIRST} "):
        shop.day(Choices(day=FIRST))
    assert did(shop) == ["ingest"]


def test_what_a_batch_has_done_is_taken_as_done(shop):
    """The day goes on from it to its release, and a second run does nothing."""
    shop.day(Choices(day=FIRST), until="ingest")
    built(shop, FIRST, 11)
    for _ in range(2):
        shop.day(Choices(day=FIRST))
        assert did(shop) == ["ingest", "materialize", "train", "warm-start", "gate", "switch"]
    assert (state_of(shop) / "current").read_text() == f"{FIRST} 77"


def test_a_batch_begun_before_the_rows_were_there_does_not_count(shop):
    """It may have read the rows of before."""
    built(shop, FIRST, 11, began=datetime.now(UTC) - timedelta(minutes=1))
    with pytest.raises(NotDoneElsewhereError, match=r"before the rows that it reads were there.*--again"):
        shop.day(Choices(day=FIRST))


def test_a_batch_begun_before_the_day_before_was_done_anew_does_not_count(shop):
    """Its rows go on from the features of that day."""
    shop.day(Choices(day=FIRST), until="ingest")
    built(shop, FIRST, 11)
    shop.day(Choices(day=FIRST))
    shop.day(Choices(day=SECOND), until="ingest")
    built(shop, SECOND, 13)
    built(shop, FIRST, 12)
    steps = shop.pipeline.steps
    shop.pipeline.taken_over(step_named("build-features", steps), Choices(day=FIRST))
    with pytest.raises(NotDoneElsewhereError, match="before the rows that it reads were there"):
        shop.day(Choices(day=SECOND))


def test_a_batch_of_other_code_does_not_count(shop):
    """Both codes are named: the bucket's or the image's is old."""
    shop.day(Choices(day=FIRST), until="ingest")
    built(shop, FIRST, 11, code="0123456789ab")
    with pytest.raises(NotDoneElsewhereError, match=rf"0123456789ab, and this is {Package.made().hash}"):
        shop.day(Choices(day=FIRST))


def test_a_record_without_what_it_tells_of_does_not_count(shop):
    """Somebody has removed the features, or they are not there yet."""
    shop.day(Choices(day=FIRST), until="ingest")
    built(shop, FIRST, 11)
    (state_of(shop) / "features" / f"{FIRST}.txt").unlink()
    with pytest.raises(NotDoneElsewhereError, match=rf"there is no .*{FIRST}\.txt; run .*--again"):
        shop.day(Choices(day=FIRST))


def test_corrected_days_are_done_here(shop):
    """Yesterday's number has changed: its features are built in this process, the day's own by a batch."""
    shop.day(Choices(day=FIRST), until="ingest")
    built(shop, FIRST, 11)
    shop.day(Choices(day=FIRST))
    write(state_of(shop) / "source" / f"{FIRST}.txt", "5")
    shop.day(Choices(day=SECOND), until="ingest")
    assert did(shop)[-4:] == ["ingest", "build-features", "materialize", "ingest"]
    assert (state_of(shop) / "features" / f"{FIRST}.txt").read_text() == "15"


@pytest.mark.parametrize(("words", "code"), [((), 3), (("--refusal-passes",), 0)])
def test_a_refusal_may_pass_and_releases_nothing(tmp_path, monkeypatch, words, code):
    """Exit code 3, or 0 where that is asked; `current` does not move, and a further step changes nothing."""
    shop = fake_days.shop(tmp_path)
    shop.day(Choices(day=FIRST))
    before = (state_of(shop) / "current").read_text()
    (state_of(shop) / "source" / f"{SECOND}.txt").write_text("1000")
    monkeypatch.setattr(cli, "_daily", lambda _: shop)
    for until in ("gate", "switch"):
        told = CliRunner().invoke(endcap, ["daily", "--date", str(SECOND), "--until", until, *words])
        assert told.exit_code == code, told.output
        assert "too large" in told.output
    assert (state_of(shop) / "current").read_text() == before
    assert did(shop)[-1] == "gate"
