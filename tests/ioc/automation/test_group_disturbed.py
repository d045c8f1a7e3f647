"""A group when a member trips, is lost or refuses, or a client puts meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from devices.model import Value
from ioc.records.status import INVALID, MAJOR, MINOR
from tests.ioc.automation.group_rig import FAULT, GEM, HV, LOST, MIXED, OFF, ON, STANDBY, arrive, site, writes
from tests.ioc.automation.plant import WHO, Plant, tick


async def test_GIVEN_a_member_that_trips_on_the_way_WHEN_hold_THEN_the_others_stand_still_and_the_put_says_why() -> (
    None
):
    async with site(order=["GEM:*"]) as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        plant.channel("HV1:CH01").trip()
        assert await plant.outcome(put, 5.0) == "GEM:G3 is TRIPPED"
        await plant.clock.advance(30.0)
        volts = plant.channel("HV1:CH00").volts
        assert 200.0 < volts < 500.0
        assert plant.channel("HV1:CH00").setting == round(volts, 1)
        msg = plant["GRP:GEM:MSG"]
        assert (str(msg.val), msg.sevr) == ("held on the way to ON: GEM:G3 is TRIPPED", MAJOR)
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:STATE"].sevr) == (FAULT, MAJOR)
        assert plant.automation.groups["GEM"].held
        assert await plant.outcome(plant.start("GRP:GEM:GO", ON), 1.0) == "GEM:G3 is TRIPPED"


async def test_GIVEN_a_member_that_trips_later_WHEN_on_trip_is_standby_THEN_the_others_go_there_by_themselves() -> None:
    async with site(on_trip="standby") as plant:
        await arrive(plant, ON)
        plant.channel("HV1:CH01").trip()
        await plant.clock.advance(90.0)
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(3)] == [300.0, 0.0, 300.0]
        msg = plant["GRP:GEM:MSG"]
        assert (str(msg.val), msg.sevr) == ("GEM:G3 is TRIPPED; the others are in STANDBY", MAJOR)
        moves = [entry for entry in plant.journal.entries if entry.new == "300" and entry.pv.startswith("LAB:HV1")]
        assert {entry.user for entry in moves} == {"labioc:GRP:GEM"}


async def test_GIVEN_a_member_that_trips_on_the_way_WHEN_on_trip_is_off_THEN_everything_is_off() -> None:
    async with site(on_trip="off", order=["GEM:*"]) as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        plant.channel("HV1:CH01").trip()
        assert await plant.outcome(put, 5.0) == "GEM:G3 is TRIPPED"
        await plant.clock.advance(60.0)
        assert [plant.channel(f"HV1:CH0{n}").on for n in range(3)] == [False] * 3
        assert str(plant["GRP:GEM:MSG"].val) == "GEM:G3 is TRIPPED; the others are in OFF"


async def test_GIVEN_a_group_that_was_not_moved_WHEN_a_member_trips_THEN_nothing_is_sent() -> None:
    async with site(on_trip="off") as plant:
        for number in range(3):
            plant.channel(f"HV1:CH0{number}").on = True
            plant.channel(f"HV1:CH0{number}").setting = 100.0
        await plant.clock.advance(10.0)
        plant.channel("HV1:CH01").trip()
        await plant.clock.advance(10.0)
        assert writes(plant) == []


async def test_GIVEN_a_sequence_WHEN_the_supply_is_lost_THEN_it_is_held_and_does_not_go_on_when_it_is_back() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        plant.lose("HV1")
        reason = await plant.outcome(put, 10.0)
        assert reason == "LAB:HV1:CH00:VMON is INVALID (TIMEOUT)"
        await plant.clock.advance(1.0)
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:STATE"].sevr) == (LOST, INVALID)
        assert str(plant["GRP:GEM:MSG"].val).startswith(f"held on the way to ON: {reason}")
        before = writes(plant)
        plant.devices["HV1"].lost = False
        await plant.clock.advance(60.0)
        assert writes(plant) == before


async def test_GIVEN_a_sequence_WHEN_OFF_is_put_THEN_it_takes_its_place_and_the_first_put_fails() -> None:
    async with site() as plant:
        first = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(30.0)
        plant.devices["HV1"].writes.clear()
        second = plant.start("GRP:GEM:GO", OFF)
        await tick()
        assert await plant.outcome(first, 0.5) == "OFF by olga@desk1 took its place"
        assert await plant.outcome(second, 100.0) == ""
        assert writes(plant) == [("CH02.ON", 0), ("CH01.ON", 0), ("CH00.ON", 0)]


async def test_GIVEN_a_put_under_way_at_a_member_WHEN_OFF_is_put_THEN_it_is_not_waited_for() -> None:
    async with site(order=["GEM:*"]) as plant:
        plant.devices["HV1"].gate = asyncio.Event()
        first = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        second = plant.start("GRP:GEM:GO", OFF)
        await plant.clock.advance(1.0)
        plant.devices["HV1"].gate.set()
        plant.devices["HV1"].gate = None
        assert await plant.outcome(first, 0.5) == "OFF by olga@desk1 took its place"
        assert await plant.outcome(second, 100.0) == ""
        assert not any(name.endswith("ON") and value for name, value in writes(plant))
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(4))


async def test_GIVEN_a_ramp_WHEN_held_THEN_it_stands_still_and_a_new_GO_goes_on_from_there() -> None:
    async with site() as plant:
        first = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(8.0)
        assert await plant.outcome(plant.start("GRP:GEM:HOLD:CMD", 1), 2.0) == ""
        assert await plant.outcome(first, 0.5) == "HOLD by olga@desk1"
        volts, progress = plant.channel("HV1:CH00").volts, plant["GRP:GEM:PROGRESS"].val
        assert progress == pytest.approx(100.0 / 3 * volts / 1000.0, abs=2.0), "one of three members has begun"
        await plant.clock.advance(20.0)
        assert abs(plant.channel("HV1:CH00").volts - volts) < 1.0
        assert plant["GRP:GEM:PROGRESS"].val == progress, "it stays where the group stood"
        assert (plant["GRP:GEM:HOLD:CMD"].val, plant["GRP:GEM:MSG"].sevr) == (0, 0)
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:STATE"].sevr) == (MIXED, MINOR)
        assert plant.automation.groups["GEM"].held
        await arrive(plant, ON)
        assert not plant.automation.groups["GEM"].held


async def test_GIVEN_a_sequence_WHEN_a_client_puts_to_a_member_THEN_it_ends_and_the_member_stays_as_put() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        await plant.put("GEM:DRIFT:ON", 0)
        assert await plant.outcome(put, 0.5) == "olga@desk1 has put to LAB:HV1:CH00:ON"
        await plant.clock.advance(60.0)
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(3))


async def test_GIVEN_a_sequence_WHEN_everything_is_put_to_OFF_THEN_nothing_is_switched_on_after_it() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(20.0)
        await plant.put("GRP:ALL:GO", 0)
        assert "has put to LAB:HV1:CH0" in await plant.outcome(put, 0.5)
        after = len(writes(plant))
        await plant.clock.advance(60.0)
        assert writes(plant)[after:] == []


async def test_GIVEN_a_sequence_WHEN_a_member_is_changed_at_the_front_panel_THEN_it_ends_and_says_so() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        plant.channel("HV1:CH00").setting = 777.0
        assert await plant.outcome(put, 10.0) == "GEM:DRIFT was changed to 777 V, not by this group"


async def test_GIVEN_a_sequence_WHEN_a_member_goes_off_without_a_trip_THEN_it_counts_as_tripped_after_the_grace() -> (
    None
):
    async with site(on_trip="off") as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(40.0)
        plant.channel("HV1:CH00").on = False
        assert await plant.outcome(put, 10.0) == "GEM:DRIFT is off, not by this group"
        await plant.clock.advance(60.0)
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(3))


async def test_GIVEN_a_sequence_WHEN_the_server_is_disarmed_THEN_it_ends_within_a_second() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        disarm = plant.start("IOC:ARMED", 0)
        assert await plant.outcome(disarm, 1.0) == ""
        assert "not armed" in await plant.outcome(put, 1.0)
        before = writes(plant)
        await plant.clock.advance(60.0)
        assert writes(plant) == before


async def test_GIVEN_a_stage_that_does_not_settle_WHEN_its_time_is_over_THEN_held() -> None:
    async with site(timeout=20.0) as plant:
        plant.channel("HV1:CH00").stuck = True
        put = plant.start("GRP:GEM:GO", ON)
        assert await plant.outcome(put, 30.0) == "stage 1 has taken 20 s: GEM:DRIFT not settled"


async def test_GIVEN_a_member_that_refuses_WHEN_put_to_ON_THEN_held_with_its_reason() -> None:
    async with site() as plant:
        plant.devices["HV1"].refusal = "front panel is in LOCAL"
        assert await plant.outcome(plant.start("GRP:GEM:GO", ON), 5.0) == "GEM:DRIFT: front panel is in LOCAL"


async def test_GIVEN_a_supply_that_is_lost_WHEN_put_to_OFF_THEN_the_others_are_switched_off_at_once_and_it_is_named(
) -> None:  # fmt: skip
    devices = [HV, {**HV, "name": "HV2", "address": "tcp://127.0.0.1:24", "channel": {"0": {"alias": "GEM:TOP"}}}]
    group = {**GEM, "order": ["GEM:TOP", "GEM:*[3T2]"], "members": ["GEM:*"]}
    group["order"] = ["GEM:TOP", ["GEM:DRIFT", "GEM:G?"]]
    async with Plant({"site": {"prefix": "LAB"}, "device": devices, "group": [group]}).running() as plant:
        await arrive(plant, ON)
        plant.lose("HV1")
        await plant.clock.advance(5.0)
        reason = await plant.outcome(plant.start("GRP:GEM:GO", OFF), 20.0)
        assert reason.startswith("3 of 4 members not known to be off: GEM:DRIFT and 2 more: HV1 is not connected")
        assert not plant.channel("HV2:CH00").on
        assert plant["GRP:GEM:MSG"].sevr == MAJOR


async def test_GIVEN_a_trip_in_the_first_stage_WHEN_the_others_go_to_STANDBY_THEN_what_is_off_stays_off() -> None:
    async with site(on_trip="standby", order=[["GEM:DRIFT", "GEM:G3"], "GEM:G2"]) as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(15.0)
        plant.channel("HV1:CH01").trip()
        assert await plant.outcome(put, 5.0) == "GEM:G3 is TRIPPED"
        await plant.clock.advance(60.0)
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(3)] == [300.0, 0.0, 0.0]
        assert not plant.channel("HV1:CH02").on


def gate_after(plant: Plant, signal: str) -> asyncio.Event:
    """Have whatever is written after this signal stay on its way to the device until the gate is opened."""
    gate = asyncio.Event()

    def close(name: str, value: Value) -> None:
        if name == signal:
            plant.devices["HV1"].gate = gate

    plant.devices["HV1"].on_write = close
    return gate


async def test_GIVEN_a_channel_just_being_switched_on_WHEN_held_THEN_it_does_not_ramp_to_its_setting() -> None:
    async with site() as plant:
        gate = gate_after(plant, "CH00.VSET")
        first = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(0.2)
        hold = plant.start("GRP:GEM:HOLD:CMD", 1)
        await plant.clock.advance(0.2)
        plant.devices["HV1"].gate = None
        gate.set()
        assert await plant.outcome(hold, 10.0) == ""
        assert await plant.outcome(first, 0.5) == "HOLD by olga@desk1"
        await plant.clock.advance(60.0)
        assert plant.channel("HV1:CH00").on
        assert plant.channel("HV1:CH00").volts < 200.0


async def test_GIVEN_a_group_in_STANDBY_WHEN_put_to_ON_twice_THEN_the_second_is_not_done_by_old_readings() -> None:
    async with site(order=["GEM:*"]) as plant:
        await arrive(plant, STANDBY)
        first = plant.start("GRP:GEM:GO", ON)
        await tick()
        assert plant.channel("HV1:CH02").setting == 1000.0
        second = plant.start("GRP:GEM:GO", ON)
        await tick()
        assert (first.done(), second.done()) == (True, False)
        assert await plant.outcome(second, 100.0) == ""
        assert plant.channel("HV1:CH00").volts == 1000.0
        del first


async def test_GIVEN_settings_that_have_just_been_put_WHEN_put_to_ON_THEN_it_is_not_done_by_old_readings() -> None:
    async with site(order=["GEM:*"]) as plant:
        await arrive(plant, STANDBY)
        for name in ("DRIFT", "G3", "G2"):
            await plant.put(f"GEM:{name}:VSET", 1000.0)
        put = plant.start("GRP:GEM:GO", ON)
        await tick()
        assert not put.done()
        assert await plant.outcome(put, 100.0) == ""
        assert plant.channel("HV1:CH00").volts == 1000.0


async def test_GIVEN_the_way_to_OFF_WHEN_a_client_puts_to_a_member_THEN_it_goes_on() -> None:
    async with site() as plant:
        await arrive(plant, ON)
        put = plant.start("GRP:GEM:GO", OFF)
        await plant.clock.advance(1.0)
        await plant.put("GEM:DRIFT:VSET", 500.0)
        await plant.automation.groups["GEM"].lower(WHO)
        assert await plant.outcome(put, 100.0) == ""
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(3))


async def test_GIVEN_the_way_to_OFF_WHEN_a_member_is_switched_on_again_THEN_it_is_not_reported_as_OFF() -> None:
    async with site() as plant:
        await arrive(plant, ON)
        put = plant.start("GRP:GEM:GO", OFF)
        await plant.clock.advance(30.0)
        assert not plant.channel("HV1:CH02").on
        await plant.put("GEM:G2:ON", 1)
        assert await plant.outcome(put, 100.0) == "GEM:G2 switched on meanwhile, not by this group"
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(2))
        assert plant["GRP:GEM:MSG"].sevr == MAJOR


async def test_GIVEN_the_last_stage_WHEN_a_member_of_the_first_goes_off_just_before_its_end_THEN_ON_is_not_done() -> (
    None
):
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        while plant.channel("HV1:CH02").volts < 1000.0:
            await plant.clock.advance(0.5)
        plant.channel("HV1:CH00").on = False
        plant.channel("HV1:CH00").volts = 0.0
        assert await plant.outcome(put, 10.0) == "GEM:DRIFT is off, not by this group"


async def test_GIVEN_a_setting_changed_at_the_front_panel_WHEN_switched_on_before_it_is_read_THEN_it_is_put_first() -> (
    None
):
    async with site({"name": "GEM", "members": ["GEM:DRIFT"], "on": 1000.0}) as plant:
        plant.channel("HV1:CH00").setting = 1000.0
        await plant.clock.advance(6.0)
        plant.channel("HV1:CH00").setting = 2000.0
        await arrive(plant, ON)
        assert writes(plant) == [("CH00.VSET", 1000.0), ("CH00.ON", 1)]


async def test_GIVEN_a_channel_just_being_switched_on_WHEN_the_group_is_lowered_THEN_it_goes_to_STANDBY_too() -> None:
    async with site() as plant:
        gate = gate_after(plant, "CH00.VSET")
        first = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(0.2)
        lower = asyncio.create_task(plant.automation.groups["GEM"].lower(WHO))
        await plant.clock.advance(0.2)
        plant.devices["HV1"].gate = None
        gate.set()
        assert await plant.outcome(lower, 60.0) == ""
        assert await plant.outcome(first, 0.5) == "STANDBY by olga@desk1 took its place"
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(3)] == [300.0, 0.0, 0.0]


async def test_GIVEN_a_neighbour_that_is_lost_WHEN_another_trips_THEN_its_chain_stays_and_others_go_to_STANDBY() -> (
    None
):
    group = {
        "name": "ALLOF", "members": ["HV1:*", "HV2:CH00"], "standby": 300.0, "on": 1000.0, "on_trip": "standby",
        "neighbours": [{"names": ["HV1:CH00", "HV2:CH00"], "max_difference": 200.0}],
    }  # fmt: skip
    other = {"name": "HV2", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:24", "channels": 1}
    async with Plant({"site": {"prefix": "LAB"}, "device": [HV, other], "group": [group]}).running() as plant:
        assert await plant.outcome(plant.start("GRP:ALLOF:GO", ON), 300.0) == ""
        plant.lose("HV2")
        await plant.clock.advance(10.0)
        plant.channel("HV1:CH01").trip()
        await plant.clock.advance(60.0)
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(4)] == [1000.0, 0.0, 300.0, 300.0]
        msg = plant["GRP:ALLOF:MSG"]
        assert (msg.sevr, "GEM:DRIFT not lowered: a neighbour is not known" in str(msg.val)) == (MAJOR, True)


async def test_GIVEN_a_sequence_WHEN_a_client_with_the_name_of_the_group_puts_to_a_member_THEN_it_ends() -> None:
    async with site() as plant:
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        await plant.put("GEM:DRIFT:VSET", 50.0, replace(WHO, user="labioc:GRP:GEM"))
        assert await plant.outcome(put, 0.5) == "labioc:GRP:GEM@desk1 has put to LAB:HV1:CH00:VSET"


async def test_GIVEN_a_furnace_on_its_way_to_its_safe_temperature_WHEN_held_THEN_it_goes_on() -> None:
    async with site({"name": "GEM", "members": ["FURN1"], "on": 100.0}) as plant:
        assert await plant.outcome(plant.start("GRP:GEM:GO", ON), 900.0) == ""
        await arrive(plant, OFF)
        await plant.clock.advance(5.0)
        assert plant.furnace.working > 50.0
        assert await plant.outcome(plant.start("GRP:GEM:HOLD:CMD", 1), 5.0) == ""
        assert plant.furnace.target == 20.0


async def test_GIVEN_a_clock_that_is_set_back_WHEN_moved_THEN_only_readings_made_after_the_move_count() -> None:
    async with site() as plant:
        await arrive(plant, ON)
        plant.clock.offset -= 3600.0
        before = len(writes(plant))
        put = plant.start("GRP:GEM:GO", STANDBY)
        await plant.clock.advance(0.9)
        assert writes(plant)[before:] == [("CH02.VSET", 300.0)], "what was read before the move is no arrival"
        plant.clock.offset -= 3600.0
        assert await plant.outcome(put, 200.0) == ""
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(3)] == [300.0, 300.0, 300.0]
