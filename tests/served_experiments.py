"""A copy of the served shop with experiments of its own, and what tests ask of it."""

import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, replace

import httpx
import served_shop
from served_shop import BENTOML, ROOT

from bentos.exposure_log import ExposureLog

SOON_S = 5.0


def copied(shop, folder):
    """Settings of a copy of the shop in a folder: what is shown and bought there is so nowhere else."""
    folder.mkdir()
    settings = replace(shop.settings, state=folder)
    with closing(sqlite3.connect(shop.settings.online_store)) as connection:
        connection.execute("VACUUM INTO ?", [str(settings.online_store)])
    shutil.copy(shop.settings.current_release, settings.current_release)
    return settings


def serving(shop, state, **variables):
    """A server over a copy, as long as a block lasts; gives its URL."""
    environment = {**shop.environment, "ENDCAP_STATE": str(state.state), **variables}
    log = state.state / "serve.log"
    return served_shop.serving(*BENTOML, "serve", environment=environment, cwd=ROOT, log=log)


def write(path, text):
    """Write aside and rename."""
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    aside.replace(path)


def experiments(arms, **more):
    """A file with one experiment on nine tenths of the users."""
    lines = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        "layers: {page: {holdout: 0.1}}\nexperiments:\n  engine: {layer: page, control: old, primary: ctr,"
        f" start: 2024-01-01T00:00:00Z, arms: {arms}{lines}}}\n"
    )


def ask(url, user, path="/online/recommend", **options):
    """The answer to one user."""
    answer = httpx.post(f"{url}{path}", json={"user_id": user, "k": 5, **options}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def items(answer):
    """What is shown."""
    return [item["item_id"] for item in answer["items"]]


def soon(question, right):
    """The first right answer, which must come soon."""
    deadline = time.monotonic() + SOON_S
    while not right(answer := question()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)
    return answer


@dataclass(frozen=True)
class Row:
    """One row of the log of exposures."""

    user_id: str
    shown_us: int
    content: dict


def logged(state):
    """Rows of the log of exposures by request id, and how many there are."""
    log = ExposureLog(state.exposure_log)
    rows = log.after(0, 10**6)
    log.close()
    return {row[1]: Row(*row[2:]) for row in rows}, len(rows)
