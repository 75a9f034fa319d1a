"""The service over real HTTP: a real server, a real online store, a real stored release."""

import os
import re
import shutil
import sqlite3
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta

import built_bento
import httpx
import pytest
import served_shop
from served_shop import BENTOML, NOW, ROOT, SOLD_OUT, USERS, in_time

from bentos.api_models import MAX_ID, MAX_K
from bentos.body_limit import LIMIT
from bentos.online import RECOMMEND
from bentos.online_features import PAUSE_S, OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load

shop = pytest.fixture(scope="session")(served_shop.installed)
STAGES = {"user", "candidates", "items", "rank"}


@pytest.fixture(scope="module", params=["checkout", "bento"])
def server(request, shop, tmp_path_factory):
    """URL of `bentoml serve`: of the project's root, and of the Bento in an environment that is its own."""
    folder = tmp_path_factory.mktemp("service")
    command, how = (*BENTOML, "serve"), {"environment": shop.environment, "cwd": ROOT}
    if request.param == "bento":
        root = tmp_path_factory.getbasetemp()
        bento = built_bento.exported(shop, root)
        command = (built_bento.interpreter(bento, root), "-m", "bentoml", "serve", ".")
        home = served_shop.environment(shop.settings.state, folder / "empty")
        how = {"environment": {**home, "PYTHONDONTWRITEBYTECODE": "1"}, "cwd": bento}  # it stays as built
    with served_shop.serving(*command, **how, log=folder / "serve.log") as url:
        yield url


@pytest.fixture(scope="module")
def expected(shop):
    """The same question answered in this process, without HTTP: items as the service would write them."""
    release = load(shop.release, shop.tag)
    reader = OnlineFeatures(shop.settings, release, lambda: NOW)

    def answer(user_id, k=10, task="all"):
        found = recommend(release, reader, user_id, k=k, task=task, now=NOW)
        return [{**vars(slot), "sources": list(slot.sources), "contributions": []} for slot in found.slots]

    return answer


def post(server, body=None, **how):
    """Answer to one POST; `body` is sent as JSON unless `how` says what is sent."""
    return httpx.post(f"{server}/recommend", **(how or {"json": body}), timeout=60)


def ask(server, user_id, **options):
    """The answer to a good request, asked again where it ran out of time."""

    def question():
        response = post(server, {"user_id": user_id, **options})
        assert response.status_code == 200, response.text
        return response.json()

    return in_time(question)


def test_the_route_beside_bentoml_answers_the_same(server):
    """`/online/recommend` gives what its documented twin gives, but for the request's own id and times."""
    own = ("request_id", "latency_ms", "stages_ms")
    for body in ({"user_id": "u1"}, {"user_id": "u2", "k": 3, "task": "discover"}, {"user_id": "nobody"}):
        answers = [httpx.post(f"{server}{path}", json=body).json() for path in ("/recommend", RECOMMEND)]
        for answer in answers:
            assert all(answer.pop(name) is not None for name in own)
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body: Invalid JSON"),
        (b"[]", "body: Input should be an object"),
        (b'{"user_id": "u1", "k": 0}', "k: Value error, k is 0; use a whole number from 1 to 100"),
        (b'{"user_id": ""}', "user_id: "),
        (b'{"user_id": "u1", "colour": 1}', "colour: Extra inputs"),
        (b'{"user_id": "\xff"}', "body: Invalid JSON"),
    ],
)
def test_what_it_cannot_answer_it_refuses(server, body, says):
    """400 with the place and the reason, never a 500."""
    refused = httpx.post(f"{server}{RECOMMEND}", content=body)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(says)


@pytest.mark.parametrize("task", ["all", "discover"])
@pytest.mark.parametrize("user_id", [USERS[0], USERS[-1]])
def test_answer_is_that_of_the_path_without_http(server, shop, expected, user_id, task):
    """Over HTTP a known user gets exactly what the same path answers in process, and facts about it."""
    answer = ask(server, user_id, k=5, task=task)
    assert answer["items"] == expected(user_id, k=5, task=task)
    assert len(answer["items"]) == 5
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert all(item["title"].startswith("Item ") and item["reason"] for item in answer["items"])
    assert SOLD_OUT not in [item["item_id"] for item in answer["items"]]
    assert (answer["user_id"], answer["task"], answer["release"]) == (user_id, task, shop.tag)
    assert (answer["degraded"], datetime.fromisoformat(answer["feature_time"])) == ([], NOW)
    assert answer["stages_ms"].keys() == STAGES
    assert 0 < sum(answer["stages_ms"].values()) <= answer["latency_ms"] + 0.01
    assert uuid.UUID(answer["request_id"]).hex == answer["request_id"]


def test_defaults_are_ten_items_of_task_all(server, expected):
    """A request with a user alone is answered with ten items of task all."""
    answer = ask(server, "u1")
    assert answer["items"] == expected("u1", k=10, task="all")
    assert (len(answer["items"]), answer["task"]) == (10, "all")


@pytest.mark.parametrize(
    "user_id",
    ["nobody", "x'; DROP TABLE endcap_user_stats; --", "%", "u1 ", "é" * MAX_ID, "../../etc/passwd"],
)
def test_unknown_user_gets_top_sellers(server, user_id):
    """Whoever is not known, whatever they are called, is served the most popular items and told so."""
    answer = ask(server, user_id, k=3)
    assert [item["item_id"] for item in answer["items"]] == ["i00", "i01", "i02"]
    assert answer["degraded"] == ["unknown user: top sellers"]
    assert (answer["user_id"], answer["feature_time"]) == (user_id, None)


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 10_000, 10**30, "ten", "5", 1.5, 5.0, True, None, [3], {}])
def test_bad_k_is_refused_with_the_limit(server, k):
    """Anything but a whole number in range is refused; the message has the field, the value and the range."""
    response = post(server, {"user_id": "u1", "k": k})
    assert response.status_code == 400
    (detail,) = response.json()["detail"]
    assert detail["loc"] == ["k"]
    assert f"k is {k!r:.40}; use a whole number from 1 to {MAX_K}" in detail["msg"]


@pytest.mark.parametrize("k", [1, MAX_K])
def test_limits_of_k_are_allowed(server, k):
    """Both ends of the range are answered, with no more items than there are."""
    assert len(ask(server, "u1", k=k)["items"]) == min(k, 19)


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        ({}, "user_id", "required"),
        ({"k": 3}, "user_id", "required"),
        ({"user_id": ""}, "user_id", "at least 1 character"),
        ({"user_id": "  \t"}, "user_id", "is blank"),
        ({"user_id": "a\x00b"}, "user_id", "control characters"),
        ({"user_id": "u1\n"}, "user_id", "control characters"),
        ({"user_id": "a" * 10_000}, "user_id", f"at most {MAX_ID} characters"),
        ({"user_id": 5}, "user_id", "valid string"),
        ({"user_id": None}, "user_id", "valid string"),
        ({"user_id": ["u1"]}, "user_id", "valid string"),
        ({"user_id": "u1", "task": "guess"}, "task", "'all' or 'discover'"),
        ({"user_id": "u1", "task": None}, "task", "'all' or 'discover'"),
        ({"user_id": "u1", "limit": 3}, "limit", "not permitted"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_field_is_named(server, body, field, text):
    """A request with a wrong, missing or unknown field is refused with its name and what is wrong."""
    response = post(server, body)
    assert response.status_code == 400
    (detail,) = response.json()["detail"]
    assert detail["loc"] == [field]
    assert text in detail["msg"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "required"),
        (b'{"user_id": ', "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b'{"user_id": "\\ud800"}', "Invalid JSON"),
        (b"[1]", "object"),
        (b'"u1"', "object"),
        (b"null", "object"),
        (b'{"user_id": "u1", "k": NaN}', "k is nan; use a whole number"),
        (b'{"user_id": "u1", "k": Infinity}', "k is inf; use a whole number"),
        (b'{"user_id": ' + b"[" * 5_000, "Invalid JSON"),
    ],
)
def test_what_is_no_request_is_refused(server, content, text):
    """A body that is not a JSON object of a request is refused in words."""
    response = post(server, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert text in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    "said",
    [
        "text/plain",
        "multipart/form-data",
        "application/x-www-form-urlencoded",
        "application/vnd.bentoml+pickle",
        "Application/Vnd.BentoML+Pickle; v=1",
    ],
)
def test_other_content_types_are_refused(server, said):
    """Only JSON is read: no form, and never a pickle."""
    response = post(server, content=b'{"user_id": "u1"}', headers={"content-type": said})
    assert response.status_code == 415
    assert "send it as application/json" in response.json()["error"]


@pytest.mark.parametrize("said", [None, "application/json; charset=utf-8", "APPLICATION/JSON"])
def test_json_is_taken_however_it_is_written(server, said):
    """A body without a content type, or with parameters or capitals in it, is JSON."""
    response = post(server, content=b'{"user_id": "u1"}', headers={"content-type": said} if said else {})
    assert response.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_large_body_is_refused(server, chunked):
    """A body of 200 kB is refused, with a content-length and without."""
    body = b'{"user_id": "' + b"u" * 200_000 + b'"}'
    content = (body[at : at + 10_000] for at in range(0, len(body), 10_000)) if chunked else body
    try:
        response = post(server, content=content, headers={"content-type": "application/json"})
    except httpx.WriteError:
        pytest.skip("the server closed the connection before it had read all")
    assert response.status_code == 413
    assert f"more than {LIMIT} bytes" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"), [("recommend", 405), ("livez", 200), ("readyz", 200), ("nothing", 404)]
)
def test_other_routes(server, path, status):
    """BentoML's probes answer beside /recommend, which takes POST only."""
    assert httpx.get(f"{server}/{path}").status_code == status


def test_metrics_count_requests(server):
    """The number of requests is there to be scraped."""
    ask(server, "u1", k=1)
    assert 'endpoint="/recommend"' in httpx.get(f"{server}/metrics").text


def test_openapi_page_shows_an_example(server):
    """The interface describes itself: fields, limits, an example."""
    schema = httpx.get(f"{server}/docs.json").json()["components"]["schemas"]
    request = next(each for name, each in schema.items() if name.startswith("RecommendRequest"))
    assert request["example"]["user_id"]
    assert request["properties"]["k"]["maximum"] == MAX_K


@pytest.mark.parametrize(
    ("path", "method", "fields"),
    [
        ("/recommend", "post", None),
        ("/why-not", "post", None),
        ("/online/recommend", "post", {"user_id", "k", "task"}),
        ("/events", "post", {"events"}),
        ("/items/{item_id}/similar", "get", None),
    ],
)
def test_openapi_page_has_every_route(server, path, method, fields):
    """Also those that BentoML does not handle; examples are answered, and every reference leads somewhere."""
    page = httpx.get(f"{server}/docs.json")
    spec = page.json()
    operation = spec["paths"][path][method]
    assert operation.get("summary") or operation["description"]
    if fields:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert example.keys() == fields
        assert httpx.post(f"{server}{path}", json=example).status_code == 200
    names = re.findall(r'"#/components/schemas/([^"]+)"', page.text)
    assert set(names) <= spec["components"]["schemas"].keys()


def test_concurrent_requests_get_their_own_answers(server, expected):
    """Eight clients with 25 requests each: every answer is the one of its own user."""
    wanted = {user: expected(user, k=4) for user in USERS}

    def client(number):
        users = [USERS[(number + turn) % len(USERS)] for turn in range(25)]
        with httpx.Client(timeout=60) as http:
            bodies = [{"user_id": user, "k": 4} for user in users]
            answers = [http.post(f"{server}/recommend", json=body).json() for body in bodies]
        return list(zip(users, answers, strict=True))

    with ThreadPoolExecutor(8) as pool:
        pairs = [pair for each in pool.map(client, range(8)) for pair in each]
    assert len(pairs) == 200
    assert [answer["items"] for _, answer in pairs] == [wanted[user] for user, _ in pairs]
    assert len({answer["request_id"] for _, answer in pairs}) == 200


def deleted(store):
    """The store is gone."""
    store.unlink()


def garbage(store):
    """Another file stands in its place, which is no database."""
    store.unlink()
    store.write_bytes(os.urandom(5_000))


def overwritten(store):
    """The very file that the server has open is overwritten."""
    size = store.stat().st_size
    with store.open("r+b") as file:
        file.write(b"garbage " * (size // 8))


def emptied(store):
    """A database without tables stands in its place."""
    store.unlink()
    store.touch()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (deleted, "no online store (run `endcap materialize`)"),
        (garbage, "online store cannot be read"),
        (overwritten, "online store cannot be read"),
        (emptied, "online store is empty (run `endcap materialize`)"),
    ],
)
def test_broken_store_is_a_stated_fallback_until_it_is_back(server, shop, damage, says, tmp_path):
    """A store that breaks under the running server costs the personal answer, and only while it lasts."""
    store, kept = shop.settings.online_store, tmp_path / "kept.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("VACUUM INTO ?", [str(kept)])  # with what is still in its log
    before = ask(server, "u1", k=3)
    damage(store)
    broken = [ask(server, user, k=3) for user in ("u1", "nobody", "u1")]
    assert served_shop.answers(f"{server}/readyz")  # poorer answers are better than none
    for log in ("-wal", "-shm"):
        store.with_name(store.name + log).unlink(missing_ok=True)
    shutil.copy(kept, store.with_suffix(".new"))
    store.with_suffix(".new").replace(store)
    time.sleep(PAUSE_S)
    told = [[f"{reason}: top sellers"] for reason in (says, "online store does not answer")]
    assert broken[0]["degraded"] == told[0]
    assert all(each["degraded"] in told for each in broken)
    assert [item["item_id"] for item in broken[0]["items"]] == ["i00", "i01", "i02"]
    after = ask(server, "u1", k=3)
    assert (after["items"], after["degraded"]) == (before["items"], [])


def test_newly_materialized_store_is_read_at_once(server, shop):
    """After `endcap materialize` the running server answers from the new store: here, that of a week ago."""
    from jobs import materialize

    before = ask(server, "u1")
    materialize.run(shop.settings, end=NOW - timedelta(days=3))
    older = ask(server, "u1")
    materialize.run(shop.settings, end=NOW)
    assert datetime.fromisoformat(older["feature_time"]) == NOW - timedelta(weeks=1)
    assert older["degraded"] == []
    assert older["items"] != before["items"]
    assert ask(server, "u1")["items"] == before["items"]


def test_why_not_is_answered_over_http(server):
    """An item of the answer is recommended, an unheard of one unknown, a bad request refused."""
    shown = ask(server, "u1", k=5)["items"]
    for item, verdict in ((shown[2]["item_id"], "recommended"), ("moon", "unknown item")):
        found = httpx.post(f"{server}/why-not", json={"user_id": "u1", "item_id": item, "k": 5}).json()
        assert found["verdict"] == verdict
    assert httpx.post(f"{server}/why-not", json={"user_id": "u1"}).status_code == 400


def test_an_answer_explains_itself_on_request(server):
    """Five features an item, on both routes alike."""
    body = {"user_id": "u1", "k": 3, "explain": True}
    answers = [httpx.post(f"{server}{path}", json=body).json()["items"] for path in ("/recommend", RECOMMEND)]
    assert answers[0] == answers[1]
    assert [len(item["contributions"]) for item in answers[0]] == [5, 5, 5]
    assert ask(server, "u1", k=3)["items"][0]["contributions"] == []


def test_similar_items_are_answered_over_http(server):
    """Both likenesses, titles along; what is unknown or wrong is said to be."""
    for by in ("text", "behaviour"):
        found = httpx.get(f"{server}/items/i03/similar", params={"by": by, "k": 4}).json()
        assert found["by"] == by
        assert len(found["items"]) == 4
        for item in found["items"]:
            assert item["title"] == f"Item {int(item['item_id'][1:])}"
    assert httpx.get(f"{server}/items/moon/similar").status_code == 404
    for bad in ({"by": "smell"}, {"k": "0"}, {"k": "many"}):
        assert httpx.get(f"{server}/items/i03/similar", params=bad).status_code == 400


def test_metrics_tell_what_was_answered(server, shop):
    """Stages, degraded answers by reason, ages of features and the release, in Prometheus' format."""

    def figures():
        lines = httpx.get(f"{server}/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}

    def counted(name):
        return lambda found: sum(value for key, value in found.items() if key.startswith(name))

    before = figures()
    for user in ("u1", "u2", "nobody at all"):
        ask(server, user)
    after = figures()
    grown = {
        'endcap_answer_seconds_count{task="all"': 3,
        'endcap_stage_seconds_count{stage="rank"': 2,
        'endcap_degraded_answers_total{reason="unknown user: top sellers"': 1,
        "endcap_feature_age_seconds_count": 2,
    }
    for name, more in grown.items():
        assert counted(name)(after) - counted(name)(before) == more, name
    assert counted("endcap_release_info{pid=")(after) >= 1
    assert any(shop.tag in key for key in after if key.startswith("endcap_release_info"))
