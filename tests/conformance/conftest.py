"""Both servers, with the same records; what is expected of either is what the C softIoc does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.labioc_server import start_labioc
from tests.libca import Context
from tests.softioc import ServerProcess, start_softioc

_HERE = Path(__file__).parent
MANY = 400
DATABASES = [
    (_HERE / "records.db", {}),
    *((_HERE / "many.db", {"N": f"{number:03d}"}) for number in range(MANY)),
]

STARTERS: dict[str, Callable[..., ServerProcess]] = {"softioc": start_softioc, "labioc": start_labioc}


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server, fresh for each module."""
    try:
        running = STARTERS[request.param](DATABASES)
    except (RuntimeError, TimeoutError) as error:
        unavailable(f"{request.param} does not start: {error}")
    yield running
    running.stop()


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Context]:
    """A libca client; the server must still serve a new one when the test is over."""
    with Context(server.address) as context:
        yield context
    assert server.running(), server.output
    with Context(server.address) as context:
        context.channel("T:LO").get()


@pytest.fixture
def second_client(server: ServerProcess) -> Iterator[Context]:
    """Another libca client with circuits of its own."""
    with Context(server.address) as context:
        yield context
