"""What operators watch, beside what BentoML counts itself: served at /metrics in Prometheus' format.

Times by stage, answers that were degraded and why, how old the features were, what rules turned away, events.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from bentos.recommend import Recommendation

# Seconds: a request takes 2 to 20 ms; above 100 ms it is late.
TIMES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)
HOUR, DAY = 3600.0, 86_400.0
AGES = (1.0, 60.0, HOUR, 6 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY)

ANSWERED = Histogram(
    "endcap_answer_seconds", "Time of an answer without HTTP, by task", ["task"], buckets=TIMES
)
STAGES = Histogram("endcap_stage_seconds", "Time of one stage of an answer", ["stage"], buckets=TIMES)
DEGRADED = Counter(
    "endcap_degraded_answers", "Answers that were poorer than they should be, by reason", ["reason"]
)
AGE = Histogram(
    "endcap_feature_age_seconds", "Age of a shopper's newest feature row, by the shop's clock", buckets=AGES
)
TURNED_AWAY = Counter("endcap_turned_away_items", "Items that a rule kept from being shown", ["rule"])
EVENTS = Counter("endcap_events", "Events that came in, by what became of them", ["outcome"])
RELEASE = Gauge(
    "endcap_release_info", "1 for the release that is served", ["release"], multiprocess_mode="liveall"
)
RELEASE_REFUSED = Gauge(
    "endcap_release_refused",
    "1 while the current release cannot be used and an older one is served",
    multiprocess_mode="livemax",
)
RULES_REFUSED = Gauge(
    "endcap_rules_refused",
    "1 while the rule file cannot be used and older rules are in force",
    multiprocess_mode="livemax",
)
RULES_READ = Counter("endcap_rules_reloads", "Changes of the rule file, by what became of them", ["outcome"])
EXPERIMENTS_REFUSED = Gauge(
    "endcap_experiments_refused",
    "1 while the experiments' files cannot be used and older ones are in force",
    multiprocess_mode="livemax",
)
EXPERIMENTS_READ = Counter(
    "endcap_experiments_reloads", "Changes of the experiments' files, by what became of them", ["outcome"]
)
ARMS = Counter("endcap_arm_answers", "Answers of each arm of each experiment", ["experiment", "arm"])
EXPOSURES = Counter("endcap_exposures", "Answers for the log, by what became of them", ["outcome"])
READS = Counter("endcap_logged_reads", "Answers for the log of features, by what became of them", ["outcome"])


def serving(release: str) -> None:
    """Note the release that a worker serves."""
    RELEASE.labels(release=release).set(1)


def switched(release: str, instead_of: str) -> None:
    """Note that a worker serves another release."""
    RELEASE.labels(release=instead_of).set(0)
    RELEASE.labels(release=release).set(1)
    release_taken()


def release_taken() -> None:
    """Note that the current release is the one that is served."""
    RELEASE_REFUSED.set(0)


def release_refused() -> None:
    """Note that the current release cannot be used."""
    RELEASE_REFUSED.set(1)


of_task = cache(lambda task: ANSWERED.labels(task=task))  # which the client looks up slowly
of_stage = cache(lambda stage: STAGES.labels(stage=stage))


def answered(found: Recommendation, seconds: float, now: datetime) -> None:
    """Note one answer."""
    of_task(found.task).observe(seconds)
    for stage, spent in found.stages_ms.items():
        of_stage(stage).observe(spent / 1e3)
    for reason in found.degraded:
        DEGRADED.labels(reason=reason).inc()
    if found.feature_time is not None:
        AGE.observe(max((now - found.feature_time).total_seconds(), 0.0))
    turned_away(found.turned_away)


def turned_away(counts: Mapping[str, int]) -> None:
    """Note what rules turned away."""
    for rule, count in counts.items():
        if count:
            TURNED_AWAY.labels(rule=rule).inc(count)


def rules_read(outcome: str) -> None:
    """Note a change of the rule file: it was taken, refused or removed."""
    RULES_REFUSED.set(float(outcome == "refused"))
    RULES_READ.labels(outcome=outcome).inc()


def received(new: int, duplicates: int) -> None:
    """Note events of one request."""
    EVENTS.labels(outcome="accepted").inc(new)
    EVENTS.labels(outcome="duplicate").inc(duplicates)


def experiments_read(outcome: str) -> None:
    """Note a change of the experiments' files: they were taken or refused."""
    EXPERIMENTS_REFUSED.set(float(outcome == "refused"))
    EXPERIMENTS_READ.labels(outcome=outcome).inc()


def exposed(arms: Mapping[str, str]) -> None:
    """Note the arms of one answer."""
    for experiment, arm in arms.items():
        ARMS.labels(experiment=experiment, arm=arm).inc()


def exposures(outcome: str, n: int) -> None:
    """Note answers that were kept, or could not be."""
    EXPOSURES.labels(outcome=outcome).inc(n)


def reads(outcome: str) -> None:
    """Note an answer whose features were kept, or could not be."""
    READS.labels(outcome=outcome).inc()
