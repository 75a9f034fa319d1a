"""The bench of events: over a real server, on a copy, with every event accounted for."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
import served_shop
from served_shop import BENTOML, ROOT, USERS

from jobs.benches.copies import copied
from jobs.benches.events import BATCH, BATCHES, event, kept, own_writes, purchases
from jobs.local_server import LocalServer

shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """A server over a copy of the shop, and the copy's settings."""
    state = tmp_path_factory.mktemp("bench") / "state"
    state.mkdir()
    apart = copied(shop.settings, state)
    environment = {**shop.environment, "ENDCAP_STATE": str(state)}
    log = state / "serve.log"
    with served_shop.serving(*BENTOML, "serve", environment=environment, cwd=ROOT, log=log) as url:
        yield LocalServer(url, os.getpid()), apart


def test_a_copy_leaves_the_shop_as_it_is(shop, tmp_path):
    """Store and release are copied, and nothing of the shop's own events or tables."""
    apart = copied(shop.settings, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "online_store.db"]
    assert apart == replace(shop.settings, state=tmp_path)
    assert apart.current_release.read_bytes() == shop.settings.current_release.read_bytes()


def test_batches_are_of_different_events():
    """Every purchase has an id of its own, all fit a request, shoppers take turns."""
    batches = list(purchases(USERS))
    events = [each for batch in batches for each in batch]
    assert (len(batches), {len(batch) for batch in batches}) == (BATCHES, {BATCH})
    assert len({each["event_id"] for each in events}) == BATCHES * BATCH
    assert {each["user_id"] for each in events} == set(USERS)


def test_figures_are_of_events_that_are_kept(server):
    """Rates and times are positive, and the log has all that was sent."""
    running, apart = server
    requests = [[event(10 * n + m, "click", USERS[n % 3]) for m in range(4)] for n in range(6)]
    found = {each["metric"]: each["value"] for each in kept(running, requests, "click", apart.event_log)}
    assert found.keys() == {"events_s", "events_applied_s", "event_cpu_ms", "p50_ms", "p95_ms", "p99_ms"}
    assert min(found["events_s"], found["p50_ms"]) > 0
    with closing(sqlite3.connect(apart.event_log)) as log:
        assert log.execute("SELECT count(*) FROM events WHERE kind = 'click'").fetchone() == (24,)
    with pytest.raises(RuntimeError, match="Not all click events were accepted"):
        list(kept(running, requests, "click", apart.event_log))


def test_an_own_write_is_read_in_the_next_answer(server):
    """What was put into the basket is not in the answer; the time in between is told."""
    found = {each["metric"]: each["value"] for each in own_writes(server[0], USERS[:3])}
    assert 0 < found["event_to_answer_p50_ms"] <= found["event_to_answer_p99_ms"]
