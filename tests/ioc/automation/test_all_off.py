"""Every output of a site off by one put: CAEN and Iseg devices behind the whole server, and its rules alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from devices.errors import Refused
from ioc.app import App
from ioc.automation.all_off import GO, IDLE, MSG, AllOff
from ioc.records import Cancelled, PutContext, PutRefused, Record
from ioc.records.status import INVALID
from ioc.site.config import only, parse_site
from ioc.site.expansion import expand, expand_all
from tests.fair_time import until
from tests.ioc.app_rig import as_client, failed, record, supply
from tests.ioc.fakes import alarm, build, definition, settle
from tests.ioc.put_rig import WHO, Rig
from tests.libca import ECA_NORMAL, Context
from tests.system.test_iseg_faults import served

NAME = "LAB:GRP:ALL:GO"
OUTPUTS = 4 + 8 + 8


def switches(app: App) -> list[Record]:
    return [one for one in app.records.values() if str(one.signal).endswith(".ON") and one.rtyp == "bo"]


def wire(app: App) -> list[bytes]:
    return [line for line in supply(app).received if b"CMD:SET" in line]


async def switch_on(app: App) -> None:
    """Bring two channels of each device to some voltage."""

    def client(context: Context) -> None:
        for device in ("HV1", "ISEG3", "ISEG4"):
            for channel in ("CH00", "CH01"):
                setting, switch = context.connect([f"LAB:{device}:{channel}:{name}" for name in ("VSET", "ON")])
                assert setting.put_callback(50.0) == ECA_NORMAL
                assert switch.put_callback("ON") == ECA_NORMAL

    await as_client(app, client)


async def test_GIVEN_two_makes_of_supplies_that_are_on_WHEN_all_is_put_to_OFF_THEN_every_output_is_off() -> None:
    def client(context: Context) -> int:
        code: int = context.channel(NAME).put_callback("OFF")
        return code

    async with served() as (segment, app):
        await switch_on(app)
        assert sum(bool(one.val) for one in switches(app)) == 6
        before = len(wire(app))
        assert await as_client(app, client) == ECA_NORMAL
        assert [one.val for one in switches(app)] == [0] * OUTPUTS
        assert all(app.records[f"{one.name}:RBV"].val == 0 for one in switches(app))
        sent = wire(app)[before:]
        assert sorted(sent) == [b"$CMD:SET,CH:%d,PAR:OFF" % number for number in range(4)]
        assert {line[9:13] for line in sent[:2]} == {b"CH:0", b"CH:1"}, "what is on goes first"
        on = [channel.on for module in segment.modules.values() for channel in module.channels]
        assert on == [False] * 16
        assert app.records[NAME].val == IDLE
        message = app.records["LAB:GRP:ALL:MSG"]
        assert str(message.val).startswith(f"all {OUTPUTS} outputs are switched off, ")
        steady = f"all {OUTPUTS} outputs are switched off, none is ramping [by "
        await until(lambda: str(message.val).startswith(steady), 10.0, "the outputs have ramped down")
        assert message.sevr == 0
        assert f"(127.0.0.1) {NAME} set to OFF" in str(app.records["LAB:IOC:PUTS"].val)


async def test_GIVEN_a_lost_supply_WHEN_all_is_put_to_OFF_THEN_the_others_are_off_and_the_put_names_it() -> None:
    async with served() as (_, app):
        await switch_on(app)
        supply(app).faults.silent = True
        await until(lambda: record(app, "COMM").val == 0, 10.0, "the supply is lost")
        assert await as_client(app, lambda context: failed(context.channel(NAME), "OFF"))
        assert not any(one.val for one in switches(app) if one.device != "HV1")
        message = app.records["LAB:GRP:ALL:MSG"]
        text = f"4 of {OUTPUTS} outputs not known to be off: LAB:HV1:CH00:ON and 3 more: HV1 is not connected"
        assert str(message.val).startswith(text)
        assert message.sevr == 2
        assert app.records[NAME].val == IDLE


async def test_GIVEN_a_server_that_is_not_armed_WHEN_all_is_put_to_OFF_THEN_refused_and_nothing_is_sent() -> None:
    def client(context: Context) -> tuple[bool, bool]:
        context.channel("LAB:IOC:ARMED").put_callback(0)
        go = context.channel(NAME)
        return failed(go, "OFF"), failed(go, "ON")

    async with served() as (segment, app):
        frames, before = len(segment.written()), len(wire(app))
        assert await as_client(app, client) == (True, True)
        assert (len(segment.written()), len(wire(app))) == (frames, before)
        message = app.records["LAB:GRP:ALL:MSG"]
        assert (message.sevr, "not armed (LAB:IOC:ARMED is 0)" in str(message.val)) == (2, True)


class Site(Rig):
    """One fake device and the put that switches it off."""

    def __init__(self) -> None:
        super().__init__()
        own = build([definition(NAME, "mbbo", "GRP ALL.GO", "O", ZRST="OFF", ONST="-"),
                     definition("LAB:GRP:ALL:MSG", "lsi", "GRP ALL.MSG", "R", SIZV="512")])  # fmt: skip
        self.go, self.msg = own.values()
        (self.moving,) = build([definition("LAB:HV1:CH00:MOVING", "bi", "HV1 CH00.MOVING", "R")]).values()
        by_name = {one.name: one for one in [*self.records.values(), self.moving]}
        self.moving.post(0, self.clock.time() + 3600.0)
        self.all_off = AllOff({GO: self.go, MSG: self.msg}, [self["CH00:ON"]], by_name, self.puts, self.clock)

    async def all_to(self, value: int, context: PutContext = WHO) -> None:
        await self.all_off.put(self.go, value, context)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    one = Site()
    async with one.running():
        yield one


async def test_GIVEN_the_other_state_WHEN_put_THEN_nothing_is_sent() -> None:
    async with site() as one:
        await one.all_to(IDLE)
        assert (one.driver.writes, one.go.val, one.msg.val) == ([], IDLE, "not used since the server started")


async def test_GIVEN_an_output_whose_turn_comes_late_WHEN_the_client_has_left_THEN_it_is_still_switched_off() -> None:
    async with site() as one:
        one.driver.looking = asyncio.Event()
        client = replace(WHO, cancelled=Cancelled())
        put = asyncio.create_task(one.all_to(0, client))
        await settle()
        assert one.go.val == 0
        client.cancelled.set()
        put.cancel()
        await one.clock.advance(60.0)
        assert one.driver.writes == []
        one.driver.looking.set()
        await settle()
        assert one.driver.writes == [("CH00.ON", 0)]
        assert (one.go.val, str(one.msg.val).partition(" [")[0]) == (
            IDLE,
            "all 1 outputs are switched off, none is ramping",
        )


async def test_GIVEN_an_output_that_ramps_down_WHEN_switched_off_THEN_it_is_named_so_until_it_is_seen_steady() -> None:
    ramping = "all 1 outputs are switched off, 1 still ramping down"

    async with site() as one:
        await one.put("CH00:ON", 1)
        one.moving.post(0, one.clock.time() - 1.0)  # read before the put, which says nothing about what comes after it
        await one.all_to(0)
        assert str(one.msg.val).partition(" [")[0] == ramping
        one.moving.post(1, one.clock.time())
        await one.clock.advance(1.0)
        assert str(one.msg.val).partition(" [")[0] == ramping
        one.moving.lose(INVALID)
        await one.clock.advance(60.0)
        assert str(one.msg.val).partition(" [")[0] == ramping
        one.moving.post(0, one.clock.time())
        await one.clock.advance(1.0)
        assert str(one.msg.val).partition(" [")[0] == "all 1 outputs are switched off, none is ramping"
        assert alarm(one.msg) == ("NO_ALARM", 0)


async def test_GIVEN_an_output_that_refuses_WHEN_put_THEN_the_put_fails_with_its_reason() -> None:
    async with site() as one:
        one.driver.write_trouble = Refused("OFF: front panel is in LOCAL")
        with pytest.raises(PutRefused) as refused:
            await one.all_to(0)
        text = "1 of 1 outputs not known to be off: LAB:HV1:CH00:ON: OFF: front panel is in LOCAL"
        assert str(refused.value) == text
        assert str(one.msg.val).startswith(text)
        assert (alarm(one.msg), one.go.val) == (("STATE", 2), IDLE)


async def test_GIVEN_a_second_OFF_while_the_first_is_under_way_WHEN_put_THEN_both_are_done() -> None:
    async with site() as one:
        one.driver.gate = asyncio.Event()
        puts = [asyncio.create_task(one.all_to(0)) for _ in range(2)]
        await settle()
        assert one.driver.writes == [("CH00.ON", 0)] * 2
        one.driver.gate.set()
        await asyncio.gather(*puts)
        assert one.go.val == IDLE


async def test_GIVEN_the_server_is_disarmed_meanwhile_WHEN_not_begun_THEN_it_is_not_sent_and_the_put_fails() -> None:
    async with site() as one:
        one.driver.looking = asyncio.Event()
        put = asyncio.create_task(one.all_to(0))
        await settle()
        await one.put("IOC:ARMED", 0)
        with pytest.raises(PutRefused, match="not armed"):
            await put
        one.driver.looking.set()
        await settle()
        assert one.driver.writes == []


def _site(*devices: dict[str, Any]) -> Any:
    return parse_site({"site": {"prefix": "LAB"}, "device": list(devices)})


HV = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}
FURNACE = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0"}


def test_a_site_without_outputs_of_high_voltage_has_no_such_pv() -> None:
    assert not [name for name in expand(_site(FURNACE)).records if ":GRP:" in name]
    assert NAME in expand(_site(HV, FURNACE)).records


def test_each_of_several_servers_has_one_of_its_own() -> None:
    whole = _site(HV, {**HV, "name": "HV2", "address": "tcp://127.0.0.1:24"}, FURNACE)
    database = expand_all([only(whole, ["HV1", "FURN1"]), only(whole, ["HV2"])])
    found = [name for name in database.records if name.endswith(":GO")]
    assert found == ["LAB:GRP:ALL_HV1:GO", "LAB:GRP:ALL_HV2:GO"]
