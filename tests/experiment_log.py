"""An experiment for tests: rows of its log, by hand or at random, as Ibis tables; sums of its users."""

from datetime import UTC, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from bentos.experiments import Experiment

START = datetime(2017, 12, 4, 5, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
SCHEMAS = {
    "exposures": {
        "request_id": pa.string(),
        "user_id": pa.string(),
        "experiment": pa.string(),
        "arm": pa.string(),
        "forced": pa.bool_(),
        "task": pa.string(),
        "k": pa.int64(),
        "shown_at": TIME,
        "release": pa.string(),
        "rules": pa.string(),
        "latency_ms": pa.float64(),
        "degraded": pa.bool_(),
    },
    "slots": {
        "request_id": pa.string(),
        "shown_at": TIME,
        "position": pa.int64(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "propensity": pa.float64(),
        "explored": pa.bool_(),
        "bought_before": pa.bool_(),
    },
    "events": {
        "event_id": pa.string(),
        "kind": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "amount": pa.float64(),
        "request_id": pa.string(),
        "happened_at": TIME,
    },
    "transactions": {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "event_timestamp": TIME,
        "basket_id": pa.string(),
        "quantity": pa.float64(),
        "price_paid": pa.float64(),
        "discount": pa.float64(),
        "store_id": pa.string(),
    },
}


def experiment(**changes):
    """An experiment of two arms, a and b, with what a test changes."""
    fields = {
        "name": "engine",
        "layer": "page",
        "arms": {"a": {"share": 0.5}, "b": {"share": 0.5}},
        "control": "a",
        "primary": "ctr",
        "start": START,
    }
    return Experiment(**{**fields, **changes})


def at(minutes=0.0, **more):
    """So many minutes after the start."""
    return START + timedelta(minutes=minutes, **more)


def answer(request, user, minutes, arm="a", **more):
    """A row of exposures."""
    shown = {"request_id": request, "user_id": user, "experiment": "engine", "arm": arm, "forced": False}
    rest = {"task": "basket", "k": 3, "release": "r", "rules": "", "latency_ms": 20.0, "degraded": False}
    return {**shown, **rest, "shown_at": at(minutes), **more}


def page(request, items, bought_before=()):
    """Rows of slots."""
    plain = {"shown_at": START, "score": 0.0, "propensity": 1.0, "explored": False}
    return [
        {"request_id": request, "position": place, "item_id": i, **plain, "bought_before": i in bought_before}
        for place, i in enumerate(items, 1)
    ]


def event(name, kind, user, item, minutes, request=None, amount=None):
    """A row of events."""
    what = {"event_id": name, "kind": kind, "user_id": user, "item_id": item}
    return {**what, "amount": amount, "request_id": request, "happened_at": at(minutes)}


def tables(**rows):
    """Ibis tables in DuckDB of some rows, by name: all that SCHEMAS has, empty where nothing is given."""
    connection = ibis.duckdb.connect()
    for name, schema in SCHEMAS.items():
        connection.con.register(name, pa.Table.from_pylist(rows.get(name, []), pa.schema(schema)))
    return {name: connection.table(name) for name in SCHEMAS}


def unbound():
    """Ibis tables without data, to compile for any engine."""
    return {
        name: ibis.table(ibis.Schema.from_pyarrow(pa.schema(schema)), name=name)
        for name, schema in SCHEMAS.items()
    }


def rows_of(expression):
    """Rows of an expression as dicts."""
    return expression.to_pyarrow().to_pylist()


def random_log(seed):
    """Rows of a small log in which all that can go wrong does."""
    rng = np.random.default_rng(seed)
    users, items = [f"u{n}" for n in range(12)], [f"i{n}" for n in range(6)]
    exposures, slots, events = [], [], []
    for n in range(80):
        user = str(rng.choice(users))
        arm = str(rng.choice(["a", "b"])) if user in ("u0", "u1") else "ab"[int(user[1:]) % 2]
        more = {"latency_ms": float(rng.integers(5, 50)), "degraded": bool(rng.random() < 0.2)}
        row = answer(
            f"r{n:02d}", user, int(rng.integers(0, 3000)), arm, forced=bool(rng.random() < 0.1), **more
        )
        other = {**row, "experiment": "rules", "arm": "c"}
        kind = rng.random()
        exposures += [row, other] if kind < 0.2 else [other] if kind < 0.3 else [row]
        if kind < 0.1:
            exposures.append(
                {**row, "shown_at": row["shown_at"] + timedelta(seconds=int(rng.integers(0, 2)))}
            )
        if kind > 0.95:
            row.update(experiment=None, arm=None)
        shown = [str(item) for item in rng.permutation(items)[: rng.integers(0, 5)]]
        slots += page(f"r{n:02d}", shown, set(shown[::2]))
        slots += page(f"r{n:02d}", shown[:1]) if kind < 0.1 else []
    for n in range(500):
        row = exposures[rng.integers(len(exposures))]
        named = str(rng.choice([row["request_id"], "r99", ""], p=[0.6, 0.05, 0.35])) or None
        when = row["shown_at"] + timedelta(
            seconds=int(rng.choice([-61, -60, 0, 600, 86_400, 86_401, 40_000]))
        )
        user = row["user_id"] if rng.random() < 0.9 else str(rng.choice(users))
        kind = str(rng.choice(["click", "purchase", "impression", "add_to_cart"], p=[0.4, 0.4, 0.1, 0.1]))
        amount = float(rng.integers(1, 40)) / 4 if kind == "purchase" and rng.random() < 0.9 else None
        found = {**event(f"e{n}", kind, user, str(rng.choice(items)), 0, named, amount), "happened_at": when}
        events.append(found)
        if rng.random() < 0.1:
            events.append({**found, "happened_at": when + timedelta(minutes=1), "amount": 99.0})
    return {"exposures": exposures, "slots": slots, "events": events}


def users(n=600, arms="aabc", seed=1):
    """Users with all sums, activity first; c clicks a fifth more."""
    rng = np.random.default_rng(seed)
    answers = 1 + rng.poisson(rng.gamma(1, 3, n))
    arm = rng.permutation(np.resize(list(arms), n))
    slots = 10 * answers
    clicks = rng.binomial(slots, np.where(arm == "c", 0.24, 0.2))
    sums = {"answers": answers, "slots": slots, "clicks": clicks, "repeat_clicks": clicks // 2}
    sums |= {"discover_clicks": clicks - clicks // 2, "bought_answers": rng.binomial(answers, 0.3)}
    baskets = 1 + rng.poisson(answers)
    sums |= {"baskets": baskets, "items": rng.poisson(4 * baskets), "revenue": rng.gamma(baskets, 9)}
    sums |= {
        "slot_revenue": rng.gamma(answers, 2),
        "latency_ms": rng.gamma(answers, 20),
        "degraded": 0 * answers,
    }
    pre = rng.poisson(answers)
    sums |= {"pre_baskets": pre, "pre_items": rng.poisson(4 * pre), "pre_revenue": 9.5 * pre}
    segment = np.where(pre == 0, "new", np.where(pre < 4, "light", "heavy"))
    return pd.DataFrame({"user_id": [f"u{i}" for i in range(n)], "arm": arm, **sums, "segment": segment})


def only(records, **tags):
    """Those of some records that have these tags; a tag of None is absent."""
    return [each for each in records if all(each.get(tag) == value for tag, value in tags.items())]
