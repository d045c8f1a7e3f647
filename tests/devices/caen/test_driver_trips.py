"""Outputs that go: what is a trip, what was a hand at the front panel, and what a switch of the unit does."""

from __future__ import annotations

import asyncio

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.errors import Withdrawn
from devices.model import Level
from devices.permit import Permit
from devices.rules.hv_channel import State
from tests.devices.caen.bench import Bench, bench

WATCHED = ("STATE", "TRIP", "TRIP.COUNT", "ON.RBV", "STAT.TRIP", "STAT.OVT", "VDIFF", "SETTLED")


async def at_voltage(rig: Bench, volts: float = 500.0, by: str = "us") -> None:
    """Bring channel 0 to a voltage, by a put or elsewhere."""
    channel = rig.model.channels[0]
    channel.vset = volts
    await rig.start()
    if by == "us":
        await rig.driver.write("CH00.ON", 1)
    else:
        channel.switch_on()
    rig.pass_time(volts / channel.rup + 5.0)
    for _ in range(3):
        await rig.look(*WATCHED)


async def looks(rig: Bench, count: int, seconds: float = 1.0) -> dict[str, tuple[object, Level]]:
    for _ in range(count):
        rig.pass_time(seconds)
        found = await rig.look(*WATCHED)
    return {name: (reading.value, reading.level) for name, reading in found.items()}


@pytest.mark.parametrize("by", ["us", "panel"])
async def test_the_trip_bit_with_other_bits_coming_and_going_is_a_trip(by):
    rig = bench()
    await at_voltage(rig, by=by)
    rig.model.trip(0)
    for word in (128, 160, 128):
        rig.model.corrupt_status(0, word)
        found = await looks(rig, 1)
    assert (found["TRIP"], found["TRIP.COUNT"][0]) == ((1, Level.MAJOR), 1)


@pytest.mark.parametrize("by", ["us", "panel"])
async def test_a_collapse_with_status_33_is_a_trip_however_the_output_was_switched_on(by):
    """Recorded on a DT1470ET: ON and UNV, the output decayed, no trip bit, BDALARM 0."""
    rig = bench(CaenModel(Profile.B))
    await at_voltage(rig, by=by)
    rig.model.channels[0].collapsed = True
    rig.model.channels[0].forced = 32
    found = await looks(rig, 3)
    assert (found["STATE"][0], found["TRIP"]) == (State.TRIPPED, (1, Level.MAJOR))


@pytest.mark.parametrize("ramp_down", [500.0, 50.0])
@pytest.mark.parametrize("profile", Profile)
async def test_off_at_the_panel_is_no_trip_however_short_the_ramp(ramp_down, profile):
    rig = bench(CaenModel(profile))
    rig.model.channels[0].rdw = ramp_down
    await at_voltage(rig, 400.0)
    rig.model.channels[0].switch_off()
    found = await looks(rig, 14)
    assert (found["STATE"][0], found["TRIP.COUNT"][0]) == (State.OFF, 0)
    assert found["ON.RBV"] == (0, Level.MAJOR)


@pytest.mark.parametrize(("trip_time", "limiting"), [(1000.0, 1.0), (1000.0, 1100.0), (60.0, 1.0)])
async def test_off_at_the_panel_at_the_current_limit_is_no_trip_before_the_trip_time(trip_time, limiting):
    rig = bench()
    channel = rig.model.channels[0]
    channel.iset, channel.trip, channel.rdw = 30.0, trip_time, 500.0
    await at_voltage(rig, 400.0)
    rig.pass_time(limiting)
    assert (await rig.look("STAT.OVC"))["STAT.OVC"].value == 1
    channel.switch_off()
    found = await looks(rig, 8)
    assert (found["TRIP.COUNT"][0], found["STATE"][0], found["ON.RBV"]) == (0, State.OFF, (0, Level.MAJOR))


@pytest.mark.parametrize("profile", Profile)
async def test_a_trip_that_only_the_alarm_word_shows_is_a_trip(profile):
    """The bit was cleared at the panel between two looks; the ramp may have been short enough."""
    rig = bench(CaenModel(profile))
    rig.model.channels[0].rdw = 500.0
    await at_voltage(rig, 400.0)
    rig.model.trip(0)
    rig.model.channels[0].tripped = False
    since = len(rig.link.log)
    found = await looks(rig, 3)
    assert (found["TRIP.COUNT"][0], found["STATE"][0]) == (1, State.TRIPPED)
    assert any("BDALARM" in line for line in rig.sent(since))


async def test_an_old_trip_in_the_alarm_word_makes_no_new_one():
    rig = bench()
    rig.model.channels[0].rdw = 500.0
    rig.model.trip(3)
    await at_voltage(rig, 400.0)
    await rig.driver.read(["BD.ALARM"])
    rig.model.channels[0].switch_off()
    assert (await looks(rig, 8))["TRIP.COUNT"][0] == 0


async def test_an_output_that_goes_faster_than_it_ramps_is_a_trip():
    rig = bench()
    await at_voltage(rig, 500.0)
    await rig.driver.read(["CH00.RAMPDN.RBV"])
    rig.model.channels[0].switch_off(fast=True)
    rig.pass_time(0.5)
    assert (await looks(rig, 2))["TRIP.COUNT"][0] == 1


async def test_a_channel_disabled_at_its_switch_raises_one_minor_alarm_on_its_state():
    for options, level in (({}, Level.MINOR), ({"disabled_severity": "MAJOR"}, Level.MAJOR)):
        rig = bench(CaenModel(Profile.B), options=options)
        rig.model.channels[0].forced = 1024
        await rig.start()
        found = await looks(rig, 6)
        assert found["STATE"] == (State.INHIBITED, level)
        assert {name for name, (_, one) in found.items() if one} == {"STATE"}


async def test_the_voltage_settles_and_the_display_ranges_are_those_of_the_unit():
    rig = bench(options={"settle": 2, "settled_band": 1.5})
    await at_voltage(rig)
    assert (await looks(rig, 3))["SETTLED"][0] == 1
    rig.model.channels[0].error_volts = 2.0
    assert (await looks(rig, 1))["SETTLED"][0] == 0
    ranges = {"VMON": (0.0, 4000.0), "IMON": (0.0, 3000.0), "VSET.RBV": (0.0, 4000.0), "RAMPUP.RBV": (1.0, 500.0),
              "TRIP.V": (0.0, 4000.0), "STATE": None, "VDIFF": None, "PDWN.RBV": None}  # fmt: skip
    assert {suffix: rig.driver.display_range(f"CH00.{suffix}") for suffix in ranges} == ranges
    await rig.driver.write("CH00.IRANGE", 1)
    assert rig.driver.display_range("CH00.IMON") == (0.0, 300.0)
    assert rig.driver.display_range("BD.NAME") is None


async def test_an_output_switched_off_here_is_no_question():
    rig = bench()
    rig.model.channels[0].rdw = 500.0
    await at_voltage(rig, 400.0)
    await rig.driver.write("CH00.ON", 0)
    since = len(rig.link.log)
    found = await looks(rig, 5)
    assert not any("BDALARM" in line for line in rig.sent(since))
    assert (found["TRIP.COUNT"][0], found["ON.RBV"]) == (0, (0, Level.OK))


async def test_an_acknowledgement_asks_for_leave_like_any_other_write():
    rig = bench()
    await at_voltage(rig)
    rig.model.trip(0)
    await looks(rig, 2)
    acknowledge = rig.driver.write("CH00.TRIP.ACK.CMD", 1)
    with pytest.raises(Withdrawn, match="not armed"):
        await asyncio.create_task(acknowledge, context=Permit(lambda: "not armed").context())
    assert rig.driver.latched().keys() == {"CH00.TRIP"}
    found = await rig.driver.write("CH00.TRIP.ACK.CMD", 1)
    assert (found["CH00.TRIP"].value, rig.driver.latched()) == (0, {})
