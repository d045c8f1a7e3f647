"""The client of the commands: what it reads, puts, monitors, and what it does when a server goes away."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ioc.access import Policy
from ioc.client import Client, PutError, ReadError, Reading, reason_of
from ioc.client.reading import Meta, duration
from ioc.records import RecordSet
from ioc.server import Server
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, record, running
from tests.ioc.fakes import definition
from tests.labioc_ca.fake_ca import FakeCaServer
from tests.softioc import free_port, start_softioc

PATIENCE = 5.0


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Client]:
    async with Client({"EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}) as client:
        yield client


async def test_GIVEN_a_site_WHEN_read_THEN_value_unit_limits_states_and_alarm_are_there() -> None:
    async with running(DEVICE | {"channel": {"0": {"alias": "CALO:PMT07"}}}) as app, client_of(app.search_port) as ca:
        names = ["LAB:HV1:CH00:VSET", "CALO:PMT07:STATE", "LAB:HV1:CH00:VMON.EGU", "LAB:HV1:BD:NAME$", "LAB:NIX"]
        channels = await ca.connect(names, 1.0)
        assert [channel.connected for channel in channels] == [True, True, True, True, False]
        vset, state, egu, model = [await channel.read(PATIENCE) for channel in channels[:4]]
        assert (vset.value, vset.text, vset.quantity, vset.alarm) == (0.0, "0.0", "0.0 V", "")
        assert vset.meta.limits["control"] == (0.0, 4000.0)
        assert (state.text, state.value, state.meta.states[:2]) == ("OFF", 0, ("OFF", "ON"))
        assert (egu.text, model.text) == ("V", "DT5533E")
        with pytest.raises(ReadError, match="not connected"):
            await channels[4].read(PATIENCE)
        record(app, "CH00:VMON").post(1.0, 1.7e9, 3, 9)
        (vmon,) = await ca.connect(["LAB:HV1:CH00:VMON"], PATIENCE)
        assert (await vmon.read(PATIENCE)).alarm == "INVALID COMM"


async def test_GIVEN_puts_WHEN_done_or_refused_THEN_completion_says_so_and_the_device_says_why() -> None:
    async with running() as app, client_of(app.search_port) as ca:
        vset, desc, lag = await ca.connect(["LAB:HV1:CH00:VSET", "LAB:HV1:CH00:VMON.DESC$", "LAB:IOC:LAG"], PATIENCE)
        await vset.put("40", PATIENCE)
        assert record(app, "CH00:VSET").val == record(app, "CH00:VSET:RBV").val == 40.0
        await vset.put(41, PATIENCE)
        assert record(app, "CH00:VSET").val == 41.0
        text = "the anode of the calorimeter, upper half"
        await desc.put(text, PATIENCE)
        assert record(app, "CH00:VMON").get("DESC") == text
        with pytest.raises(PutError, match=r"\d+ characters are more than") as error:
            await vset.put("1" * 40, PATIENCE)
        with pytest.raises(PutError, match="write") as error:
            await vset.put("5000", PATIENCE)
        assert not error.value.unknown
        assert await reason_of(ca, vset, PATIENCE) == "VSET 5000 V is above 4000 V (device VMAX)"
        with pytest.raises(PutError):
            await lag.put("1", PATIENCE)
        assert await reason_of(ca, lag, PATIENCE) is None
        ca.user = "somebody-else"
        assert await reason_of(ca, vset, PATIENCE) is None  # the message is about the put of another
        vset.send_put("42")
        await until(lambda: record(app, "CH00:VSET").val == 42.0, PATIENCE)


async def test_GIVEN_a_monitor_WHEN_the_server_ends_and_comes_back_THEN_it_reports_both_and_goes_on() -> None:
    seen: list[str] = []
    records = RecordSet.build([definition("T:A", "ao", EGU="V", VAL="7", PINI="YES")])
    records.start()
    port = free_port()

    def server() -> Server:
        return Server(records, Policy(), interfaces=["127.0.0.1"], port=port)

    first, second = server(), server()
    await first.start()
    async with client_of(port) as ca:
        for channel in ca.channels(["T:A"]):
            channel.monitor(lambda _, reading: seen.append("lost" if reading is None else reading.quantity))
        await until(lambda: seen == ["7 V"], PATIENCE)
        records["T:A"].post(8.0, 1.7e9)
        await until(lambda: seen == ["7 V", "8 V"], PATIENCE)
        await first.stop()
        await until(lambda: seen == ["7 V", "8 V", "lost"], PATIENCE)
        await second.start()
        await until(lambda: seen[3:] == ["8 V"], PATIENCE)
    await second.stop()


async def test_GIVEN_a_server_that_goes_again_and_again_WHEN_a_pv_is_lost_THEN_it_is_searched_half_a_second_later() -> (
    None
):
    server = FakeCaServer(["A"])
    async with server, client_of(server.port) as ca:
        (channel,) = await ca.connect(["A"], PATIENCE)
        pauses: list[float] = []

        def want(names: Iterable[tuple[int, str]], pause: float = 0.0) -> None:
            assert list(names) == [(channel.number, "A")]
            pauses.append(pause)

        ca._searcher.want = want  # type: ignore[method-assign]
        for number in range(1, 8):
            server.drop()
            await until(lambda: len(pauses) == number, PATIENCE)  # noqa: B023 - it is awaited here
            ca._found(channel.number, ("127.0.0.1", server.port))
            await asyncio.wait_for(channel.connection, PATIENCE)
        assert pauses == [0.5] * 7


@pytest.mark.parametrize(
    ("status", "errors", "reason"),
    [(4242, False, "ECA status 4242"), (4243, False, "ECA status 4243"), (4242, True, "ECA status 4242"),
     (1, True, "ECA status 1"), (376, False, "Write access denied"), (376, True, "Write access denied")],
)  # fmt: skip
async def test_GIVEN_any_status_that_is_not_normal_WHEN_read_or_put_THEN_it_is_refused_with_a_reason(
    status: int, errors: bool, reason: str
) -> None:
    server = FakeCaServer(["A"])
    async with server, client_of(server.port) as ca:
        (channel,) = await ca.connect(["A"], PATIENCE)
        server.status, server.answers_with_errors = status, errors
        with pytest.raises(ReadError, match=reason):
            await channel.read(PATIENCE)
        with pytest.raises(PutError, match=reason) as error:
            await channel.put(1, PATIENCE)
        assert error.value.answered
        assert not error.value.unknown
        server.status, server.answers_with_errors = 1, False
        assert (await channel.read(PATIENCE)).value == 0
        assert server.accepted == 1


async def test_GIVEN_a_monitor_WHEN_the_server_sends_an_unknown_status_THEN_the_next_events_are_shown() -> None:
    server = FakeCaServer(["A"])
    server.status = 4242  # of the description too
    seen: list[Reading | None] = []
    async with server, client_of(server.port) as ca:
        (channel,) = await ca.connect(["A"], PATIENCE)
        channel.monitor(lambda _, reading: seen.append(reading))
        await until(lambda: server.received[1] == 1, PATIENCE)  # the first event has that status
        server.event("A", 7)
        server.status = 1
        server.event("A", 8)
        await until(lambda: bool(seen), PATIENCE)
        assert [reading and reading.value for reading in seen] == [8]
        assert server.accepted == 1


class DeadlyServer(asyncio.Protocol):
    """Takes a channel, and breaks the connection when something is put to it; ``puts`` counts the requests."""

    def __init__(self) -> None:
        self.puts = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(struct.pack(">HHHHII", 0, 0, 0, 13, 0, 0))  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        while data:
            command, size, _, _, cid, _ = struct.unpack_from(">HHHHII", data)
            data = data[16 + size :]
            if command == 18:
                self.transport.write(  # type: ignore[attr-defined]
                    struct.pack(">HHHHII", 22, 0, 0, 0, cid, 3) + struct.pack(">HHHHII", 18, 0, 6, 1, cid, 1)
                )
            elif command == 19:
                self.puts += 1
                self.transport.abort()  # type: ignore[attr-defined]


async def test_GIVEN_a_connection_that_breaks_WHEN_a_put_is_under_way_THEN_it_is_unknown_and_not_sent_again() -> None:
    loop = asyncio.get_running_loop()
    deadly = DeadlyServer()
    server = await loop.create_server(lambda: deadly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with client_of(port) as ca:
        (channel,) = ca.channels(["X"])
        ca._found(channel.number, ("127.0.0.1", port))
        await asyncio.wait_for(channel.connection, PATIENCE)
        with pytest.raises(PutError, match="was lost; the outcome is unknown") as error:
            await channel.put(1, PATIENCE)
        assert error.value.unknown
        ca._found(channel.number, ("127.0.0.1", port))
        await asyncio.wait_for(channel.connection, PATIENCE)
        assert deadly.puts == 1
    server.close()
    await server.wait_closed()


async def test_GIVEN_the_softioc_WHEN_all_kinds_of_PVs_are_read_and_put_THEN_they_are_as_it_has_them(
    tmp_path: Path,
) -> None:
    database = tmp_path / "kinds.db"
    database.write_text(
        'record(ao, "T:A") { field(VAL, "1.5") field(PREC, "2") field(EGU, "mm") field(HIGH, "2") field(HSV, "MINOR") '
        'field(PINI, "YES") field(DRVH, "9") field(DRVL, "-9") }\n'
        'record(mbbo, "T:M") { field(ZRST, "zero") field(ONST, "one") field(VAL, "1") field(PINI, "YES") }\n'
        'record(waveform, "T:W") { field(FTVL, "DOUBLE") field(NELM, "5") }\n'
        'record(stringout, "T:S") { field(VAL, "text") field(PINI, "YES") }\n'
        'record(longout, "T:L") { }\n'
    )
    server = await asyncio.to_thread(start_softioc, [(database, {})])
    try:
        async with client_of(server.port) as ca:
            a, m, w, s, undefined = await ca.connect(["T:A", "T:M", "T:W", "T:S", "T:L"], PATIENCE)
            assert (await a.read(PATIENCE)).quantity == "1.50 mm"
            await a.put("3", PATIENCE)
            reading = await a.read(PATIENCE)
            assert (reading.value, reading.alarm, reading.meta.limits["control"]) == (3.0, "MINOR HIGH", (-9.0, 9.0))
            await m.put("zero", PATIENCE)
            assert (await m.read(PATIENCE)).text == "zero"
            assert (await w.read(PATIENCE)).text == ""
            await w.put(("1", "2.5"), PATIENCE)
            assert (await w.read(PATIENCE)).value == (1.0, 2.5)
            assert (await s.read(PATIENCE)).text == "text"
            never = await undefined.read(PATIENCE)
            assert (never.stamp, never.alarm, never.age(0.0)) == (0.0, "INVALID UDF", "never read")
            with pytest.raises(PutError):
                await m.put("two", PATIENCE)
            assert await reason_of(ca, m, PATIENCE) is None
    finally:
        await asyncio.to_thread(server.stop)


def test_a_reading_is_shown_with_the_digits_of_its_record() -> None:
    assert Reading(0.4, 1.0, 0, 0).text == "0.4"
    assert Reading(0.456, 1.0, 0, 0, Meta("V", 1)).quantity == "0.5 V"
    assert Reading(2, 1.0, 0, 0, Meta(states=("A", "B", ""))).text == "2"
    assert Reading((1.0, 2.0), 1.0, 0, 0).text == "1 2"
    assert Reading(math.nan, 0.0, 3, 17).as_json() == {
        "value": None, "text": "nan", "units": "", "severity": "INVALID", "status": "UDF", "time": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (90, "90.0 s"), (600, "10.0 min"), (9000, "2.5 h"), (4e5, "4.6 d"), (-5, "-5.0 s")],
)
def test_a_time_span_is_shown_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text
