"""One client asks for far more than its share; a second, honest one is served meanwhile, and memory stays bounded."""

from __future__ import annotations

import itertools
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.labioc_server import start_labioc
from tests.raw_ca import (
    CREATE_CHAN,
    EVENT_ADD,
    READ_NOTIFY,
    SEARCH,
    WRITE,
    Message,
    RawCircuit,
    event_mask,
    pack,
)
from tests.softioc import ServerProcess

RECORDS = Path(__file__).parent / "records.db"
DBR_DOUBLE = 6
FLOOD = 10_000
"""Requests in one write."""
MOST_KB = 20_000
"""Memory that one client may cost."""


@pytest.fixture(scope="module")
def flooded() -> Iterator[ServerProcess]:
    """A server of labioc's alone: the C softIoc serves each client in a thread."""
    server = start_labioc([(RECORDS, {})])
    yield server
    server.stop()


def memory_kb(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def monitors(sid: int, number: int) -> list[Message]:
    return [Message(EVENT_ADD, DBR_DOUBLE, 1, sid, subid, event_mask(1)) for subid in range(number)]


def puts(sid: int) -> Iterator[bytes]:
    for number in itertools.count():
        yield pack(Message(WRITE, DBR_DOUBLE, 1, sid, number, struct.pack(">d", number)))


def gets(sid: int) -> Iterator[bytes]:
    for number in itertools.count():
        yield pack(Message(READ_NOTIFY, 34, 1, sid, number))


def subscriptions(sid: int) -> Iterator[bytes]:
    for number in itertools.count():
        yield pack(Message(EVENT_ADD, 34, 1, sid, number, event_mask(7)))


def creations(_: int) -> Iterator[bytes]:
    for number in itertools.count():
        yield pack(Message(CREATE_CHAN, 0, 0, number, 13, b"T:AI\0"))


def searches(_: int) -> Iterator[bytes]:
    for number in itertools.count():
        yield pack(Message(SEARCH, 10, 13, number, number, b"T:AI\0"))


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not-reading"])
@pytest.mark.parametrize(
    ("requests", "watched"),
    [(puts, 200), (gets, 0), (subscriptions, 0), (creations, 0), (searches, 0)],
    ids=["puts", "gets", "monitors", "channels", "searches"],
)
def test_GIVEN_a_client_that_floods_WHEN_another_asks_THEN_it_is_answered_first_and_memory_is_bounded(
    flooded: ServerProcess, requests: Callable[[int], Iterator[bytes]], watched: int, reads: bool
) -> None:
    with RawCircuit(flooded.port) as bad, RawCircuit(flooded.port) as good:
        bad.channel("T:AI.HIGH")
        good.channel("T:AI.HIGH")
        bad.ask(*monitors(bad.sids["T:AI.HIGH"], watched))
        before = memory_kb(flooded)
        flood = b"".join(itertools.islice(requests(bad.sids["T:AI.HIGH"]), FLOOD))
        sender = threading.Thread(target=_send, args=(bad, flood))
        sender.start()
        reader = threading.Thread(target=_drain, args=(bad,))
        if reads:
            reader.start()
        peak, highs = before, []
        for number in range(100):  # each of them waits for its answer: all come long before the flood is served
            answers = good.ask(Message(READ_NOTIFY, DBR_DOUBLE, 1, good.sids["T:AI.HIGH"], number))
            assert [one.parameter2 for one in answers] == [number]
            highs.append(struct.unpack(">d", answers[0].payload)[0])
            peak = max(peak, memory_kb(flooded))
        assert peak - before < MOST_KB
        if requests is puts:
            # The slices of the flood lie between the gets: some of them see it half served.
            assert any(0 < high < FLOOD - 1 for high in highs)
        bad.hang_up()
        sender.join(10)
        if reads:
            reader.join(10)


def _send(circuit: RawCircuit, data: bytes) -> None:
    try:
        circuit.send(data)
    except OSError:
        return  # the test has ended meanwhile


def _drain(circuit: RawCircuit) -> None:
    try:
        circuit.until(lambda one: False, 60.0)
    except (EOFError, OSError):
        return
