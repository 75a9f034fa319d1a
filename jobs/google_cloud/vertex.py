"""The service as a Vertex AI endpoint: deployed beside what serves, tried, and given the traffic bit by bit.

    endcap deploy vertex --project my-shop --region europe-west4 --image ...:r12 --canary 10
    endcap undeploy vertex --project my-shop --region europe-west4 --to previous

Whatever ends a deployment, an error, a limit or Ctrl-C, the traffic is split again exactly as it was before.
A run that was cut off, even by a lost machine, is gone on with by the same command.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jobs.google_cloud.refusals import CloudError
from jobs.google_cloud.vertex_api import MovedError, Vertex
from jobs.google_cloud.vertex_model import MADE_BY, Wanted
from jobs.google_cloud.vertex_smoke import Limits, observe, smoke
from jobs.google_cloud.vertex_traffic import (
    BEFORE,
    DEPLOYING,
    WHOLE,
    ours,
    remembered,
    remembering,
    same,
    told,
    with_share,
)

SMOKE_SHARE = 1  # percent of shoppers' requests that may meet a model which has never answered
UNDEPLOY_S = 300.0  # that one has to wait, without a way out, for a failed model to be taken down


@dataclass(frozen=True)
class Plan:
    """How a model gets the traffic; `user` asks the smoke tests, and must be known if named."""

    canary: int = 10  # percent
    observe_s: float = 300.0
    user: str | None = None
    retire: bool = False
    timeout_s: float = 3_600.0  # of one long-running operation
    limits: Limits = field(default_factory=Limits)


class Rollout:
    """The way of one deployed model to the traffic of its endpoint, and back."""

    def __init__(self, vertex: Vertex, new: str) -> None:
        """Find what was before: now, or as a run that was cut off has left word of it."""
        endpoint = vertex.endpoint()
        if endpoint is None:
            raise MovedError(f"Endpoint {vertex.place.endpoint} is gone: somebody else has deleted it")
        labels = dict(endpoint.labels)
        if (other := labels.get(DEPLOYING, new)) != new:
            raise CloudError(
                f"A deployment of {other} is under way, or was cut off; go on with its own command, or end it"
                " with: endcap undeploy vertex --to previous"
            )
        self.vertex, self.new, self.resumed = vertex, new, DEPLOYING in labels
        self.split = dict(endpoint.traffic_split)  # as we have seen or made it last
        idle = {new: 0} if f"{BEFORE}{new}" in labels else {}  # it was kept to go back to
        self.before = remembered(labels) if self.resumed else {**idle, **self.split}
        self.labels = {} if self.resumed else {name: labels[name] for name in labels if ours(name)}

    @property
    def serves(self) -> bool:
        """Whether it has all the traffic already, and no deployment is under way."""
        return not self.resumed and same(self.split, {self.new: WHOLE})

    @property
    def alone(self) -> bool:
        """Whether there is nothing beside it that serves."""
        return not any(share for model, share in self.before.items() if model != self.new)

    def begin(self) -> None:
        """Leave word of what was before, and of what is being deployed."""
        self._shift(self.split, lambda labels: remembering(labels, self.before, self.new))

    def give(self, percent: int) -> None:
        """Give it so much of the traffic."""
        self._shift(
            with_share(self.before, self.new, percent),
            lambda labels: remembering(labels, self.before, self.new),
        )

    def finish(self) -> None:
        """Give it all; what was before is what one can go back to."""
        self._shift({self.new: WHOLE}, lambda labels: remembering(labels, self.before))

    def put_back(self) -> None:
        """Split the traffic as it was, and take the new model down; what others have given it stays.

        One that was deployed before stays so. One that is still being deployed cannot be taken down yet: the
        word of it stays, by which `go_back` does.
        """
        going = self._going()
        words = self.before if going else {}
        try:
            self._shift(
                self.before,
                lambda labels: {**remembering(labels, words, going), **({} if going else self.labels)},
            )
        except MovedError as error:
            endpoint = self.vertex.endpoint()
            if endpoint is None or dict(endpoint.traffic_split).get(self.new):
                self.vertex.say(f"{error}; it is left so, and {self.new} as it is")
                return
        if going:
            self.vertex.say(
                f"{self.new} is still being deployed, and costs once it is; as soon as that is over, take it"
                " down with: endcap undeploy vertex --to previous"
            )
            return
        if self.new in self.before:
            return
        try:
            if self.new in self.vertex.deployed():
                self.vertex.undeploy(self.new, UNDEPLOY_S)
                self.vertex.say(f"{self.new} is undeployed")
        except CloudError as error:
            self.vertex.say(f"{self.new} has no traffic, may still be deployed, and costs then: {error}")

    def _going(self) -> str | None:
        """Its id while it is being deployed; None where it is not, or nobody says so."""
        try:
            return self.new if self.vertex.deploying() else None
        except CloudError:
            return None

    def _shift(self, to: dict[str, int], labels: Callable[[Any], dict[str, str]]) -> None:
        self.vertex.shift(to, seen=self.split, labels=labels)
        if not same(to, self.split):
            self.vertex.say(f"traffic: {told(to)}")
        self.split = dict(to)


def deploy(vertex: Vertex, wanted: Wanted, plan: Plan) -> str:
    """Have a model serve all the traffic of its endpoint; what was done, in a line."""
    new = wanted.deployed_id
    vertex.upload(wanted, plan.timeout_s)
    vertex.make_endpoint(plan.timeout_s)
    rollout = Rollout(vertex, new)
    if rollout.serves:
        return f"{new} serves already; {smoke(vertex, new, plan.user)} answers"
    with undone(rollout):
        rollout.begin()
        vertex.deploy(wanted, plan.timeout_s)
        rollout.give(SMOKE_SHARE)
        release = smoke(vertex, new, plan.user)
        if not rollout.alone:
            rollout.give(plan.canary)
            vertex.say(observe(vertex, new, plan.user, plan.observe_s, plan.limits).line(new))
        rollout.finish()
    return f"{new} serves {release}; {leftovers(vertex, new, plan)}"


@contextmanager
def undone(rollout: Rollout) -> Iterator[None]:
    """Whatever ends the block before its end, the traffic is put back, and nothing interrupts that."""
    try:
        yield
    except BaseException as error:
        with uninterrupted():
            rollout.vertex.say(f"{str(error) or type(error).__name__}; putting the traffic back")
            try:
                rollout.put_back()
            except Exception as second:  # whatever it is, a person must hear of it
                rollout.vertex.say(
                    f"NOT put back: {second}; as soon as it can be: endcap undeploy vertex --to previous"
                )
        raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Interrupts during the block come to nothing: what it does must be done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler or signal.SIG_DFL)


def leftovers(vertex: Vertex, new: str, plan: Plan) -> str:
    """What becomes of the models without traffic: taken down, or kept to go back to."""
    idle = sorted(set(vertex.deployed()) - {new})
    if not idle:
        return "nothing else is deployed"
    if not plan.retire:
        return f"{', '.join(idle)} stay deployed to go back to, and cost; --retire takes them down"
    for each in idle:
        vertex.undeploy(each, plan.timeout_s)
    vertex.shift({new: WHOLE}, seen={new: WHOLE}, labels=lambda labels: remembering(labels, {}))
    return f"{', '.join(idle)} are undeployed"


def go_back(vertex: Vertex, timeout_s: float) -> str:
    """Split the traffic as it was before the last deployment, finished or not, and take that down."""
    vertex.settle(timeout_s)
    endpoint = vertex.endpoint()
    if endpoint is None:
        raise CloudError(f"There is no endpoint {vertex.place.endpoint} in {vertex.place.parent}")
    labels, now = dict(endpoint.labels), dict(endpoint.traffic_split)
    before, deployed = remembered(labels), {each.id for each in endpoint.deployed_models}
    if not before and DEPLOYING not in labels:
        raise CloudError("There is nothing to go back to: no model served before, or it was retired")
    if gone := sorted(model for model, share in before.items() if share and model not in deployed):
        raise CloudError(
            f"{', '.join(gone)}, which served before, is not deployed any more; deploy its image"
        )
    vertex.shift(before, seen=now, labels=lambda labels: remembering(labels, {}))
    vertex.say(f"traffic: {told(before)}")
    for each in sorted(({*now} | {labels.get(DEPLOYING, "")}) & deployed - {*before}):
        vertex.undeploy(each, timeout_s)
        vertex.say(f"{each} is undeployed")
    return f"as before: {told(before)}"


def remove(vertex: Vertex, timeout_s: float) -> str:
    """Take down all that is deployed at the endpoint, and delete that and those models, if we made them."""
    vertex.settle(timeout_s)
    endpoint = vertex.endpoint()
    if endpoint is None:
        return f"there is no endpoint {vertex.place.endpoint}"
    if not made_by_us(endpoint):
        raise CloudError(f"Endpoint {vertex.place.endpoint} was not made by `endcap deploy vertex`; it stays")
    vertex.shift({}, seen=dict(endpoint.traffic_split), labels=lambda labels: remembering(labels, {}))
    deployed = vertex.deployed()
    for each in sorted(deployed):
        vertex.undeploy(each, timeout_s)
        vertex.say(f"{each} is undeployed")
    vertex.delete(vertex.place.name, timeout_s)
    names = sorted({name.partition("@")[0] for name in deployed.values()})
    ours_of_them = [name for name in names if made_by_us(vertex.model(name))]
    for name in ours_of_them:
        vertex.delete(name, timeout_s)
    return f"endpoint {vertex.place.endpoint} and {len(ours_of_them)} models are deleted"


def made_by_us(what: Any | None) -> bool:
    """Whether a model or an endpoint is there and was made by `endcap deploy vertex`."""
    return what is not None and MADE_BY.items() <= dict(what.labels).items()
