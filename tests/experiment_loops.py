"""The log of an experiment read by plain loops: what its tests hold the queries against."""

from collections import Counter, defaultdict
from datetime import timedelta

from jobs.experiments import attribution as why


class Loops:
    """What `attribution.py` and `outcomes.py` say of a log, by loops over its rows."""

    def __init__(self, log, experiment):
        self.window = timedelta(hours=experiment.window_hours)
        self.start, self.end = experiment.start, experiment.end
        self.counts, self.credited, self.events = Counter(), defaultdict(list), []
        self.pages, self.before = defaultdict(set), set()
        for row in log["slots"]:
            self.pages[row["request_id"]].add(row["item_id"])
            if row["bought_before"]:
                self.before.add((row["request_id"], row["item_id"]))
        self.read_answers(sorted(log["exposures"], key=lambda row: row["shown_at"]), experiment.name)
        self.read_events(sorted(log["events"], key=lambda row: row["happened_at"]))

    def read_answers(self, exposures, name):
        """All answers, those of the experiment, and which of these are left out."""
        self.answers, self.shown, arms = {}, {}, defaultdict(set)
        for row in exposures:
            self.shown.setdefault(row["request_id"], row)
            if row["experiment"] == name:
                self.counts[why.ANSWER_TWICE] += row["request_id"] in self.answers
                self.answers.setdefault(row["request_id"], row)
        for row in self.answers.values():
            self.counts[why.FORCED] += row["forced"]
            if not row["forced"]:
                arms[row["user_id"]].add(row["arm"])
        crossed = {user for user, found in arms.items() if len(found) > 1}
        self.counts[why.CROSSED] += len(crossed)
        self.left_out = {n for n, row in self.answers.items() if row["forced"] or row["user_id"] in crossed}

    def read_events(self, events):
        """Events told once, those credited by slot, and the others counted by reason."""
        told = set()
        for row in events:
            request, reason = self.judge(row)
            if row["event_id"] in told:
                reason = why.TWICE
            else:
                self.events.append(row)
            told.add(row["event_id"])
            if request is not None and reason:
                self.counts[reason] += 1
            elif request is not None:
                self.credited[request, row["item_id"]].append(row)

    def judge(self, row):
        """Request that a row belongs to, None where it concerns nobody, and why it is not credited."""
        request, when = row["request_id"], row["happened_at"]
        if row["kind"] not in ("click", "purchase"):
            return None, None
        if request is None:
            request = self.latest(row)
            return (request, why.LEFT_OUT if request in self.left_out else None)
        if request not in self.shown:
            late = self.end is not None and when > self.end + self.window
            theirs = row["user_id"] in {answer["user_id"] for answer in self.answers.values()}
            return (request if theirs and not late and when >= self.start - why.SKEW else None), why.UNKNOWN
        if request not in self.answers:
            return None, None
        return request, self.refused(row, self.answers[request])

    def latest(self, row):
        """The experiment's answer that showed the item last, None where there is none or it is another's."""
        found = [
            (answer["shown_at"], name)
            for name, answer in self.shown.items()
            if answer["user_id"] == row["user_id"]
            and row["item_id"] in self.pages[name]
            and answer["shown_at"] <= row["happened_at"] <= answer["shown_at"] + self.window
        ]
        request = max(found)[1] if found else None
        return request if request in self.answers else None

    def refused(self, row, answer):
        """Why a row is not credited to the answer that it names."""
        when = row["happened_at"]
        if answer["request_id"] in self.left_out:
            return why.LEFT_OUT
        if row["user_id"] != answer["user_id"]:
            return why.OTHER_USER
        if row["item_id"] not in self.pages[answer["request_id"]]:
            return why.OFF_PAGE
        if when < answer["shown_at"] - timedelta(seconds=60):
            return why.EARLY
        return why.LATE if when > answer["shown_at"] + self.window else None

    def by_day(self):
        """Sums by user, arm and day."""
        sums, seen = defaultdict(Counter), defaultdict(list)
        for name, row in self.answers.items():
            if name in self.left_out:
                continue
            seen[row["user_id"], row["arm"]].append(row["shown_at"])
            mine = sums[row["user_id"], row["arm"], row["shown_at"].date()]
            kinds = {item: [e["kind"] for e in self.credited[name, item]] for item in self.pages[name]}
            clicked = {item for item, found in kinds.items() if "click" in found}
            bought = {item for item, found in kinds.items() if "purchase" in found}
            mine["answers"] += 1
            mine["slots"] += len(kinds)
            mine["clicks"] += len(clicked)
            mine["repeat_clicks"] += sum((name, item) in self.before for item in clicked)
            mine["discover_clicks"] += sum((name, item) not in self.before for item in clicked)
            mine["bought_slots"] += len(bought)
            mine["bought_answers"] += bool(bought)
            mine["degraded"] += row["degraded"]
            mine["latency_ms"] += row["latency_ms"]
            for item in kinds:
                paid = [e["amount"] or 0 for e in self.credited[name, item] if e["kind"] == "purchase"]
                mine["slot_revenue"] += sum(paid)
        for (user, arm), times in seen.items():
            baskets = set()
            for row in self.events:
                when, since, last = row["happened_at"], min(times), max(times) + self.window
                if row["kind"] == "purchase" and row["user_id"] == user and since <= when <= last:
                    mine = sums[user, arm, when.date()]
                    mine["items"] += 1
                    mine["revenue"] += row["amount"] or 0
                    mine["baskets"] += when not in baskets
                    baskets.add(when)
        return sums
