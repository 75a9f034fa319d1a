"""A service that is ready is warm: no request has to wait for a compiler."""

import subprocess
import sys

import pytest
import served_shop
from served_shop import ITEMS, ROOT, USERS

shop = pytest.fixture(scope="session")(served_shop.installed)
# Starts the service in its own process, asks it all kinds of requests, and prints what was compiled for them.
ASK = """
import asyncio, gc, itertools, sys
from bentos.api_models import RecommendRequest
from bentos.service import Endcap
from feature_repo.compiled import Compiled

def signatures():
    loops = [each for each in gc.get_objects() if isinstance(each, Compiled)]
    return {(loop.__name__, str(types)) for loop in loops for types in loop.made.signatures}

service = Endcap.inner()
gc.unfreeze()
before = signatures()
users, items = sys.argv[1].split(), sys.argv[2].split()
visits = [{}, {"basket": items[:2]}, {"clicked": items[3:5]}, {"basket": items[:1], "clicked": items[7:]}]
for user, task, visit, k in itertools.product(users, ["all", "discover"], visits, [1, 10, 50]):
    asked = RecommendRequest(user_id=user, task=task, k=k, explain=k == 1, **visit)
    answer = asyncio.run(service.answer(asked))
    assert answer["items"], answer
print(len(before), sorted(signatures() - before))
"""


def test_what_a_request_needs_was_compiled_before_the_first(shop):
    """Whoever asks, for whatever task, in whatever visit: the start has met all types of arrays."""
    asked = [" ".join([*(user for user in USERS if user.isascii()), "nobody"]), " ".join(ITEMS[:9])]
    done = subprocess.run(
        [sys.executable, "-c", ASK, *asked],
        env=shop.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    n_before, later = done.stdout.splitlines()[-1].split(" ", 1)
    assert int(n_before) >= 8
    assert later == "[]"
