"""The C softIoc (the oracle) and the server compared with it, with the same records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.labioc_server import start_labioc
from tests.libca import Context
from tests.parity.link_scenarios import SCENARIOS
from tests.softioc import ServerProcess, start_softioc

# Each scenario has its own set of records, so that none sees what another did.
_DB = Path(__file__).with_name("types.db")
_PREFIXES = ("FIELDS", *(f"VALUES{put_type}" for put_type in range(7)), *(name.upper() for name in SCENARIOS))
DATABASES = [(_DB, {"P": f"{prefix}:"}) for prefix in _PREFIXES]


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """The server compared with the oracle, by name."""
    start = start_softioc if request.param == "softioc" else start_labioc
    try:
        server = start(DATABASES)
    except (RuntimeError, TimeoutError) as error:
        unavailable(f"{request.param} does not start: {error}")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def oracle(candidate: ServerProcess) -> Iterator[ServerProcess]:
    """The C softIoc, a fresh one for each server that is compared with it."""
    server = start_softioc(DATABASES)
    yield server
    server.stop()


@pytest.fixture
def clients(oracle: ServerProcess, candidate: ServerProcess) -> Iterator[tuple[Context, Context]]:
    """A client of the oracle and one of the server under test."""
    with Context(oracle.address) as first, Context(candidate.address) as second:
        yield first, second


@pytest.fixture
def candidate_name(candidate: ServerProcess) -> str:
    """Name of the server under test, for messages."""
    return candidate.name
