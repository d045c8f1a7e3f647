"""The server's own statistics."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import resource
import socket
import time

import pytest

from ioc.database.support import SERVER_SIGNALS
from ioc.records import PutRefused
from ioc.services.journal import MOST_PUTS, PUTS_BYTES
from ioc.services.statistics import IocStatistics, ProcessMeter, Usage, about
from ioc.site.config import parse_site
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
    "TOD": "stringin",
    "ENGINEER": "stringin",
    "LOCATION": "stringin",
    "EPICS_VERS": "stringin",
    "ACCESS": "mbbo",
    "CA_CLNT_CNT": "longin",
    "CA_CONN_CNT": "longin",
    "SYS_CPU_LOAD": "ai",
    "IOC_CPU_LOAD": "ai",
    "FD_CNT": "longin",
    "FD_MAX": "longin",
}
RECORDS = build(definition(signal.replace(".", ":"), rtyp, f"IOC {signal}") for signal, rtyp in TYPES.items())
DEVICE = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}
SITE = {"site": {"prefix": "LAB", "engineer": "Anna Weber, ext. 2345"}, "device": [DEVICE]}
ABOUT = about(parse_site(SITE))


async def test_GIVEN_a_running_server_WHEN_time_passes_THEN_it_beats_once_a_second() -> None:
    clock = FakeClock()
    statistics = IocStatistics(RECORDS.values(), clock, ABOUT)
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
    statistics = IocStatistics(RECORDS.values(), FakeClock(), ABOUT)
    statistics.post()
    assert RECORDS["HOSTNAME"].val == socket.gethostname()[:39]
    assert RECORDS["PROCESS_ID"].val == os.getpid()
    assert RECORDS["VERSION"].val == release()
    assert RECORDS["CFG:ID"].val == parse_site(SITE).identity
    assert RECORDS["ENGINEER"].val == "Anna Weber, ext. 2345"
    assert RECORDS["LOCATION"].val == "<not available>"
    assert str(RECORDS["EPICS_VERS"].val).startswith("labioc, caproto 1.")
    assert str(RECORDS["TOD"].val).startswith("2023-11-1")
    assert str(RECORDS["STARTTOD"].val).startswith("2023-11-1")
    assert alarm(RECORDS["ARMED"]) == ("NO_ALARM", 0)
    assert 1 < float(str(RECORDS["MEM_USED"].val)) < 4000
    assert int(str(RECORDS["FD_MAX"].val)) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize(
    ("pause", "expected"),
    [(0.2, ("NO_ALARM", 0)), (0.4, ("HIGH", 1)), (1.5, ("HIHI", 2))],
)
async def test_GIVEN_something_that_blocks_WHEN_the_second_is_over_THEN_LAG_shows_it(
    pause: float, expected: tuple[str, int]
) -> None:
    clock = FakeClock()
    statistics = IocStatistics(RECORDS.values(), clock, ABOUT)
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
    statistics = IocStatistics(records.values(), clock, ABOUT)
    clock.now += 90.5
    statistics.post()
    assert records["UPTIME"].val == 90.0


def test_GIVEN_clients_WHEN_they_come_and_go_THEN_they_and_their_channels_are_counted() -> None:
    found = (0, 0)
    statistics = IocStatistics(RECORDS.values(), FakeClock(), ABOUT, clients=lambda: found)
    for found in ((0, 0), (3, 1200), (1, 5)):
        statistics.post()
        assert (RECORDS["CA_CLNT_CNT"].val, RECORDS["CA_CONN_CNT"].val) == found


async def test_GIVEN_few_descriptors_left_WHEN_ten_seconds_are_over_THEN_FD_CNT_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = Usage(computer_load=55.5, own_load=12.25, memory=80.0, descriptors=100, most_descriptors=1024)
    monkeypatch.setattr(ProcessMeter, "look", lambda _: used)
    clock = FakeClock()
    statistics = IocStatistics(RECORDS.values(), clock, ABOUT)
    task = asyncio.create_task(statistics.run())
    await clock.advance(1.5)
    assert RECORDS["FD_CNT"].val == 100
    assert alarm(RECORDS["FD_CNT"]) == ("NO_ALARM", 0)
    assert (RECORDS["SYS_CPU_LOAD"].val, RECORDS["IOC_CPU_LOAD"].val) == (55.5, 12.25)
    used = dataclasses.replace(used, descriptors=950)
    await clock.advance(5.0)
    assert RECORDS["FD_CNT"].val == 100  # counting takes time, with many of them
    await clock.advance(5.0)
    assert RECORDS["FD_CNT"].val == 950
    assert alarm(RECORDS["FD_CNT"]) == ("HIGH", 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_GIVEN_a_busy_process_WHEN_it_is_looked_at_THEN_its_load_is_a_share_of_all_processors() -> None:
    meter = ProcessMeter()
    meter.look()
    begun = time.process_time()
    while time.process_time() - begun < 0.3:
        pass
    usage = meter.look()
    assert 1 < usage.own_load <= 100
    assert usage.own_load - 15 < usage.computer_load <= 100
    with open(os.devnull, "rb"), open(os.devnull, "rb"):
        assert meter.look().descriptors >= usage.descriptors + 2


@pytest.mark.parametrize(("value", "expected"), [(0, "NO_ALARM"), (1, "STATE"), (3, "STATE")])
def test_ACCESS_is_a_note_of_the_experts(value: int, expected: str) -> None:
    statistics = IocStatistics(RECORDS.values(), FakeClock(), ABOUT)
    statistics.put("ACCESS", value)
    assert RECORDS["ACCESS"].val == value
    assert alarm(RECORDS["ACCESS"])[0] == expected
    assert statistics.armed
    IocStatistics(RECORDS.values(), FakeClock(), ABOUT).post("ACCESS")
    assert RECORDS["ACCESS"].val == value, "the record keeps it over a restart"
    with pytest.raises(PutRefused, match="HEARTBEAT can't be set"):
        statistics.put("HEARTBEAT", 1)


def test_the_last_puts_are_shown_in_whole_lines_the_newest_first() -> None:
    clock = FakeClock()
    records = build([definition("LAB:IOC:PUTS", "lsi", "IOC PUTS", SIZV=str(PUTS_BYTES))])
    statistics = IocStatistics(records.values(), clock, {})
    shown = records["LAB:IOC:PUTS"]
    for number in range(MOST_PUTS + 4):
        clock.now += 0.25
        statistics.note_put(f"anna@desk1 (127.0.0.1) LAB:HV1:CH00:VSET {number} -> {number + 1}")
    lines = str(shown.val).split("\n")
    assert len(lines) == MOST_PUTS
    assert lines[0].endswith(f"VSET {MOST_PUTS + 3} -> {MOST_PUTS + 4}")
    assert lines[1].endswith(f"VSET {MOST_PUTS + 2} -> {MOST_PUTS + 3}")
    assert [line[19:23] for line in lines[:2]] == [".000", ".750"]
    for _ in range(MOST_PUTS):
        statistics.note_put("é" * 400)
    lines = str(shown.val).split("\n")
    assert len(lines) == 2
    assert all(line.endswith("é" * 400) for line in lines)
