"""The server's own statistics."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from ioc.database.support import SERVER_SIGNALS
from ioc.services.statistics import IocStatistics, memory_used
from ioc.version import release
from tests.ioc.fakes import FakeClock, alarm, build, definition, settle

TYPES = {
    "HEARTBEAT": "longin",
    "UPTIME": "stringin",
    "STARTTOD": "stringin",
    "HOSTNAME": "stringin",
    "PROCESS_ID": "longin",
    "MEM_USED": "ai",
    "VERSION": "stringin",
    "CFG.ID": "stringin",
    "LAG": "ai",
    "ARMED": "bo",
    "PUTS": "lsi",
}
RECORDS = build(definition(signal.replace(".", ":"), rtyp, f"IOC {signal}") for signal, rtyp in TYPES.items())


async def test_GIVEN_a_running_server_WHEN_time_passes_THEN_it_beats_once_a_second() -> None:
    clock = FakeClock()
    statistics = IocStatistics(RECORDS.values(), clock, "0123456789ab")
    task = asyncio.create_task(statistics.run())
    await settle()
    assert set(TYPES) == SERVER_SIGNALS
    assert RECORDS["HEARTBEAT"].val == 0
    assert all(not record.udf for record in RECORDS.values())
    for beat in range(1, 5):
        await clock.advance(1.0)
        assert RECORDS["HEARTBEAT"].val == beat
    assert alarm(RECORDS["LAG"]) == ("NO_ALARM", 0)
    clock.now += 93783.0
    await clock.advance(1.0)
    assert RECORDS["UPTIME"].val == "1 days, 2:03:08"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_what_does_not_change() -> None:
    statistics = IocStatistics(RECORDS.values(), FakeClock(), "0123456789ab")
    statistics.post()
    assert RECORDS["HOSTNAME"].val == socket.gethostname()[:39]
    assert RECORDS["PROCESS_ID"].val == os.getpid()
    assert RECORDS["VERSION"].val == release()
    assert RECORDS["CFG:ID"].val == "0123456789ab"
    assert str(RECORDS["STARTTOD"].val).startswith("2023-11-1")
    assert alarm(RECORDS["ARMED"]) == ("NO_ALARM", 0)
    assert 1 < memory_used() < 4000


@pytest.mark.parametrize(
    ("pause", "expected"),
    [(0.2, ("NO_ALARM", 0)), (0.4, ("HIGH", 1)), (1.5, ("HIHI", 2))],
)
async def test_GIVEN_something_that_blocks_WHEN_the_second_is_over_THEN_LAG_shows_it(
    pause: float, expected: tuple[str, int]
) -> None:
    clock = FakeClock()
    statistics = IocStatistics(RECORDS.values(), clock, "")
    task = asyncio.create_task(statistics.run())
    await clock.advance(0.11)
    clock.now += pause
    await clock.advance(max(0.0, 0.9 - pause))
    assert RECORDS["LAG"].val == pytest.approx(pause * 1e3, abs=51)
    assert alarm(RECORDS["LAG"]) == expected
    await clock.advance(2.0)
    assert RECORDS["LAG"].val == pytest.approx(0, abs=1)
    assert RECORDS["HEARTBEAT"].val == int(clock.now - 100 + 1e-6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_numeric_UPTIME_counts_seconds() -> None:
    records = build([definition("UPTIME", "ai", "IOC UPTIME")])
    clock = FakeClock()
    statistics = IocStatistics(records.values(), clock, "")
    clock.now += 90.5
    statistics.post()
    assert records["UPTIME"].val == 90.0
