"""The connection to a Redis server: its URL, its certificate, and a pool of connections.

    redis://localhost:6379/0                       unix:///run/redis.sock
    rediss://:PASSWORD@10.0.0.3:6378/0             TLS and AUTH, as Memorystore has them
    rediss://USER:PASSWORD@shop.example:6379/0?ssl_ca_certs=/etc/redis-ca.pem&ssl_check_hostname=false

ENDCAP_REDIS_CA is the PEM file of the authorities that sign the server's certificate, or that text itself,
where the URL names no file. What is special in a password is written as percent codes. No message has any
part of the URL but host, port and path.
"""

import os
import ssl
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, SSLConnection, parse_url
from redis.retry import Retry

from feature_repo.settings import SettingsError

CONNECTIONS = 8  # of one process to one store at most; who finds all in use waits as for an answer
SCHEMES = ("redis", "rediss", "unix")
OPTIONS = {"db", "ssl_ca_certs", "ssl_check_hostname"}
CA = "ENDCAP_REDIS_CA"
FORM = "use redis://HOST:6379/0, rediss://:PASSWORD@HOST:6378/0 or unix:///run/redis.sock"
# Idle connections are looked after once a minute: firewalls forget those that say nothing for ten.
KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class TlsConnection(SSLConnection):
    """A connection whose certificates were read once: reading them takes 36 ms, and requests have 50."""

    def __init__(self, *, context: ssl.SSLContext, **more: Any) -> None:
        super().__init__(**more)
        self.context = context

    def _wrap_socket_with_ssl(self, sock: Any) -> ssl.SSLSocket:
        """Shake hands; the socket has its time-out already."""
        return self.context.wrap_socket(sock, server_hostname=self.host)


def checked_url(url: str) -> str:
    """The same URL, or SettingsError for one that is no Redis URL; nothing of it is repeated."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - ValueError where it is no number
    except ValueError:  # from None, for it repeats what it did not understand
        raise SettingsError(f"The Redis URL cannot be read; {FORM}") from None
    if parts.scheme not in SCHEMES:
        raise SettingsError(f"The Redis URL does not begin with redis://, rediss:// or unix://; {FORM}")
    if "@" in parts.path + parts.query or parts.fragment or not named(parts):
        raise SettingsError(
            f"The Redis URL has no host, or a password whose special characters are not written as percent"
            f" codes (/ as %2F, # as %23, ? as %3F, @ as %40); {FORM}"
        )
    if parts.username and not parts.password:
        raise SettingsError("The Redis URL has a user and no password; a password alone is :PASSWORD@HOST")
    unknown = set(parse_qs(parts.query, keep_blank_values=True)) - OPTIONS
    if unknown:
        raise SettingsError(f"The Redis URL has an option that is none of {', '.join(sorted(OPTIONS))}")
    return url


def named(parts: Any) -> bool:
    """Whether a URL names a host and at most a number behind it, or a socket."""
    if parts.scheme == "unix":
        return len(parts.path) > 1
    return bool(parts.hostname) and (parts.path.strip("/") == "" or parts.path.strip("/").isdecimal())


def connected(url: str, *, timeout_s: float, connections: int = CONNECTIONS) -> redis.Redis:
    """A client with a pool of its own; the first call opens a connection.

    Connecting, reading and waiting for a connection take `timeout_s` each at most. What fails as the
    connection is lost, as by a restart, is tried once more; what takes too long once will do so again.
    """
    told = parse_url(checked_url(url))  # type: ignore[no-untyped-call]
    authorities = told.pop("ssl_ca_certs", None) or os.environ.get(CA)
    check_name = told.pop("ssl_check_hostname", True)
    if told.get("connection_class") is SSLConnection:
        told |= {"connection_class": TlsConnection, "context": tls(authorities, check_name)}
    if not url.startswith("unix:"):
        told |= {"socket_keepalive": True, "socket_keepalive_options": keep_alive()}
    pool = BlockingConnectionPool(  # type: ignore[no-untyped-call]
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **told,
    )
    return redis.Redis.from_pool(pool)


def replies(client: redis.Redis, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    """Replies to commands that only read, sent together: a pipeline that does no more than that.

    It takes half of the time of the client's own, which prepares itself for all that may be asked. Raises the
    first error that the server replies with, as that does, and is tried again where that is.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()

    def asked() -> list[Any]:
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        return [reply(connection) for _ in commands]

    try:
        found = connection.retry.call_with_retry(asked, lambda _: connection.disconnect())
    finally:
        pool.release(connection)
    for each in found:
        if isinstance(each, redis.ResponseError):
            raise each
    return list(found)


def reply(connection: Any) -> Any:
    """The next reply on a connection, or the error that it is."""
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def tls(authorities: str | None, check_name: bool) -> ssl.SSLContext:
    """How to check a server: by some authorities alone, by the system's if none are given."""
    try:
        if authorities is None or not authorities.lstrip().startswith("-----BEGIN"):
            context = ssl.create_default_context(cafile=authorities or None)
        else:
            context = ssl.create_default_context(cadata=authorities)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        told = "the text given" if str(authorities).lstrip().startswith("-----") else str(authorities)
        raise SettingsError(
            f"No certificates can be read from {told}; give {CA} or ?ssl_ca_certs= the PEM file of the"
            " authority that signed the server's certificate"
        ) from error
    context.check_hostname = check_name
    return context


def keep_alive() -> dict[int, int]:
    """KEEP_ALIVE as this system numbers it."""
    import socket

    return {getattr(socket, name): n for name, n in KEEP_ALIVE.items() if hasattr(socket, name)}
