"""The audit of a real service: what it logged behind its answers is what training reads."""

from datetime import timedelta

import httpx
import pytest
import served_shop
from served_experiments import ask, copied, experiments, items, serving, soon, write
from served_shop import NOW, USERS

from bentos.online_features import ITEM_VIEW, USER_VIEWS
from jobs.parity.run import run
from jobs.parity.served import served

shop = pytest.fixture(scope="session")(served_shop.installed)


def test_answers_over_http_are_audited(shop, tmp_path):
    """All arms, pages, baskets and pages again: each answer is logged, and each value is explained."""
    settings = copied(shop, tmp_path / "state")
    for name in ("features", "registry.db"):
        (settings.state / name).symlink_to(shop.settings.state / name)
    write(settings.experiments_file, experiments("{old: {share: 0.5, legacy: buy_again}, new: {share: 0.5}}"))
    answers = []
    with serving(shop, settings, ENDCAP_REPLAY="1", ENDCAP_LOG_FEATURES="1") as url:
        for day in range(3):
            now = NOW + timedelta(days=day, hours=1)
            assert httpx.put(f"{url}/clock", json={"now": now.isoformat()}).status_code == 200
            for user in [*USERS[:5], "newcomer"]:
                answers.append(ask(url, user, task=("all", "discover")[day % 2]))
                bought = [
                    {"event_id": f"{day}{user}{item}", "kind": "purchase", "user_id": user, "item_id": item}
                    for item in items(answers[-1])[:2]
                ]
                assert httpx.post(f"{url}/events", json={"events": bought}).json()["applied"]
        n = len(answers)
        soon(lambda: len(served(settings.feature_log)), lambda logged: logged == n)
        kept = httpx.get(f"{url}/metrics").text
    assert f'endcap_logged_reads_total{{outcome="kept"}} {n}.0' in kept
    report = run(settings)
    assert dict(report.found.wrong) == {}
    assert [each.request_id for each in report.answers] == [each["request_id"] for each in answers]
    assert report.found.compared[f"{USER_VIEWS[0]}:event_timestamp"] == n
    assert report.found.compared[f"{ITEM_VIEW}:event_timestamp"] > 0
    assert report.found.grown[USER_VIEWS[1]] == 2 * 6  # all pages but the first day's
