"""Inputs of rules: records of this server by an injected clock, PVs of another server over Channel Access."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from ioc.database.dbfile import RecordDef
from ioc.inputs import SILENT_SECONDS, Input, Inputs
from ioc.records import RecordSet, alarm_status
from ioc.records.status import INVALID, MAJOR
from ioc.server import Server
from tests.ioc.fakes import EPOCH, FakeClock, definition

TEMP = replace(definition("LAB:FURN1:TEMP", "ai", "FURN1 TEMP", SCAN="1 second", EGU="C"), aliases=("CALO:OVEN:TEMP",))
VALVE = definition("GAS:VALVE", "bi", ZNAM="SHUT", ONAM="OPEN")


class Looked:
    """One input and the number of its updates."""

    def __init__(self, name: str, *definitions: RecordDef) -> None:
        self.clock = FakeClock()
        self.records = RecordSet.build(definitions, self.clock.time)
        self.inputs = Inputs(self.records, self.clock, "LAB", env={})
        self.updates = 0
        self.input = self.inputs.add(name, self.note)

    def note(self) -> None:
        self.updates += 1

    def post(self, value: float, severity: int = 0) -> None:
        record = self.records["LAB:FURN1:TEMP"]
        record.post(value, self.clock.time(), severity, alarm_status("HIHI") if severity else 0)


def test_a_record_is_found_by_name_alias_and_without_the_prefix() -> None:
    for name in ("LAB:FURN1:TEMP", "FURN1:TEMP", "CALO:OVEN:TEMP"):
        found = Looked(name, TEMP).input
        assert (found.name, found.remote, found.unit()) == ("LAB:FURN1:TEMP", False, "C")


def test_an_input_that_has_not_been_read_is_not_relied_on() -> None:
    assert Looked("FURN1:TEMP", TEMP).input.state().problem == "not read yet"


def test_an_input_shows_value_severity_and_time_and_reports_changes() -> None:
    looked = Looked("FURN1:TEMP", TEMP)
    looked.post(20.0)
    looked.post(850.0, MAJOR)
    state = looked.input.state()
    assert (state.value, state.severity, state.time, state.problem) == (850.0, MAJOR, EPOCH, "")
    assert looked.updates == 2


def test_an_invalid_input_names_its_alarm() -> None:
    looked = Looked("FURN1:TEMP", TEMP)
    looked.post(20.0)
    looked.records["LAB:FURN1:TEMP"].lose(alarm_status("TIMEOUT"))
    state = looked.input.state()
    assert (state.value, state.severity, state.problem) == (20.0, INVALID, "INVALID (TIMEOUT)")
    assert looked.updates == 2


async def test_a_scanned_record_that_is_not_read_any_more_is_silent_whatever_the_computers_clock_does() -> None:
    looked = Looked("FURN1:TEMP", TEMP)
    looked.post(20.0)
    assert looked.input.state().problem == ""
    looked.clock.offset += 3600.0  # a step of the computer's clock is no silence
    await looked.clock.advance(SILENT_SECONDS)
    assert looked.input.state().problem == ""
    await looked.clock.advance(1.0)
    assert looked.input.state().problem == "silent for 6 s"
    looked.post(20.0)
    assert looked.input.state().problem == ""


def test_states_of_a_record_come_with_their_texts() -> None:
    looked = Looked("GAS:VALVE", VALVE)
    looked.records["GAS:VALVE"].post(1, looked.clock.time())
    assert (looked.input.state().value, looked.input.state().choices) == (1, ("SHUT", "OPEN"))


def test_what_no_server_has_is_not_connected() -> None:
    state = Looked("VAC:PRESSURE", TEMP).input.state()
    assert (state.value, state.problem) == (None, "not connected")


@asynccontextmanager
async def other_server(definitions: Iterable[RecordDef], port: int = 0) -> AsyncIterator[tuple[RecordSet, Server]]:
    records = RecordSet.build(definitions)
    server = Server(records, None, ["127.0.0.1"], port=port, local_only=True)
    await server.start()
    try:
        yield records, server
    finally:
        await server.stop()


async def until(input_: Input, problem: str, news: asyncio.Event) -> None:
    async with asyncio.timeout(20.0):
        while input_.state().problem != problem:
            news.clear()
            await news.wait()


async def test_GIVEN_a_pv_of_another_server_WHEN_it_changes_fails_and_its_server_goes_THEN_the_input_follows() -> None:
    flow = definition("GAS:FLOW", "ai", EGU="l/h", VAL="7.5")
    async with other_server([flow]) as (records, server):
        env = {
            "EPICS_CA_ADDR_LIST": f"127.0.0.1:{server.udp_port}",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_REPEATER_PORT": "9",
        }
        inputs, news = Inputs(RecordSet.build([TEMP]), FakeClock(), "LAB", env), asyncio.Event()
        found = inputs.add("GAS:FLOW", news.set, unit=True)
        await inputs.start()
        try:
            await until(found, "", news)
            assert (found.state().value, found.remote) == (7.5, True)
            async with asyncio.timeout(20.0):
                while found.unit() is None:
                    news.clear()
                    await news.wait()
            assert found.unit() == "l/h"
            records["GAS:FLOW"].post(3.0, 1e9, INVALID, alarm_status("READ"))
            await until(found, "INVALID (READ)", news)
            assert (found.state().value, found.state().time) == (3.0, 1e9)
            await server.stop()
            await until(found, "not connected", news)
            assert found.state().value == 3.0
        finally:
            await inputs.stop()
