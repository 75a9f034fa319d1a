"""A running service changes its release under load, and back: no request fails, no answer mixes two."""

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
import served_shop
from served_shop import NOW, ROOT, STORE, USERS, random_ranker, shop_release

from bentos.current_release import current_tag, fallbacks
from bentos.online_features import OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load, save
from feature_repo.settings import Settings

shop = pytest.fixture(scope="session")(served_shop.installed)
SECONDS = 20  # for a switch to be seen: a look a second, and a release to load on a busy machine


@pytest.fixture
def other(shop, tmp_path):
    """An installation of its own with a second release, of another ranker, stored and not current yet."""
    import numpy as np

    state = tmp_path / "state"
    shutil.copytree(
        shop.settings.state, state, ignore=shutil.ignore_patterns("*.db-*", "events.db", "exposures.db")
    )
    settings = Settings(state=state, reports=tmp_path)
    home = served_shop.environment(state, shop.bentoml_home)
    (state / "current").write_text(shop.tag)
    release = shop_release()
    rng = np.random.default_rng(9)
    n_columns = next(iter(release.rankers.values())).num_features()
    save(
        replace(release, rankers={task: random_ranker(rng, n_columns) for task in release.rankers}),
        tmp_path / "b",
    )
    program = STORE.replace("set_current(Settings.from_environment(), tag)\n", "")
    words = [sys.executable, "-c", program, tmp_path / "b"]
    tag = subprocess.check_output(words, env=home, cwd=ROOT, text=True).strip()
    return settings, home, load(tmp_path / "b", tag)


def pages(settings, release):
    """What each user is shown by a release, reckoned here."""
    reader = OnlineFeatures(settings, release, lambda: NOW)
    found = {}
    for user in USERS:
        answer = recommend(release, reader, user, k=5, task="all", now=NOW, budget_ms=60_000)
        found[user] = [(slot.item_id, pytest.approx(slot.score, rel=1e-5)) for slot in answer.slots]
    return found


def verb(home, *words):
    """Run an endcap command to its end; its output and how long it took."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *words],
        env=home,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, time.perf_counter() - began


def test_a_release_is_switched_under_load_and_rolled_back(shop, other, tmp_path):
    """All answers are 200 and each is wholly of the release that it names; both moves are seen."""
    settings, home, second = other
    first = load(shop.release, shop.tag)
    expected = {shop.tag: pages(settings, first), second.tag: pages(settings, second)}
    assert expected[shop.tag] != expected[second.tag]
    answers, stop = [], threading.Event()

    def ask(n):
        with httpx.Client(timeout=10) as client:
            while not stop.is_set():
                user = USERS[(len(answers) + n) % len(USERS)]
                response = client.post(f"{url}/online/recommend", json={"user_id": user, "k": 5})
                answers.append((user, response.status_code, response.json()))

    def seen(tag, since):
        deadline = time.monotonic() + SECONDS
        while not any(answer.get("release") == tag for _, _, answer in answers[since:]):
            assert time.monotonic() < deadline, tag
            time.sleep(0.1)
        return len(answers)

    serve = (sys.executable, "-m", "bentoml", "serve")
    log = tmp_path / "serve.log"
    with (
        served_shop.serving(*serve, environment=home, cwd=ROOT, log=log) as url,
        ThreadPoolExecutor(4) as pool,
    ):
        asking = [pool.submit(ask, n) for n in range(4)]
        try:
            count = seen(shop.tag, 0)
            said, _ = verb(home, "rollback", second.tag, "--why", "a try")
            assert said == f"current -> {second.tag} (was {shop.tag})\n"
            count = seen(second.tag, count)
            (settings.state / "current").write_text(shop.tag)
            seen(shop.tag, count + 20)
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert {status for _, status, _ in answers} == {200}
    whole = [(user, answer) for user, _, answer in answers if not answer["degraded"]]  # not out of time
    assert {answer["release"] for _, answer in whole} == expected.keys()
    for user, answer in whole:
        assert [(item["item_id"], item["score"]) for item in answer["items"]] == expected[answer["release"]][
            user
        ]
    assert "Traceback" not in log.read_text()


def test_rolling_back_takes_less_than_five_seconds(shop, other):
    """The command and the pointer; a release that is not in the store is refused, and nothing moves."""
    settings, home, second = other
    verb(home, "rollback", second.tag)
    assert fallbacks(settings) == [shop.tag]
    said, seconds = verb(home, "rollback")
    assert (said, current_tag(settings)) == (f"current -> {shop.tag} (was {second.tag})\n", shop.tag)
    assert seconds < 5
    with pytest.raises(subprocess.CalledProcessError) as error:
        verb(home, "rollback", "endcap-release:gone")
    assert "is not in the model store" in error.value.stderr
    assert current_tag(settings) == shop.tag
