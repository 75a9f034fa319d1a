"""The Redis URL, which has a password, from Google's Secret Manager: read once, when the service starts.

    ENDCAP_REDIS_SECRET=projects/my-shop/secrets/endcap-redis-url/versions/latest

A container on Google Cloud asks the machine's metadata server who it is, and Secret Manager for the secret,
both over plain HTTP: nothing of Google's is installed or imported. Where ENDCAP_REDIS_URL is set, that is
used and nobody is asked. What is read is never printed; a new version counts from the next start on.
"""

import base64
import binascii
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, MutableMapping
from typing import Any

URL, SECRET = "ENDCAP_REDIS_URL", "ENDCAP_REDIS_SECRET"
NAME = re.compile(r"projects/[\w:.-]{1,100}/secrets/[\w-]{1,255}/versions/(latest|\d{1,10})", re.ASCII)
SCHEMES = ("redis://", "rediss://", "unix://")
MANAGER = "https://secretmanager.googleapis.com"
IDENTITY = "http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
TIMEOUT_S, TRIES, PAUSE_S = 5.0, 3, 0.5
FAILURES = (OSError, http.client.HTTPException)  # on the way: nobody answers, or in no HTTP
ADVICE = {
    401: "the service account is not known there",
    403: "grant roles/secretmanager.secretAccessor on it to the service account of this container",
    404: "there is no such secret or version",
}


class SecretError(RuntimeError):
    """The secret cannot be read; the message says which, why, and what to do, never what is in it."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A credential goes to whom it is meant for and to nobody else."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def take_redis_url(environ: MutableMapping[str, str]) -> None:
    """Set the Redis URL in an environment from the secret that it names, if it names one and has no URL."""
    name = environ.get(SECRET, "")
    if not name or environ.get(URL):
        return
    if not NAME.fullmatch(name):
        raise SecretError(f"{SECRET} is {name!r:.120}; use projects/PROJECT/secrets/NAME/versions/latest")
    url = secret(name, environ).strip()
    if not url.startswith(SCHEMES):
        raise SecretError(
            f"{SECRET}: {name} holds no Redis URL; store one like rediss://:PASSWORD@HOST:6378/0"
        )
    environ[URL] = url


def secret(name: str, environ: Mapping[str, str]) -> str:
    """What a version of a secret holds."""
    manager = environ.get("SECRET_MANAGER_EMULATOR_HOST") or MANAGER
    headers = {"Authorization": f"Bearer {token(environ)}"}
    try:
        told = asked(f"{manager}/v1/{name}:access", headers)
        return base64.b64decode(told["payload"]["data"], validate=True).decode()
    except urllib.error.HTTPError as error:
        advice = ADVICE.get(error.code, "run it again in a minute")
        raise SecretError(f"{SECRET}: {name} is refused with {error.code}; {advice}") from None
    except FAILURES as error:
        why = error if isinstance(error, OSError) else type(error).__name__  # which repeats no answer
        raise SecretError(f"{SECRET}: {name} cannot be read, as {manager} does not answer: {why}") from None
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise SecretError(f"{SECRET}: {manager} gave no secret for {name}") from None


def token(environ: Mapping[str, str]) -> str:
    """A token of the container's service account."""
    host = environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
    try:
        return str(asked(IDENTITY.format(host=host), {"Metadata-Flavor": "Google"})["access_token"])
    except (*FAILURES, KeyError, TypeError, ValueError) as error:
        raise SecretError(
            f"{SECRET} is set, and the metadata server {host} gives no token ({type(error).__name__});"
            f" outside of Google Cloud set {URL} instead"
        ) from None


def asked(url: str, headers: Mapping[str, str]) -> Any:
    """JSON of a page; what may be a passing failure is tried again."""
    client = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects())
    for left in reversed(range(TRIES)):
        try:
            with client.open(urllib.request.Request(url, headers=dict(headers)), timeout=TIMEOUT_S) as page:  # noqa: S310
                return json.load(page)
        except urllib.error.HTTPError as error:
            if error.code < 500 or not left:
                raise
        except FAILURES:
            if not left:
                raise
        time.sleep(PAUSE_S)
    raise AssertionError("unreachable")
