"""Ask a running server for recommendations and lay its answer out as a table.

endcap recommend 2375 --k 10 --task discover
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TASKS = ("all", "discover")
TIMEOUT_S = 30.0
NO_ANSWER = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException)


class ServerError(RuntimeError):
    """No answer from the server, or one that says no."""


def ask(url: str, user_id: str, *, k: int = 10, task: str = "all") -> dict[str, Any]:
    """Answer of `POST /recommend` at the server `url`, as it came."""
    body = json.dumps({"user_id": user_id, "k": k, "task": task}).encode()
    request = urllib.request.Request(  # noqa: S310 (the user's own server)
        f"{_base(url)}/recommend", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace").strip()
        raise ServerError(f"{url} answered {error.code} for user {user_id!r}: {text}") from error
    except ValueError as error:
        raise ServerError(f"{url} did not answer in JSON; is another server there?") from error
    except NO_ANSWER as error:
        raise ServerError(f"No answer from {url} ({error}); start the server with: endcap serve") from error


def is_ready(url: str) -> bool:
    """Whether a server at `url` says that it can answer."""
    try:
        with urllib.request.urlopen(f"{_base(url)}/readyz", timeout=TIMEOUT_S) as response:  # noqa: S310
            return bool(response.status == 200)
    except NO_ANSWER:
        return False


def table(answer: Mapping[str, Any]) -> str:
    """One line an item: rank, score, title, sources, reason; then release, latency and what was degraded."""
    row = "{:>3} {:>8}  {} {} {}".format
    lines = [row("", "score", _cut("title", 44), _cut("sources", 28), "reason")]
    for item in answer["items"]:
        title, sources = _cut(item["title"], 44), _cut(", ".join(item["sources"]), 28)
        lines.append(row(item["rank"], f"{item['score']:.3f}", title, sources, item["reason"]))
    lines.append(f"{len(answer['items'])} items from {answer['release']} in {answer['latency_ms']:.1f} ms")
    lines += [f"degraded: {reason}" for reason in answer.get("degraded", ())]
    return "\n".join(lines)


def _cut(text: str, width: int) -> str:
    """`text` in exactly `width` columns."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _base(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ServerError(f"The URL is {url!r}; give one like http://127.0.0.1:3000")
    return url.rstrip("/")
