"""A server for the tests of fetching."""

from collections.abc import Iterator
from threading import Thread

import pytest
from file_server import ZIP, Server

from casvit_dense.data import download


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves the archive; nobody waits for it."""
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0))
    with Server(ZIP) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
