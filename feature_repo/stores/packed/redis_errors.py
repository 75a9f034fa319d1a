"""Why a Redis server does not serve, in one line that says what to do about it, and never has a password.

A client's error is told by its text and not as a cause: a server may repeat what it was told.
"""

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import redis

from feature_repo.stores.packed.layout import PackedStoreError, RefusedError
from feature_repo.stores.packed.redis_server import CA

CLUSTER = (
    "is in cluster mode, which keeps a whole view on one shard; use Memorystore for Redis (Standard Tier, up"
    " to 300 GB), or Memorystore for Valkey with cluster mode disabled; see docs/memorystore.md"
)
CLUSTER_ERRORS = (
    redis.exceptions.AskError,
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.ClusterDownError,
)
WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def place_of(client: redis.Redis) -> str:
    """Where a client's server is, for a person; no password."""
    where = client.connection_pool.connection_kwargs
    return f"Redis at {where.get('path') or '{host}:{port}'.format_map({'port': 6379, **where})}"


def check_mode(client: redis.Redis) -> None:
    """Nothing, or RefusedError for a server in cluster mode."""
    mode: Any = client.info("cluster")
    if int(mode.get("cluster_enabled", 0)):
        raise RefusedError(f"{place_of(client)} {CLUSTER}")


def explained(client: redis.Redis, error: redis.RedisError) -> PackedStoreError:
    """What a client's error comes to: RefusedError, with what to do, where waiting would not help."""
    where = client.connection_pool.connection_kwargs
    refusal = refused(error, where)
    if refusal is not None:
        return RefusedError(f"{place_of(client)} {refusal}")
    said = str(error)
    if said.startswith("No connection available"):
        said = f"all {client.connection_pool.max_connections} connections are in use"
    elif "closed by server" in said and "context" not in where:
        said = f"{said.rstrip('.')}; where it takes TLS alone, the URL begins with rediss://"
    elif "Timeout connecting" in said and "context" in where:  # as it waits for the rest of a command
        said = f"{said}; where it takes no TLS, the URL begins with redis://"
    return PackedStoreError(f"{place_of(client)} cannot be used now ({without(said, where)})")


def refused(error: redis.RedisError, where: dict[str, Any]) -> str | None:
    """Why a server will not serve however long one waits; None where it may."""
    kinds = (redis.AuthenticationError, redis.AuthenticationWrongNumberOfArgsError)
    if isinstance(error, kinds) or "NOAUTH" in str(error):
        return no_access(error, where)
    if isinstance(error, redis.exceptions.NoPermissionError):
        said = without(str(error), where)
        return f"does not let this user do all that is needed ({said}); see docs/memorystore.md"
    if isinstance(error, CLUSTER_ERRORS):
        return CLUSTER
    if isinstance(error, redis.InvalidResponse):
        return "does not speak Redis's protocol; where it takes TLS alone, the URL begins with rediss://"
    for each in causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return untrusted(each)
        if isinstance(each, ssl.SSLError) and each.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return "does not speak TLS; use a URL that begins with redis://, or its port for TLS"
    return None


def no_access(error: redis.RedisError, where: dict[str, Any]) -> str:
    """What is wrong with a password, or the lack of it."""
    if not where.get("password"):
        return "asks for a password, and the URL has none; use rediss://:PASSWORD@HOST:6378/0"
    if "without any password configured" in str(error) or "no password is set" in str(error):
        return "asks for no password, and the URL has one"
    if isinstance(error, redis.AuthenticationWrongNumberOfArgsError):
        return "knows no users; leave the user out: rediss://:PASSWORD@HOST:6378/0"
    return "refuses the password in the URL" + (", or the user" if where.get("username") else "")


def untrusted(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with a certificate."""
    if error.verify_code in WRONG_NAME:
        return (
            "has a certificate for another name; where the authority signs for this server alone, as that of"
            " Memorystore does, add ?ssl_check_hostname=false to the URL"
        )
    return (
        f"has a certificate that no known authority signed ({error.verify_message}); give {CA} the PEM file"
        " of the one that did"
    )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def without(said: str, where: dict[str, Any]) -> str:
    """A text with user and password blotted out, as a server may repeat what it was told."""
    for secret in (where.get("password"), where.get("username")):
        for form in {secret, quote(secret, safe=""), repr(secret)[1:-1]} if secret else ():
            said = said.replace(form, "***")
    return said
