"""The bridge in this process: wrong clocks, gaps, a full log, losses and values that wait."""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from archiver.bridge import Bridge
from archiver.config import ArchiverConfig, PvSpec, ServerConfig
from archiver.history.samples import Sample, from_log
from archiver.log import files as segment_files
from archiver.log.files import Position, Segment
from archiver.points.builder import Refused
from archiver.points.catalogue import load
from archiver.status import BridgeState
from labioc_ca.events import Event
from tests.archiver.influx.databases import Influx1
from tests.archiver.test_bridge import NS
from tests.labioc_ca.fake_ca import FakeCaServer, message
from tests.softioc import free_port

EPICS_EPOCH = 631_152_000
DAY = 86_400 * NS


def rows_of(influxd: Influx1, name: str) -> list[dict[str, Any]]:
    return list(influxd.rows(f'SELECT value FROM "{name}" WHERE time > 0 AND time < now() + 1000d', "lab"))


def samples(directory: Path, name: str) -> list[Sample]:
    return list(from_log(directory, load(directory), name, 0, time.time_ns() + 1000 * DAY))


@asynccontextmanager
async def bridging(
    directory: Path,
    server: FakeCaServer,
    tag: str = "monitor",
    clock: Callable[[], float] = time.time,
    **settings: Any,
) -> AsyncIterator[Bridge]:
    """A bridge in this process, on the names of a fake Channel Access server."""
    config = ArchiverConfig("LAB", directory, local_only=True, **settings)
    env = {
        "EPICS_CA_ADDR_LIST": server.address,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_MAX_SEARCH_PERIOD": "1",
        "EPICS_CA_AUTO_ARRAY_BYTES": "NO",
    }
    bridge = Bridge(config, [PvSpec(name, archive=tag) for name in sorted(server.names)], env, clock)
    await bridge.start()
    try:
        yield bridge
    finally:
        await bridge.stop()


async def until(condition: Callable[[], bool], deadline: float = 30.0) -> None:
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def arrived(bridge: Bridge, events: int) -> None:
    await until(lambda: bridge.subscriber.events == events)


def send(server: FakeCaServer, name: str, value: int, stamp: int) -> None:
    """Send a value with a stamp, in Unix nanoseconds."""
    seconds, nanoseconds = divmod(stamp, NS)
    payload = struct.pack(">HHIIi", 0, 0, seconds - EPICS_EPOCH, nanoseconds, value)
    server.send(name, message(1, 19, 1, 1, server.channels[name][2], payload))


async def test_GIVEN_an_ioc_whose_clock_is_wrong_WHEN_it_is_set_right_THEN_only_wrong_stamps_are_missing_and_counted(
    influxd: Influx1, tmp_path: Path
) -> None:
    stamp_of = Refused.STAMP.value
    database = ServerConfig("db", influxd.url, database="lab")
    async with FakeCaServer(["T:WRONG", "T:RIGHT"]) as server:
        async with bridging(tmp_path, server, servers=(database,)) as bridge:
            await arrived(bridge, 2)
            first = bridge.builder.refused[Refused.STAMP]
            now = time.time_ns()
            wrong = (EPICS_EPOCH * NS + 1, EPICS_EPOCH * NS + 100 * DAY, now + 2 * DAY, now + 400 * DAY)
            for number, stamp in enumerate(wrong):
                send(server, "T:WRONG", 100 + number, stamp)
                send(server, "T:RIGHT", 200 + number, now + number)
            for number in range(3):  # the last of them 23 h ahead: a clock that differs is not yet one that is wrong
                send(server, "T:WRONG", 300 + number, now + number * DAY * 23 // 48)
            await arrived(bridge, 2 + 2 * len(wrong) + 3)
            await until(lambda: bridge.snapshot.refused.get(stamp_of) == first + len(wrong))
            states = {state.pv: state.refused for state in bridge.builder.states()}
            assert states["T:WRONG"] - states["T:RIGHT"] == len(wrong)
            assert bridge.snapshot.state is BridgeState.OK
            assert (bridge.snapshot.refused_points, bridge.snapshot.refusing) == (first + len(wrong), True)
            assert f"{first + len(wrong)} events refused: {stamp_of}" in bridge.snapshot.message
        for name, values in (("T:WRONG", [300, 301, 302]), ("T:RIGHT", [200, 201, 202, 203])):
            assert [one.value for one in samples(tmp_path, name) if one.value] == values
            rows = await asyncio.to_thread(rows_of, influxd, name)
            assert [row["value"] for row in rows if row["value"]] == values
        assert [one.connected for one in samples(tmp_path, name) if one.connected is not None] == [True]


async def test_GIVEN_a_pv_WHEN_it_goes_and_comes_back_while_its_server_runs_THEN_the_gap_is_no_silence(
    tmp_path: Path,
) -> None:
    async with FakeCaServer(["T:A", "T:B"]) as server, bridging(tmp_path, server) as bridge:
        await arrived(bridge, 2)
        server.names.discard("T:A")
        server.destroy("T:A")
        await until(lambda: bridge.subscriber.connected == 1)
        send(server, "T:B", 7, time.time_ns())
        server.names.add("T:A")
        await until(lambda: bridge.subscriber.connected == 2 and bridge.subscriber.events == 4)
        bridge.log.flush()
        changes = {
            name: [one.connected for one in samples(tmp_path, name) if one.connected is not None]
            for name in ("T:A", "T:B")
        }
        assert changes == {"T:A": [True, False, True], "T:B": [True]}


async def test_GIVEN_a_small_log_and_no_database_WHEN_it_is_full_THEN_the_oldest_events_go_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = ServerConfig("db", f"http://127.0.0.1:{free_port()}", database="lab")
    total, together = 20_000, 500
    async with (
        FakeCaServer(["T:A"]) as server,
        bridging(tmp_path, server, servers=(nowhere,), max_bytes=300_000) as bridge,
    ):
        await arrived(bridge, 1)
        began = time.time_ns()
        for start in range(1, total + 1, together):
            for number in range(start, start + together):
                send(server, "T:A", number, began + number)
            await arrived(bridge, start + together)
            bridge.log.flush()
        # Start of the bridge, its event, that of the loss, connection and the value at the beginning are points too.
        await until(lambda: bridge.snapshot.lost + bridge.snapshot.queue == total + 5)
        assert bridge.snapshot.state is BridgeState.LOSING
        assert bridge.snapshot.spool < 400_000
        kept = [int(one.value) for one in samples(tmp_path, "T:A") if one.value is not None]
        assert kept == list(range(total - len(kept) + 1, total + 1))
        assert bridge.snapshot.queue - len(kept) in (0, 1)  # the event of the loss may be among them
        monkeypatch.setattr("archiver.bridge._LOSING_SECONDS", 0.0)
        await until(lambda: bridge.snapshot.state is BridgeState.SPOOLING)


async def test_GIVEN_much_that_waits_WHEN_the_bridge_is_started_again_THEN_it_archives_while_that_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.log.reader.COUNTED_AT_ONCE", 0)
    go_on = threading.Event()
    count = segment_files.points_behind

    def slow(segment: Segment, position: Position) -> int:
        go_on.wait(30)
        return count(segment, position)

    nowhere = ServerConfig("db", f"http://127.0.0.1:{free_port()}", database="lab")
    async with FakeCaServer(["T:A"]) as server:
        async with bridging(tmp_path, server, servers=(nowhere,)) as bridge:
            await arrived(bridge, 1)
        monkeypatch.setattr("archiver.log.reader.points_behind", slow)
        async with bridging(tmp_path, server, servers=(nowhere,)) as bridge:
            await until(lambda: bridge.snapshot.queue == 4)  # start, its event, connection and value of this run
            go_on.set()
            await until(lambda: bridge.snapshot.queue == 4 + 5)


async def test_GIVEN_an_event_that_is_too_large_WHEN_it_is_left_out_THEN_it_counts_as_refused(tmp_path: Path) -> None:
    async with FakeCaServer(["T:A"]) as server, bridging(tmp_path, server) as bridge:
        await arrived(bridge, 1)
        head = struct.pack(">HHHHIIII", 1, 0xFFFF, 19, 0, 1, server.channels["T:A"][2], 1_000_000, 1)
        server.send("T:A", head + bytes(1_000_000))
        await until(lambda: bridge.snapshot.refused.get("array larger than EPICS_CA_MAX_ARRAY_BYTES") == 1)


async def test_GIVEN_a_bridge_that_is_too_slow_WHEN_events_come_meanwhile_THEN_each_that_was_sent_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = 20_000
    begin = time.time_ns() - NS
    async with FakeCaServer(["T:A"]) as server:
        async with bridging(tmp_path, server) as bridge:
            await arrived(bridge, 1)
            build = bridge.builder.build

            def slow(events: list[Event]) -> tuple[bytes, int]:
                time.sleep(0.02)  # the loop does nothing else meanwhile, as on a computer with too much other work
                return build(events)

            monkeypatch.setattr(bridge.builder, "build", slow)
            for number in range(1, total + 1):
                send(server, "T:A", number, begin + number)
            bridge.subscriber.pause(True)
            await until(lambda: bridge.log.waiting == 0)
            bridge.subscriber.pause(False)
            await arrived(bridge, 1 + total)
            assert (bridge.snapshot.lost, bridge.snapshot.refused_points) == (0, 0)
        values = [one.value for one in samples(tmp_path, "T:A") if one.value]
        assert values == list(range(1, total + 1))


@pytest.mark.parametrize("method", ["tick", "due"])
async def test_GIVEN_points_that_cannot_be_made_WHEN_they_are_due_THEN_the_state_is_losing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(_: object) -> tuple[bytes, int]:
        raise ArithmeticError("a mistake of ours")

    async with FakeCaServer(["T:A"]) as server, bridging(tmp_path, server) as bridge:
        await arrived(bridge, 1)
        assert bridge.snapshot.state is BridgeState.OK
        with monkeypatch.context() as patched:
            patched.setattr(bridge.builder, method, fail)
            await until(lambda: bridge.snapshot.state is BridgeState.LOSING)


async def test_GIVEN_no_ioc_WHEN_the_search_has_had_its_time_THEN_the_bridge_reports_that_it_archives_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = [time.time()]
    async with FakeCaServer(["T:A"]) as server:
        pass  # its names and its address stay
    async with bridging(tmp_path, server, clock=lambda: wall[0]) as bridge:
        await until(lambda: bridge.snapshot.pvs == 1)
        assert not bridge.snapshot.cut_off
        wall[0] += 31.0
        await until(lambda: bridge.snapshot.cut_off)
        assert bridge.snapshot.message == "none of 1 PVs is connected"


async def test_GIVEN_a_loss_WHEN_the_clock_is_set_back_THEN_it_is_not_shown_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.bridge._LOSING_SECONDS", 1.0)
    wall = [time.time()]
    async with FakeCaServer(["T:A"]) as server, bridging(tmp_path, server, clock=lambda: wall[0]) as bridge:
        bridge.log.lost += 1
        await until(lambda: bridge.snapshot.state is BridgeState.LOSING)
        wall[0] -= 365 * 86_400
        await until(lambda: bridge.snapshot.state is BridgeState.OK)


async def test_GIVEN_a_minimum_interval_WHEN_the_bridge_stops_THEN_the_value_that_waited_is_in_the_log(
    tmp_path: Path,
) -> None:
    async with FakeCaServer(["T:A"]) as server:
        async with bridging(tmp_path, server, tag="monitor min 1000") as bridge:
            await arrived(bridge, 1)
            now = time.time_ns()
            for number in (1, 2, 3):
                send(server, "T:A", number, now + number)
            await arrived(bridge, 4)
        assert [(one.value, one.time) for one in samples(tmp_path, "T:A") if one.value] == [(1, now + 1), (3, now + 3)]


async def test_GIVEN_a_heartbeat_WHEN_a_pv_of_another_ioc_is_silent_THEN_its_value_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.points.builder.ON_THE_WAY_NS", 0)
    async with (
        FakeCaServer(["T:A", "T:B"]) as server,
        bridging(tmp_path, server, tag="monitor 1 heartbeat 1") as bridge,
    ):
        await arrived(bridge, 2)
        now = time.time_ns()
        send(server, "T:A", 5, now)
        states = {state.pv: state for state in bridge.builder.states()}
        await arrived(bridge, 3)
        while next(state.points for state in bridge.builder.states() if state.pv == "T:A") < states["T:A"].points + 3:
            send(server, "T:B", 1, time.time_ns())  # the server lives
            await asyncio.sleep(0.05)
        bridge.log.flush()
        seen = [(one.value, one.time - now) for one in samples(tmp_path, "T:A") if one.value]
        assert [what for what, _ in seen] == [5, 5, 5]
        assert all(second - first >= NS for (_, first), (_, second) in itertools.pairwise(seen))
