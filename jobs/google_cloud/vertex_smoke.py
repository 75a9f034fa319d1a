"""Real requests to an endpoint, which tell whether the new model answers, and as well as it should.

Vertex splits requests by share and takes no wish for one of the models, but says which one has answered. So
the new model gets a small share, and is asked until it has answered. An error does not say whose it is, and
counts against the new model.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.google_cloud.refusals import CloudError, reason, refusal
from jobs.google_cloud.vertex_api import Vertex

NOBODY = "endcap-smoke-test"  # a user that no shop knows: answered with top sellers
UNKNOWN = "unknown user: top sellers"
K, HITS, MOST = (
    5,
    3,
    3_000,
)  # items; answers wanted of the new model; requests that may be sent for them
PAUSE_S, SAY_S, ENOUGH = 0.2, 30.0, 20  # between requests; between lines; requests before a judgement
SPARED = 2  # failures that are nobody's fault: they happen to what has served for long, too


class SmokeError(CloudError):
    """The new model does not answer as it should; the message says how."""


@dataclass(frozen=True)
class Limits:
    """What is asked of a canary: how many of its answers fail, and the 95th percentile of the others."""

    error_share: float = 0.02
    p95_ms: float = 1_000.0


@dataclass
class Seen:
    """What own requests have come to."""

    latencies_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """How many."""
        return len(self.errors) + sum(map(len, self.latencies_ms.values()))

    def line(self, new: str) -> str:
        """All of it in a line."""
        others = [ms for model, each in self.latencies_ms.items() if model != new for ms in each]
        mine = self.latencies_ms.get(new, [])
        beside = f", others {p95(others):.0f} ms" if others else ""
        return (
            f"{self.asked} requests, {len(mine)} answered by {new} (95 % within {p95(mine):.0f} ms{beside}),"
            f" {len(self.errors)} failed"
        )


def p95(values: list[float]) -> float:
    """The 95th percentile; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))] if values else 0.0


def smoke(vertex: Vertex, new: str, user: str | None) -> str:
    """Ask until the new model has answered HITS times, each time well; the release that it serves."""
    from google.api_core import exceptions as google

    hits, failures, needs = 0, 0, "roles/aiplatform.user"
    for _ in range(MOST):
        try:
            answer = vertex.predict([question(user)])
        except google.GoogleAPICallError as error:
            failures += 1
            ours = isinstance(error, google.Forbidden | google.Unauthenticated)
            if ours or failures > SPARED:
                raise SmokeError(str(refusal(error, "answer a smoke test", needs=needs))) from error
            time.sleep(PAUSE_S)
            continue
        if answer.deployed_id == new:
            if wrong := fault(answer.content, user):
                raise SmokeError(f"{new} does not answer a smoke test as it should: {wrong}")
            hits += 1
            vertex.say(f"smoke test {hits} of {HITS}: {new} answered in {answer.latency_ms:.0f} ms")
        if hits == HITS:
            return str(answer.content["release"])
    raise SmokeError(f"{new} has answered {hits} of {MOST} smoke tests, though it has a share of the traffic")


def observe(vertex: Vertex, new: str, user: str | None, seconds: float, limits: Limits) -> Seen:
    """Ask all the time for so long; SmokeError as soon as the new model is not within its limits."""
    from google.api_core.exceptions import GoogleAPICallError

    seen, begun = Seen(), time.monotonic()
    ends, said = begun + seconds, begun
    while time.monotonic() < ends or (len(seen.latencies_ms[new]) < HITS and seen.asked < MOST):
        try:
            answer = vertex.predict([question(user)])
        except GoogleAPICallError as error:
            seen.errors.append(reason(error))
        else:
            wrong = fault(answer.content, user) if answer.deployed_id == new else None
            if wrong:
                seen.errors.append(wrong)
            else:
                seen.latencies_ms[answer.deployed_id].append(answer.latency_ms)
        if seen.asked >= ENOUGH:
            judge(seen, new, limits)
        if time.monotonic() - said >= SAY_S:
            said = time.monotonic()
            vertex.say(seen.line(new))
        time.sleep(PAUSE_S)
    if len(seen.latencies_ms[new]) < HITS:
        raise SmokeError(f"{new} has answered {len(seen.latencies_ms[new])} of {seen.asked} requests only")
    return seen


def judge(seen: Seen, new: str, limits: Limits) -> None:
    """Nothing, or SmokeError for what is above its limit."""
    mine = seen.latencies_ms.get(new, [])
    asked = len(mine) + len(seen.errors)
    if len(seen.errors) > max(SPARED, limits.error_share * asked):
        raise SmokeError(
            f"{len(seen.errors)} of {asked} requests to {new} failed, above {limits.error_share:.1%};"
            f" the last: {seen.errors[-1]}"
        )
    if len(mine) >= ENOUGH and p95(mine) > limits.p95_ms:
        raise SmokeError(f"{new} takes {p95(mine):.0f} ms for 95 % of requests, above {limits.p95_ms:.0f} ms")


def question(user: str | None) -> Mapping[str, Any]:
    """One instance."""
    return {"user_id": user or NOBODY, "k": K}


def fault(content: Mapping[str, Any], user: str | None) -> str | None:
    """What is wrong with a prediction; None for a good one: it has items, and lacks nothing that it needs."""
    if not content.get("items") or "release" not in content:
        return f"no items in {str(dict(content))[:200]}"
    reasons = [each for each in content.get("degraded", ()) if user or each != UNKNOWN]
    return f"user {user or NOBODY}: {'; '.join(reasons)}" if reasons else None
