"""Interlocks in simulated time, behind the real records, scan and put path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Never

import pytest

from ioc.automation.interlock import RETRY
from ioc.records import PutRefused
from ioc.records.status import INVALID, MAJOR
from tests.ioc.automation.plant import Plant

HV = {
    "name": "HV1",
    "type": "caen-dt55xx",
    "address": "tcp://127.0.0.1:23",
    "channels": 4,
    "channel": {"0": {"alias": "CALO:A"}, "1": {"alias": "CALO:B"}},
}
OVEN = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0", "safe_temperature": 20.0}
HOT = {"name": "HOT", "condition": "FURN1:TEMP < 80 C", "action": "off", "members": ["CALO:*"]}
GROUP = {"name": "CALO", "members": ["CALO:*"], "standby": 100.0, "on": 500.0}


@asynccontextmanager
async def site(**changes: Any) -> AsyncIterator[Plant]:
    groups = [GROUP] if "group" in changes else []
    interlock = {key: value for key, value in {**HOT, **changes}.items() if value is not None}
    data = {"site": {"prefix": "LAB"}, "device": [HV, OVEN], "group": groups, "interlock": [interlock]}
    async with Plant(data).running() as plant:
        yield plant


async def power(plant: Plant, *volts: float) -> None:
    """Have channels on and settled at these voltages."""
    for number, value in enumerate(volts):
        channel = plant.channel(f"HV1:CH0{number}")
        channel.on, channel.setting, channel.volts = True, value, value
    await plant.clock.advance(6.0)


async def heat(plant: Plant, temperature: float, seconds: float = 2.0) -> None:
    furnace = plant.furnace
    furnace.target = furnace.working = furnace.temperature = temperature
    await plant.clock.advance(seconds)


def message(plant: Plant) -> str:
    return str(plant["ILK:HOT:MSG"].val)


def writes(plant: Plant, device: str = "HV1") -> list[tuple[str, Any]]:
    return [(name, value) for _, name, value in plant.devices[device].writes]


async def test_GIVEN_a_condition_that_holds_WHEN_watched_THEN_it_is_OK_and_nothing_is_sent() -> None:
    async with site() as plant:
        await power(plant, 500.0, 500.0)
        assert (plant["ILK:HOT:OK"].val, plant["ILK:HOT:OK"].sevr, message(plant)) == (1, 0, "OK")
        await plant.put("CALO:A:ON", 1)
        assert writes(plant) == [("CH00.ON", 1)]


async def test_GIVEN_channels_that_are_on_WHEN_the_condition_fails_THEN_off_within_a_scan_and_latched_with_its_cause(
) -> None:  # fmt: skip
    async with site() as plant:
        await power(plant, 500.0, 500.0, 500.0)
        plant.furnace.target = plant.furnace.working = plant.furnace.temperature = 83.25
        failed = plant.clock.now
        await plant.clock.advance(1.0)
        assert writes(plant) == [("CH00.ON", 0), ("CH01.ON", 0)], "CH02 is no member"
        assert all(when - failed <= 1.1 for when, _, _ in plant.devices["HV1"].writes), "one scan and 100 ms"
        await plant.clock.advance(1.0)
        ok = plant["ILK:HOT:OK"]
        assert (ok.val, ok.sevr) == (0, MAJOR)
        assert message(plant).startswith("LAB:FURN1:TEMP is 83.25 C, allowed: < 80 C [20")
        assert message(plant).endswith("; 2 of 2 off")
        users = {entry.user for entry in plant.journal.entries if entry.pv.endswith(":ON")}
        assert users == {"labioc:ILK:HOT"}
        await heat(plant, 90.0)
        assert "83.25 C" in message(plant), "the first cause stays"
        await heat(plant, 20.0)
        assert (ok.val, message(plant).endswith("OK now, acknowledge it")) == (0, True)
        await plant.put("ILK:HOT:ACK:CMD", 1)
        await plant.clock.advance(0.5)
        assert (ok.val, message(plant)) == (1, "OK")
        assert len(writes(plant)) == 2, "it switches nothing on"


async def test_GIVEN_an_interlock_that_is_not_OK_WHEN_switched_on_THEN_refused_with_the_cause_and_OFF_is_not() -> None:
    async with site(action="refuse") as plant:
        await heat(plant, 90.0)
        with pytest.raises(PutRefused, match=r"interlock HOT: LAB:FURN1:TEMP is 90 C, allowed: < 80 C"):
            await plant.put("CALO:A:ON", 1)
        await plant.put("CALO:A:ON", 0)
        await plant.put("CALO:A:VSET", 100.0)
        await plant.put("HV1:CH02:ON", 1)
        assert writes(plant) == [("CH00.ON", 0), ("CH00.VSET", 100.0), ("CH02.ON", 1)]
        with pytest.raises(PutRefused, match="still not OK: LAB:FURN1:TEMP is 90 C"):
            await plant.put("ILK:HOT:ACK:CMD", 1)


async def test_GIVEN_an_input_that_is_lost_or_broken_WHEN_judged_THEN_it_is_not_OK() -> None:
    for trouble, cause in (("lost", "INVALID (TIMEOUT)"), ("broken", "INVALID (")):
        async with site() as plant:
            await power(plant, 500.0)
            setattr(plant.furnace, trouble, True)
            await plant.clock.advance(4.0)
            assert message(plant).startswith(f"LAB:FURN1:TEMP is {cause}")
            assert not plant.channel("HV1:CH00").on


async def test_GIVEN_a_PV_that_no_server_has_WHEN_judged_THEN_it_is_not_OK_but_nothing_is_done_at_the_start() -> None:
    async with site(condition="VAC:PRESSURE < 1e-6 mbar") as plant:
        await power(plant, 500.0)
        assert plant["ILK:HOT:OK"].sevr == INVALID
        assert message(plant) == "not known yet: VAC:PRESSURE is not connected"
        with pytest.raises(PutRefused, match="VAC:PRESSURE is not connected"):
            await plant.put("CALO:A:ON", 1)
        await plant.clock.advance(30.0)
        assert (plant["ILK:HOT:OK"].val, plant["ILK:HOT:OK"].sevr) == (0, MAJOR)
        assert message(plant).endswith("nothing was done, it was not OK when the server started")
        assert writes(plant) == []


async def test_GIVEN_a_condition_that_fails_from_the_start_WHEN_it_comes_right_and_fails_again_THEN_it_acts_then() -> (
    None
):
    data = {"site": {"prefix": "LAB"}, "device": [HV, OVEN], "interlock": [{**HOT, "latch": False}]}
    plant = Plant(data)
    plant.furnace.target = plant.furnace.working = plant.furnace.temperature = 90.0
    async with plant.running():
        await power(plant, 500.0)
        assert (plant["ILK:HOT:OK"].val, writes(plant)) == (0, [])
        assert "[since the server started]; nothing was done" in message(plant)
        await heat(plant, 20.0)
        assert plant["ILK:HOT:OK"].val == 1, "without latch it releases by itself"
        await heat(plant, 90.0)
        assert writes(plant) == [("CH00.ON", 0), ("CH01.ON", 0)]


async def test_GIVEN_delays_WHEN_the_condition_fails_and_comes_back_THEN_both_are_kept() -> None:
    async with site(act_after=5.0, ok_after=10.0, latch=False) as plant:
        await power(plant, 500.0)
        await heat(plant, 90.0, 4.0)
        assert (plant["ILK:HOT:OK"].val, writes(plant)) == (1, [])
        assert message(plant).startswith("OK for 5 s longer: LAB:FURN1:TEMP is 90 C")
        await heat(plant, 20.0, 2.0)
        await heat(plant, 90.0, 4.0)
        assert writes(plant) == [], "the time begins anew"
        await plant.clock.advance(3.0)
        assert [name for name, _ in writes(plant)] == ["CH00.ON", "CH01.ON"]
        await heat(plant, 20.0, 8.0)
        assert plant["ILK:HOT:OK"].val == 0
        await plant.clock.advance(4.0)
        assert plant["ILK:HOT:OK"].val == 1


async def test_GIVEN_hysteresis_WHEN_the_value_comes_back_THEN_it_has_to_pass_it() -> None:
    async with site(condition="FURN1:TEMP < 80 C hysteresis 5", latch=False) as plant:
        await heat(plant, 79.0)
        assert plant["ILK:HOT:OK"].val == 1
        await heat(plant, 81.0)
        await heat(plant, 76.0)
        assert plant["ILK:HOT:OK"].val == 0
        await heat(plant, 74.0)
        assert plant["ILK:HOT:OK"].val == 1


async def test_GIVEN_a_time_to_hold_WHEN_the_comparison_is_true_for_less_THEN_it_is_not_OK() -> None:
    async with site(condition="FURN1:TEMP < 80 C for 10 s", latch=False) as plant:
        await plant.clock.advance(10.0)
        assert plant["ILK:HOT:OK"].val == 1
        await heat(plant, 81.0)
        await heat(plant, 20.0, 5.0)
        assert plant["ILK:HOT:OK"].val == 0
        await plant.clock.advance(7.0)
        assert plant["ILK:HOT:OK"].val == 1


async def test_GIVEN_a_bypass_WHEN_put_THEN_it_does_not_act_is_MAJOR_and_ends_by_itself() -> None:
    async with site(bypass_seconds=60.0) as plant:
        await power(plant, 500.0)
        await plant.put("ILK:HOT:BYPASS", 1)
        assert (plant["ILK:HOT:BYPASS"].val, plant["ILK:HOT:BYPASS"].sevr) == (1, MAJOR)
        await heat(plant, 90.0, 20.0)
        assert (plant["ILK:HOT:OK"].val, writes(plant)) == (0, [])
        assert "bypassed" in message(plant)
        await plant.put("CALO:A:ON", 1)
        await plant.clock.advance(45.0)
        assert plant["ILK:HOT:BYPASS"].val == 0
        assert [value for name, value in writes(plant) if name == "CH00.ON"] == [1, 0]


async def test_GIVEN_no_bypass_WHEN_put_THEN_refused() -> None:
    async with site(bypass_seconds=0) as plant:
        with pytest.raises(PutRefused, match="can't be bypassed"):
            await plant.put("ILK:HOT:BYPASS", 1)


async def test_GIVEN_a_supply_that_is_lost_WHEN_not_OK_THEN_it_is_said_and_it_is_switched_off_when_it_is_back() -> None:
    async with site() as plant:
        await power(plant, 500.0, 500.0)
        plant.lose("HV1")
        await plant.clock.advance(3.0)
        await heat(plant, 90.0, 3.0)
        assert (plant["ILK:HOT:MSG"].sevr, "not done: CALO:A and 1 more" in message(plant)) == (MAJOR, True)
        plant.devices["HV1"].lost = False
        await plant.clock.advance(10.0)
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(2))
        assert plant["ILK:HOT:MSG"].sevr == 0


async def test_GIVEN_a_channel_switched_on_at_the_front_panel_WHEN_not_OK_THEN_it_is_switched_off_again() -> None:
    async with site() as plant:
        await power(plant, 500.0)
        await heat(plant, 90.0)
        plant.channel("HV1:CH00").on = True
        await plant.clock.advance(10.0)
        assert not plant.channel("HV1:CH00").on


async def test_GIVEN_ramp_down_WHEN_not_OK_THEN_the_voltage_is_set_to_0_and_raising_it_is_refused() -> None:
    async with site(action="ramp-down") as plant:
        await power(plant, 500.0)
        await heat(plant, 90.0, 15.0)
        assert (writes(plant), plant.channel("HV1:CH00").volts) == ([("CH00.VSET", 0.0)], 0.0)
        with pytest.raises(PutRefused, match="interlock HOT"):
            await plant.put("CALO:A:VSET", 10.0)


async def test_GIVEN_a_group_WHEN_not_OK_THEN_it_goes_to_STANDBY_and_what_is_off_stays_off() -> None:
    async with site(action="standby", members=None, group="CALO") as plant:
        await power(plant, 500.0)
        await heat(plant, 90.0, 20.0)
        assert writes(plant) == [("CH00.VSET", 100.0)]
        assert not plant.channel("HV1:CH01").on
        reason = await plant.outcome(plant.start("GRP:CALO:GO", 2), 5.0)
        assert reason.startswith("interlock HOT: LAB:FURN1:TEMP is 90 C")
        go = next(entry for entry in plant.journal.entries if entry.pv == "LAB:GRP:CALO:GO")
        assert (go.user, go.new) == ("labioc:ILK:HOT", "STANDBY")


async def test_GIVEN_a_furnace_WHEN_a_channel_trips_THEN_it_is_made_safe_and_heating_it_is_refused() -> None:
    async with site(action="safe", members=["FURN1"], condition="CALO:A:TRIP == OK") as plant:
        await heat(plant, 300.0)
        plant.channel("HV1:CH00").trip()
        await plant.clock.advance(3.0)
        assert writes(plant, "FURN1") == [("SAFE.CMD", 1)]
        assert message(plant).startswith("LAB:HV1:CH00:TRIP is TRIPPED, allowed: == OK")
        with pytest.raises(PutRefused, match="interlock HOT"):
            await plant.put("FURN1:TSET", 200.0)


async def test_GIVEN_a_heartbeat_WHEN_it_stands_still_THEN_not_OK() -> None:
    async with site(condition="LAB:IOC:HEARTBEAT changes within 5 s") as plant:
        for beats in range(4):
            plant["IOC:HEARTBEAT"].post(beats, plant.clock.time())
            await plant.clock.advance(1.0)
        assert plant["ILK:HOT:OK"].val == 1
        await plant.clock.advance(3.8)
        assert plant["ILK:HOT:OK"].val == 1
        await plant.clock.advance(0.4)
        assert plant["ILK:HOT:OK"].val == 0
        assert "LAB:IOC:HEARTBEAT has not changed for" in message(plant)


async def test_GIVEN_a_put_that_waits_WHEN_it_is_not_OK_any_more_THEN_it_is_never_sent() -> None:
    async with site(action="refuse") as plant:
        plant.devices["HV1"].gate = asyncio.Event()
        first = plant.start("HV1:CH03:VSET", 5.0)
        await plant.clock.advance(0.1)
        waiting = plant.start("CALO:A:ON", 1)
        await heat(plant, 90.0, 2.0)
        assert (await plant.outcome(waiting, 0.5)).startswith("interlock HOT")
        plant.devices["HV1"].gate.set()
        assert await plant.outcome(first, 1.0) == ""
        assert ("CH00.ON", 1) not in writes(plant)


async def test_GIVEN_an_interlock_that_cannot_be_judged_WHEN_looked_at_THEN_it_is_not_OK_and_refuses() -> None:
    async with site() as plant:
        interlock = plant.automation.interlocks["HOT"]

        def verdict() -> Never:
            raise KeyError("x")

        judged, interlock._judge.verdict = interlock._judge.verdict, verdict  # type: ignore[method-assign]
        await plant.clock.advance(1.5)
        assert (plant["ILK:HOT:OK"].val, plant["ILK:HOT:OK"].sevr) == (0, MAJOR)
        assert message(plant) == "internal error: KeyError: 'x'"
        with pytest.raises(PutRefused, match="internal error"):
            await plant.put("CALO:A:ON", 1)
        interlock._judge.verdict = judged  # type: ignore[method-assign]
        await plant.clock.advance(1.5)
        assert message(plant).endswith("OK now, acknowledge it")


async def test_GIVEN_a_condition_that_needs_time_WHEN_the_server_starts_THEN_no_alarm_is_raised_meanwhile() -> None:
    async with site(condition="FURN1:TEMP < 80 C for 10 s") as plant:
        await plant.clock.advance(5.0)
        assert plant["ILK:HOT:OK"].udf
        with pytest.raises(PutRefused, match="for 10 s"):
            await plant.put("CALO:A:ON", 1)
        await plant.clock.advance(6.0)
        assert (plant["ILK:HOT:OK"].val, plant["ILK:HOT:OK"].sevr) == (1, 0)


async def test_GIVEN_a_furnace_in_manual_WHEN_not_OK_THEN_raising_its_output_is_refused_and_lowering_is_not() -> None:
    full = {**OVEN, "detail": "full"}
    interlock = {**HOT, "action": "refuse", "members": ["FURN1"]}
    async with Plant({"site": {"prefix": "LAB"}, "device": [full], "interlock": [interlock]}).running() as plant:
        await heat(plant, 90.0)
        plant["FURN1:MOUT:RBV"].post(30.0, plant.clock.time())
        control = plant.automation.interlocks["HOT"]
        for name, value in (("MOUT", 31.0), ("TUNE", 1), ("TMR:RUN:CMD", 1), ("SPSEL", 1), ("SP1", 91.0)):
            assert "interlock HOT" in str(control.objection(plant[f"FURN1:{name}"], value)), name
            assert plant[f"FURN1:{name}"].name in control.guarded
        assert control.objection(plant["FURN1:MOUT"], 29.0) is None
        assert control.objection(plant["FURN1:SP1"], 60.0) is None


async def test_GIVEN_a_server_that_is_not_armed_WHEN_not_OK_THEN_it_says_so_and_acts_when_it_is_armed() -> None:
    async with site() as plant:
        await power(plant, 500.0)
        await plant.put("IOC:ARMED", 0)
        await heat(plant, 90.0, 30.0)
        assert (plant["ILK:HOT:MSG"].sevr, "not done: all: the server is not armed" in message(plant)) == (MAJOR, True)
        assert [entry.pv for entry in plant.journal.entries] == ["LAB:IOC:ARMED"], "no refusals every few seconds"
        await plant.put("IOC:ARMED", 1)
        await plant.clock.advance(2.0)
        assert not plant.channel("HV1:CH00").on
        assert plant["ILK:HOT:MSG"].sevr == 0


async def test_GIVEN_a_latch_WHEN_the_server_is_started_again_THEN_it_is_there_until_acknowledged(
    tmp_path: Path,
) -> None:
    data = {"site": {"prefix": "LAB"}, "device": [HV, OVEN], "interlock": [HOT]}
    async with Plant(data, folder=tmp_path).running() as plant:
        await heat(plant, 90.0)
        await heat(plant, 20.0)
        assert plant["ILK:HOT:OK"].val == 0
    async with Plant(data, folder=tmp_path).running() as plant:
        assert (plant["ILK:HOT:OK"].val, plant["ILK:HOT:OK"].sevr) == (0, MAJOR)
        assert message(plant).startswith("LAB:FURN1:TEMP is 90 C, allowed: < 80 C [")
        assert message(plant).endswith("OK now, acknowledge it")
        with pytest.raises(PutRefused, match="interlock HOT"):
            await plant.put("CALO:A:ON", 1)
        plant.channel("HV1:CH00").on = True  # at the front panel
        await plant.clock.advance(8.0)
        assert writes(plant) == [], "nothing is put because the server was started"
        await heat(plant, 90.0)
        assert ("CH00.ON", 0) in writes(plant), "but when the condition fails anew"
        await heat(plant, 20.0)
        await plant.put("ILK:HOT:ACK:CMD", 1)
        await plant.clock.advance(1.0)
        assert (plant["ILK:HOT:OK"].val, message(plant)) == (1, "OK")
    async with Plant(data, folder=tmp_path).running() as plant:
        assert plant["ILK:HOT:OK"].val == 1


async def test_GIVEN_puts_that_take_long_or_are_refused_WHEN_not_OK_THEN_one_at_a_time_and_again_after_a_while() -> (
    None
):
    async with site(members=["CALO:A"]) as plant:
        await power(plant, 500.0)
        supply = plant.devices["HV1"]
        supply.gate = asyncio.Event()
        await heat(plant, 90.0, 3 * RETRY)
        asked = [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "HOT"]
        assert (len(asked), writes(plant)) == (1, [])
        supply.gate.set()
        await plant.clock.advance(2.0)
        assert writes(plant) == [("CH00.ON", 0)]
        supply.refusal, plant.channel("HV1:CH00").on = "not now", True
        await plant.clock.advance(4 * RETRY + 1.0)
        refused = [
            entry for entry in plant.journal.entries if entry.pv == "LAB:HV1:CH00:ON" and "not now" in str(entry)
        ]
        assert 3 <= len(refused) <= 5
        assert "not done: CALO:A: " in message(plant)
