"""Vertex AI's contract without a server: its variables, what is mounted, what a batch may take."""

import asyncio

import bentoml
import pytest
from starlette.testclient import TestClient

from bentos import vertex
from bentos.api_models import RecommendRequest
from bentos.online import online_app
from bentos.start_checks import container_contract
from bentos.vertex import Contract, ContractError, InstancesError, OutOfTimeError, instances, predictions

pytestmark = pytest.mark.gcp
GIVEN = {"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": "/health", "AIP_PREDICT_ROUTE": "/predict"}


def nothing(_):
    """A check that finds nothing wrong."""


def client(contract, *, ready=True, answer=None, check=nothing):
    """A client of an application with the routes of a contract."""
    app = online_app(contract.routes())
    app.state.ready, app.state.answer, app.state.check = (lambda: ready), answer, check
    return TestClient(app)


def test_without_its_variables_nothing_is_there():
    """No port, no routes, no larger bodies; empty variables are none."""
    for environ in ({}, dict.fromkeys(GIVEN, "")):
        contract = Contract.from_environment(environ)
        assert (contract.listening, contract.limits, contract.routes()) == ({}, {}, [])


def test_its_variables_are_port_and_routes():
    """As BentoML takes a port, and as the application mounts routes."""
    contract = Contract.from_environment(GIVEN)
    assert contract.listening == {"http": {"port": 8080}}
    assert contract.limits == {"/predict": vertex.MAX_BODY}
    assert [(each.path, sorted(each.methods)) for each in contract.routes()] == [
        ("/health", ["GET", "HEAD"]),
        ("/predict", ["POST"]),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"AIP_HTTP_PORT": "http"}, "AIP_HTTP_PORT is 'http'; use a port from 1 to 65535"),
        ({"AIP_HTTP_PORT": "65536"}, "AIP_HTTP_PORT is '65536'"),
        ({"AIP_HEALTH_ROUTE": "health"}, "AIP_HEALTH_ROUTE is 'health'; use a path"),
        ({"AIP_PREDICT_ROUTE": "/{all}"}, "AIP_PREDICT_ROUTE is '/{all}'; use a path"),
        ({"AIP_PREDICT_ROUTE": "/recommend"}, "AIP_PREDICT_ROUTE is '/recommend', which the service uses"),
    ],
)
def test_variables_that_are_of_no_use_stop_the_start(change, says, monkeypatch):
    """In one line that names the variable and its value, as BentoML tells errors."""
    with pytest.raises(ContractError) as found:
        Contract.from_environment({**GIVEN, **change})
    assert str(found.value).startswith(says)
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(bentoml.exceptions.BentoMLException, match=next(iter(change))):
        container_contract()


def test_health_is_readiness():
    """200 once the service is ready; before, 503 that says what it waits for."""
    contract = Contract.from_environment(GIVEN)
    assert client(contract).get("/health").status_code == 200
    early = client(contract, ready=False).get("/health")
    assert (early.status_code, early.json()) == (503, {"error": "the online store has not been reached yet"})


def test_a_batch_that_takes_too_long_says_how_far_it_came(monkeypatch):
    """504 with the number of instances that were answered; none of the others is begun."""
    asked = []

    async def answer(request):
        asked.append(request.user_id)
        await asyncio.sleep(0.03)
        return {"user_id": request.user_id}

    batch = instances(
        b'{"instances": [{"user_id": "a"}, {"user_id": "b"}, {"user_id": "c"}, {"user_id": "d"}]}'
    )
    with pytest.raises(OutOfTimeError, match=r"0\.05 s were over after 2 of 4 instances; send fewer"):
        asyncio.run(predictions(answer, batch, 0.05))
    assert asked == ["a", "b"]
    monkeypatch.setattr(vertex, "BUDGET_S", 0.05)
    late = client(Contract.from_environment(GIVEN), answer=answer).post(
        "/predict", json={"instances": [{"user_id": "a"}] * 4}
    )
    assert late.status_code == 504


def test_others_get_their_turns_between_instances():
    """Whoever waits for the loop is not kept waiting for the whole batch."""
    turns = []

    async def answer(request):
        turns.append(request.user_id)
        return {}

    async def other():
        turns.append("other")

    async def both():
        batch = [RecommendRequest(user_id=user) for user in "abc"]
        await asyncio.gather(predictions(answer, batch, 1.0), other())

    asyncio.run(both())
    assert turns.index("other") < turns.index("c")


def test_all_is_checked_before_the_first_is_answered():
    """So that a refused batch leaves no exposure; five mistakes are named, and how many more there are."""
    asked = []

    async def answer(request):
        asked.append(request)

    def check(request):
        if request.arms:
            RecommendRequest(user_id=7)  # a mistake as the service tells those of arms

    arms = {"instances": [{"user_id": "a"}, {"user_id": "b", "arms": {"no": "no"}}]}
    contract = Contract.from_environment(GIVEN)
    refused = client(contract, answer=answer, check=check).post("/predict", json=arms)
    assert (refused.status_code, asked) == (400, [])
    assert refused.json()["error"].startswith("instances[1]")
    batch = {"instances": [{"user_id": "a"}, *({"user_id": number} for number in range(8))]}
    refused = client(Contract.from_environment(GIVEN), answer=answer).post("/predict", json=batch)
    assert (refused.status_code, asked) == (400, [])
    assert refused.json()["error"].count("instances[") == vertex.SHOWN
    assert refused.json()["error"].endswith("(given 4); and 3 more")


@pytest.mark.parametrize(
    "k", [b"NaN", b"-Infinity", b"1e999", b"true", b"[5.0]", b'"5"', b"5.5", b"-3.0", b"null"]
)
def test_no_other_number_is_an_integer(k):
    """5.0 is 5; nothing else that is no whole number of items becomes one."""
    (good,) = instances(b'{"instances": [{"user_id": "a", "k": 5.0}]}')
    assert (good.k, type(good.k)) == (5, int)
    with pytest.raises(InstancesError):
        instances(b'{"instances": [{"user_id": "a", "k": ' + k + b"}]}")
