"""Groups of channels and furnaces that arrive, in simulated time behind the real records, scan and put path."""

from __future__ import annotations

from typing import Never

from ioc.records.status import INVALID
from tests.ioc.automation.group_rig import OFF, ON, RAMPING, STANDBY, arrive, site, writes
from tests.ioc.automation.plant import tick


async def test_GIVEN_a_group_that_is_off_WHEN_put_to_ON_THEN_stages_follow_one_another_and_the_put_completes_at_the_end(
) -> None:  # fmt: skip
    async with site() as plant:
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:GO"].val) == (0, OFF)
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(10.0)
        assert writes(plant) == [("CH00.VSET", 1000.0), ("CH00.ON", 1)], "the setting goes before the switch"
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:GO"].val) == (RAMPING, ON)
        assert 10.0 < float(plant["GRP:GEM:PROGRESS"].val) < 30.0
        assert str(plant["GRP:GEM:MSG"].val).startswith("to ON, stage 1 of 3: GEM:DRIFT [by olga@desk1, 20")
        assert await plant.outcome(put, 200.0) == ""
        assert [plant.channel(f"HV1:CH0{n}").volts for n in range(4)] == [1000.0, 1000.0, 1000.0, 0.0]
        assert [name for name, _ in writes(plant)] == [f"CH0{n}.{what}" for n in range(3) for what in ("VSET", "ON")]
        await plant.clock.advance(1.0)
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:PROGRESS"].val) == (3, 100.0)
        assert (plant["GRP:GEM:STATE"].sevr, plant["GRP:GEM:MSG"].sevr) == (0, 0)
        users = {entry.user for entry in plant.journal.entries if entry.pv.startswith("LAB:HV1")}
        assert users == {"labioc:GRP:GEM"}


async def test_GIVEN_a_group_that_is_on_WHEN_put_to_STANDBY_and_OFF_THEN_it_goes_down_in_reverse_order() -> None:
    async with site() as plant:
        await arrive(plant, ON)
        plant.devices["HV1"].writes.clear()
        await arrive(plant, STANDBY)
        assert writes(plant) == [("CH02.VSET", 300.0), ("CH01.VSET", 300.0), ("CH00.VSET", 300.0)]
        await plant.clock.advance(1.0)
        assert plant["GRP:GEM:STATE"].val == 2
        plant.devices["HV1"].writes.clear()
        await arrive(plant, OFF)
        assert writes(plant) == [("CH02.ON", 0), ("CH01.ON", 0), ("CH00.ON", 0)]
        await plant.clock.advance(1.0)
        assert plant["GRP:GEM:STATE"].val == 0


async def test_GIVEN_members_at_their_target_WHEN_put_again_THEN_nothing_is_sent_and_it_is_done_at_once() -> None:
    async with site() as plant:
        await arrive(plant, ON)
        plant.devices["HV1"].writes.clear()
        assert await plant.outcome(plant.start("GRP:GEM:GO", ON), 1.0) == ""
        assert writes(plant) == []


async def test_GIVEN_the_plan_WHEN_nothing_is_put_THEN_it_names_every_move_and_nothing_is_sent() -> None:
    async with site(order=["GEM:DRIFT", "GEM:G*"]) as plant:
        lines = str(plant["GRP:GEM:PLAN:MSG"].val).splitlines()
        assert lines == [
            "OFF: nothing to do",
            "STANDBY: 1. GEM:DRIFT 0 -> 300 V; 2. GEM:G3 and 1 more 0 -> 300 V",
            "ON: 1. GEM:DRIFT 0 -> 1000 V; 2. GEM:G3 and 1 more 0 -> 1000 V",
        ]
        assert writes(plant) == []


async def test_GIVEN_keep_WHEN_put_to_ON_THEN_channels_are_switched_on_with_the_setting_that_they_have() -> None:
    async with site({"name": "GEM", "members": ["HV1:CH0[12]"]}) as plant:
        plant.channel("HV1:CH01").setting = 120.0
        await plant.clock.advance(6.0)
        await arrive(plant, ON)
        assert sorted(writes(plant)) == [("CH01.ON", 1), ("CH02.ON", 1)]
        assert await plant.outcome(plant.start("GRP:GEM:GO", STANDBY), 1.0) == (
            "group GEM has no STANDBY: its members have no values for it in the site file"
        )


async def test_GIVEN_a_furnace_and_a_channel_WHEN_moved_THEN_temperature_and_voltage_arrive_and_OFF_makes_it_safe() -> (
    None
):
    group = {
        "name": "GEM",
        "members": ["FURN1", "GEM:DRIFT"],
        "order": ["FURN1", "GEM:DRIFT"],
        "member": {"FURN1": {"on": 80.0}, "GEM:DRIFT": {"on": 500.0}},
    }
    async with site(group) as plant:
        assert plant["GRP:GEM:STATE"].val == 0
        put = plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(60.0)
        assert writes(plant) == []
        assert await plant.outcome(put, 400.0) == ""
        assert abs(plant.furnace.temperature - 80.0) < 2.0
        assert plant.channel("HV1:CH00").volts == 500.0
        assert await plant.outcome(plant.start("GRP:GEM:GO", OFF), 60.0) == ""
        assert [name for _, name, _ in plant.furnace.writes] == ["TSET", "SAFE.CMD"]
        await plant.clock.advance(5.0)
        assert plant.furnace.target == 20.0


async def test_GIVEN_neighbours_WHEN_moved_up_and_down_THEN_they_never_differ_by_more_than_permitted() -> None:
    group = {
        "name": "GEM",
        "members": ["GEM:*"],
        "neighbours": [{"names": ["GEM:DRIFT", "GEM:G3", "GEM:G2"], "max_difference": 200.0}],
        "member": {"GEM:DRIFT": {"on": 1100.0}, "GEM:G3": {"on": 950.0}, "GEM:G2": {"on": 800.0}},
    }
    async with site(group) as plant:
        plant.channel("HV1:CH01").ramp = 13.0  # one is slower than the others
        plant.channel("HV1:CH02").setting = 900.0  # what the setting happens to be before it is switched on
        await plant.clock.advance(6.0)
        worst = 0.0
        for state in (ON, OFF):
            put = plant.start("GRP:GEM:GO", state)
            until = plant.clock.now + 600.0
            while not put.done() and plant.clock.now < until:
                await plant.clock.advance(0.5)
                for device in plant.devices.values():
                    device.pass_time()
                volts = [plant.channel(f"HV1:CH0{n}").volts for n in range(3)]
                worst = max(worst, abs(volts[0] - volts[1]), abs(volts[1] - volts[2]))
            assert put.done()
            put.result()
        assert 150.0 <= worst <= 200.5
        assert len(writes(plant)) < 120


async def test_GIVEN_a_group_that_cannot_be_looked_at_WHEN_shown_THEN_its_state_is_INVALID_until_it_can() -> None:
    async with site() as plant:
        group = plant.automation.groups["GEM"]
        known = group.state

        def state() -> Never:
            raise KeyError("x")

        group.state = state  # type: ignore[method-assign]
        plant.channel("HV1:CH00").setting = 10.0
        await plant.clock.advance(6.0)
        assert plant["GRP:GEM:STATE"].sevr == INVALID
        group.state = known  # type: ignore[method-assign]
        plant.channel("HV1:CH00").setting = 20.0
        await plant.clock.advance(6.0)
        assert (plant["GRP:GEM:STATE"].val, plant["GRP:GEM:STATE"].sevr) == (0, 0)


async def test_GIVEN_a_neighbour_that_does_not_come_down_WHEN_put_to_OFF_THEN_everything_is_switched_off_at_once() -> (
    None
):
    group = {
        "name": "GEM",
        "members": ["GEM:*"],
        "neighbours": [{"names": ["GEM:DRIFT", "GEM:G3"], "max_difference": 200.0}],
        "on": 900.0,
    }
    async with site(group) as plant:
        await arrive(plant, ON)
        plant.channel("HV1:CH01").stuck = True
        put = plant.start("GRP:GEM:GO", OFF)
        await plant.clock.advance(40.0)
        assert plant.channel("HV1:CH00").on, "it waits for its neighbour"
        assert await plant.outcome(put, 60.0) == ""
        assert not any(plant.channel(f"HV1:CH0{n}").on for n in range(3))
        assert str(plant["GRP:GEM:MSG"].val).startswith("OFF, all at once: GEM:DRIFT and 1 more not coming down [by")


async def test_GIVEN_a_tripped_neighbour_WHEN_the_others_are_lowered_THEN_its_voltage_is_minded() -> None:
    group = {
        "name": "GEM", "members": ["GEM:*"], "on_trip": "standby", "standby": 300.0,
        "neighbours": [{"names": ["GEM:DRIFT", "GEM:G3", "GEM:G2"], "max_difference": 350.0}],
        "member": {"GEM:DRIFT": {"on": 1100.0}, "GEM:G3": {"on": 950.0}, "GEM:G2": {"on": 800.0}},
    }  # fmt: skip
    async with site(group) as plant:
        await arrive(plant, ON)
        plant.channel("HV1:CH01").ramp = 5.0
        plant.channel("HV1:CH01").on, plant.channel("HV1:CH01").tripped = False, True  # it comes down slowly
        for _ in range(600):
            await plant.clock.advance(0.5)
            plant.devices["HV1"].pass_time()
            volts = [plant.channel(f"HV1:CH0{n}").volts for n in range(3)]
            assert max(abs(volts[0] - volts[1]), abs(volts[1] - volts[2])) <= 350.5, volts
        assert volts == [300.0, 0.0, 300.0]


async def test_GIVEN_a_ramp_WHEN_turned_round_THEN_what_it_may_have_reached_since_it_was_read_counts() -> None:
    async with site(order=["GEM:*"]) as plant:
        plant.start("GRP:GEM:GO", ON)
        await plant.clock.advance(5.0)
        member = plant.automation.groups["GEM"]._members["HV1:CH00"]
        plant.start("GRP:GEM:GO", OFF)
        await tick()
        assert (member.on, max(member.may_be)) == (False, 1000.0)
        await plant.clock.advance(2.0)
        assert max(member.may_be) < 400.0
