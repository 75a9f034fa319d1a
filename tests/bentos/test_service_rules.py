"""An operator's rule file over real HTTP: followed while the service runs, refused at its start if wrong."""

import subprocess
import time

import httpx
import pytest
import served_shop
from served_shop import BENTOML, ROOT, in_time

from bentos.online import RECOMMEND
from jobs.local_server import free_port

shop = pytest.fixture(scope="session")(served_shop.installed)
SOON_S = 2.0


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """URL of `bentoml serve`, and its log; no rule file stays behind."""
    log = tmp_path_factory.mktemp("rules") / "serve.log"
    try:
        with served_shop.serving(*BENTOML, "serve", environment=shop.environment, cwd=ROOT, log=log) as url:
            yield url, log
    finally:
        shop.settings.rules_file.unlink(missing_ok=True)


def write(path, text):
    """Write aside and rename."""
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    aside.replace(path)


def ask(url, path=RECOMMEND, **options):
    """The answer to u1, asked again where it ran out of time."""
    body = {"user_id": "u1", "k": 5, **options}
    return in_time(lambda: httpx.post(f"{url}{path}", json=body, timeout=60).json())


def soon(question, right):
    """The first right answer, which must come soon."""
    deadline = time.monotonic() + SOON_S
    while not right(answer := question()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


def figure(url, name):
    """A figure of /metrics, summed over its labels."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_rule_file_is_followed_without_a_restart(server, shop):
    """Blocked within two seconds on all routes; a wrong file moves a metric alone; gone, all is as it was."""
    url, log = server
    file, before = shop.settings.rules_file, ask(url)
    assert before["rules"] == "release"
    best = before["items"][0]["item_id"]
    write(file, f"blocked: {{item_ids: [{best}], reason: it was called back}}\n")
    after = soon(lambda: ask(url), lambda answer: answer["rules"] != "release")
    assert best not in [item["item_id"] for item in after["items"]]
    assert after["turned_away"]["blocked"] == 1
    assert ask(url, "/recommend")["items"] == after["items"]
    why = httpx.post(f"{url}/why-not", json={"user_id": "u1", "item_id": best, "k": 5}).json()
    assert why["reason"] == "The rule blocked turns it away: it was called back"

    write(file, "blocked: {departments: [nroth]}\n")
    soon(lambda: figure(url, "endcap_rules_refused"), lambda value: value == 1)
    again = ask(url)
    assert (again["items"], again["rules"]) == (after["items"], after["rules"])
    assert "blocked.departments has 'nroth'; use one like 'north'" in log.read_text()

    file.unlink()
    soon(lambda: ask(url), lambda answer: answer["rules"] == "release")
    assert ask(url)["items"] == before["items"]
    assert figure(url, "endcap_rules_refused") == 0
    assert figure(url, "endcap_rules_reloads_total{") == 3


def test_a_promoted_item_says_so_over_http(server, shop):
    """The slot that it has by its boost alone names the rule, on both routes."""
    url, _ = server
    rules = (
        "promotion_boost: {boost: 1, share: 0.2, departments: [north, south]}\ndiversity: {departments: 2}\n"
    )
    before = ask(url, k=19)["items"]
    promoted = [item["item_id"] for item in before[5:]]
    write(shop.settings.rules_file, rules.replace("departments: [north, south]", f"item_ids: {promoted}"))
    soon(lambda: ask(url), lambda answer: answer["rules"] != "release")
    scores = {item["item_id"]: item["score"] for item in before}
    for path in (RECOMMEND, "/recommend"):
        items = ask(url, path)["items"]
        assert [item["placed_by"] for item in items].count("promotion_boost") == 1
        for item in items:
            assert item["score"] == pytest.approx(scores[item["item_id"]])
            assert (item["placed_by"] is None) == (item["item_id"] not in promoted)
    shop.settings.rules_file.unlink()
    soon(lambda: ask(url), lambda answer: answer["rules"] == "release")


def test_a_wrong_file_at_the_start_is_one_line(shop):
    """The service does not start, and says in one line which value is wrong and what to use."""
    write(shop.settings.rules_file, "category_cap: {share: 3}\n")
    try:
        done = subprocess.run(
            [*BENTOML, "serve", "--port", str(free_port())],
            env=shop.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        shop.settings.rules_file.unlink()
    assert done.returncode != 0
    told = [line for line in (done.stdout + done.stderr).splitlines() if "category_cap.share is 3" in line]
    assert len(told) == 1
    assert told[0].endswith("use a number above 0, up to 1")
    assert "Traceback" not in done.stdout + done.stderr
