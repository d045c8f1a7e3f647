"""What the readings of a supply warn of: trips, status bits, interlock, settings that others changed."""

from __future__ import annotations

import pytest

from devices.caen.protocol import ChannelStatus, Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.status import layout_of
from devices.model import Cause, Level
from devices.rules.hv_channel import State
from tests.devices.caen.bench import FAST, bench


async def test_channels_that_the_unit_does_not_have_are_invalid():
    rig = bench(CaenModel(channels=2))
    await rig.driver.connect()
    found = await rig.driver.read(["CH01.VMON", "CH02.VMON", "CH03.STATE", "CH03.VSET.HI", "BD.NCH"])
    assert found["CH01.VMON"].level is Level.OK
    assert (found["CH02.VMON"].level, found["CH02.VMON"].cause) == (Level.INVALID, Cause.READ)
    assert found["CH03.STATE"].value == State.UNKNOWN
    assert found["CH03.VSET.HI"].level is Level.INVALID
    assert (found["BD.NCH"].value, found["BD.NCH"].level, found["BD.NCH"].cause) == (
        2, Level.MINOR, Cause.STATE,
    )  # fmt: skip


async def test_interlock_kill_and_alarm_word():
    rig = bench()
    await rig.start()
    rig.model.interlock(True)
    found = await rig.driver.read(["BD.ILK", "BD.ALARM", *FAST])
    assert (found["BD.ILK"].value, found["BD.ILK"].level) == (1, Level.MAJOR)
    assert (found["BD.ALARM"].value, found["BD.ALARM"].level) == (4096, Level.MINOR)
    assert (found["CH02.STATE"].value, found["CH02.STATE"].level) == (State.INHIBITED, Level.OK)
    rig.model.interlock(False)
    rig.model.kill(1, True)
    found = await rig.driver.read(FAST)
    assert [found[f"CH{n:02d}.STATE"].value for n in range(4)] == [0, State.KILLED, 0, 0]


async def test_an_interlock_is_one_alarm_however_many_channels_are_on():
    rig = bench()
    for channel in rig.model.channels:
        channel.vset = 500.0
    await rig.start()
    for number in range(4):
        await rig.driver.write(f"CH{number:02d}.ON", 1)
    rig.pass_time(15.0)
    await rig.driver.read([*FAST, "CH00.ON.RBV"])
    rig.model.interlock(True)
    followers = [f"CH{n:02d}.{suffix}" for n in range(4) for suffix in ("STATE", "STAT.INTLCK", "ON.RBV", "TRIP")]
    for _ in range(6):
        rig.pass_time(1.0)
        found = dict(await rig.driver.read([*FAST, *followers]))
        assert {found[name].level for name in followers} == {Level.OK}
    assert found["CH00.STATE"].value == State.INHIBITED
    assert rig.sent().count("$CMD:MON,PAR:BDILK") == 2, "at the start, and when the channels began to report it"
    rig.model.interlock(False)
    for _ in range(5):
        rig.pass_time(1.0)
        found = dict(await rig.driver.read([*FAST, *followers, "BD.ILK"]))
    assert (found["CH00.STATE"].value, found["CH00.ON.RBV"].level) == (State.OFF, Level.MAJOR)


async def test_the_board_is_asked_and_shown_at_once_when_a_channel_reports_an_interlock():
    rig = bench()
    await rig.start()
    rig.model.interlock(True)
    found = await rig.driver.read(FAST)
    assert (found["BD.ILK"].value, found["BD.ILK"].level) == (1, Level.MAJOR)


@pytest.mark.parametrize("answer", ["#CMD:OK,VAL:NO;", "#CMD:ERR", "#CMD:OK,VAL:?"])
async def test_an_interlock_that_the_board_does_not_confirm_is_an_alarm_of_the_channels(answer):
    rig = bench()
    await rig.start()
    rig.link.intercept = lambda request: answer if b"BDILK" in request else None
    rig.model.interlock(True)
    for _ in range(3):
        found = await rig.driver.read([*FAST, "CH02.STAT.INTLCK", "BD.ILK"])
    assert (found["CH02.STATE"].value, found["CH02.STATE"].level) == (State.INHIBITED, Level.MAJOR)
    assert found["CH02.STAT.INTLCK"].level is Level.MAJOR


async def test_a_trip_is_latched_and_acknowledged_without_a_byte():
    rig = bench()
    rig.model.channels[0].vset = 500.0
    await rig.start()
    await rig.driver.write("CH00.ON", 1)
    rig.pass_time(15.0)
    await rig.look()
    rig.model.trip(0)
    rig.pass_time(1.0)
    assert (await rig.look("TRIP"))["TRIP"].value == 0
    rig.pass_time(1.0)
    found = await rig.look("TRIP", "TRIP.COUNT", "TRIP.V", "TRIP.I", "TRIP.TIME", "STATE", "STAT.TRIP")
    assert (found["TRIP"].value, found["TRIP"].level) == (1, Level.MAJOR)
    assert (found["TRIP.COUNT"].value, found["TRIP.V"].value, found["TRIP.I"].value) == (1, 500.0, 50.0)
    assert found["TRIP.TIME"].value
    assert (found["STAT.TRIP"].value, found["STAT.TRIP"].level) == (1, Level.MAJOR)
    assert found["STATE"].value == State.TRIPPED
    await rig.driver.write("CH00.CLR.CMD", 1)
    rig.pass_time(1.0)
    found = await rig.look("TRIP", "STATE", "STAT.TRIP")
    assert (found["STAT.TRIP"].value, found["TRIP"].value, found["STATE"].value) == (0, 1, State.OFF)
    sent = len(rig.link.log)
    readings = await rig.driver.write("CH00.TRIP.ACK.CMD", 1)
    assert (readings["CH00.TRIP"].value, readings["CH00.TRIP.ACK.CMD"].value) == (0, 0)
    assert len(rig.link.log) == sent
    assert (await rig.look("TRIP"))["TRIP"].level is Level.OK


async def test_one_corrupted_status_word_is_no_trip():
    rig = bench()
    await rig.start()
    rig.model.corrupt_status(0, 683)
    assert (await rig.look("TRIP", "STAT"))["STAT"].value == 683
    for _ in range(3):
        assert (await rig.look("TRIP", "TRIP.COUNT"))["TRIP.COUNT"].value == 0


async def test_overcurrent_is_minor_and_major_when_it_lasts():
    rig = bench()
    rig.model.channels[0].vset, rig.model.channels[0].iset, rig.model.channels[0].trip = 500.0, 10.0, 1000.0
    await rig.start()
    await rig.driver.write("CH00.ON", 1)
    levels = []
    for _ in range(60):
        rig.pass_time(1.0)
        levels.append((await rig.look("STAT.OVC", "STATE", "STAT.UNV"))["STAT.OVC"].level)
    assert levels[0] is Level.OK
    assert levels[12] is Level.MINOR
    assert levels[-1] is Level.MAJOR
    assert levels.index(Level.MAJOR) - levels.index(Level.MINOR) == 30  # in the look in which the 30 s are over
    found = await rig.look("STATE", "STAT.UNV", "IMON")
    assert (found["STATE"].value, found["STATE"].level) == (State.DEVIATING, Level.MAJOR)  # STAT:OVC tells why
    assert found["STAT.UNV"].level is Level.MINOR
    assert (found["IMON"].level, found["IMON"].cause) == (Level.MINOR, Cause.HIGH)


@pytest.mark.parametrize(
    ("profile", "bit", "name", "level", "state"),
    [
        (Profile.A, 64, "MAXV", Level.MINOR, State.OFF),
        (Profile.A, 256, "MAXPW", Level.MINOR, State.FAULT),
        (Profile.A, 512, "TWARN", Level.MINOR, State.OFF),
        (Profile.B, 512, "TWARN", Level.MAJOR, State.FAULT),
        (Profile.A, 1024, "OVT", Level.MAJOR, State.FAULT),
        (Profile.B, 1024, "OVT", Level.OK, State.INHIBITED),
        (Profile.A, 8192, "CALERR", Level.MAJOR, State.FAULT),
    ],
)
async def test_bits_mean_what_their_profile_says(profile, bit, name, level, state):
    rig = bench(CaenModel(profile))
    await rig.start()
    rig.model.channels[0].forced = bit
    found = await rig.look(f"STAT.{name}", "STATE")
    assert (found[f"STAT.{name}"].value, found[f"STAT.{name}"].level) == (1, level)
    assert found["STATE"].value == state


async def test_an_unknown_status_bit_is_minor():
    rig = bench()
    await rig.start()
    rig.model.corrupt_status(0, 1 << 14)
    found = await rig.look("STAT", "STATE")
    assert (found["STAT"].level, found["STATE"].value) == (Level.MINOR, State.OFF)


async def test_settings_that_switch_a_protection_off_are_minor():
    rig = bench()
    channel = rig.model.channels[0]
    channel.trip, channel.vset, channel.maxv = 1000.0, 500.0, 400.0
    await rig.start()
    found = await rig.driver.read(["CH00.TRIPTIME.RBV", "CH01.TRIPTIME.RBV", "CH00.MAXV.RBV"])
    assert [reading.level for reading in found.values()] == [Level.MINOR, Level.OK, Level.MINOR]
    allowed = bench(rig.model, options={"allow_infinite_trip": True})
    await allowed.start()
    assert (await allowed.driver.read(["CH00.TRIPTIME.RBV"]))["CH00.TRIPTIME.RBV"].level is Level.OK
    alone = bench(rig.model)
    await alone.driver.connect()
    assert (await alone.driver.read(["CH00.MAXV.RBV"]))["CH00.MAXV.RBV"].level is Level.MINOR  # it asks for VSET, too
    rig.model.channels[0].maxv = 500.0
    assert (await alone.driver.read(["CH00.MAXV.RBV"]))["CH00.MAXV.RBV"].level is Level.OK  # not below VSET


async def test_the_board_is_asked_once_when_any_channel_begins_to_report_an_interlock():
    rig = bench()
    await rig.start()
    rig.model.channels[1].forced = ChannelStatus.INTLCK
    since = len(rig.link.log)
    for _ in range(3):
        rig.pass_time(1.0)
        await rig.look("STATE", channel=1)
    assert [line for line in rig.sent(since) if "BDILK" in line] == ["$CMD:MON,PAR:BDILK"]


async def test_the_low_range_warns_before_it_ends():
    rig = bench(CaenModel(loads=(1.0,)))
    channel = rig.model.channels[0]
    channel.imrange, channel.iset, channel.vset = "LOW", 300.0, 286.0
    await rig.start()
    assert rig.driver.precision("CH00.IMON") == 3
    await rig.driver.write("CH00.ON", 1)
    rig.pass_time(20.0)
    await rig.look()
    assert (await rig.driver.read(["CH00.IRANGE.RBV"]))["CH00.IRANGE.RBV"].level is Level.MINOR


async def test_polarity_turned_round_while_away_is_major():
    rig = bench()
    await rig.start()
    assert (await rig.driver.read(["CH00.POL"]))["CH00.POL"].level is Level.OK
    await rig.driver.close()
    rig.model.channels[0].polarity = "-"
    await rig.start()
    found = (await rig.driver.read(["CH00.POL"]))["CH00.POL"]
    assert (found.value, found.level) == (1, Level.MAJOR)


async def test_a_setting_changed_elsewhere_is_minor_after_two_polls():
    rig = bench()
    await rig.start()
    rig.model.channels[0].vset, rig.model.channels[0].pdwn = 123.4, "RAMP"
    names = ["CH00.VSET.RBV", "CH00.PDWN.RBV", "CH00.VSET"]
    levels = []
    for _ in range(3):
        found = await rig.driver.read(names)
        levels.append([reading.level for reading in found.values()])
    assert levels == [[Level.OK] * 3, [Level.OK] * 3, [Level.MINOR, Level.MINOR, Level.OK]]
    assert (found["CH00.VSET.RBV"].value, found["CH00.VSET"].value) == (123.4, 0.0)
    assert found["CH00.VSET.RBV"].cause is Cause.STATE


async def test_demands_survive_a_reconnection_and_are_never_sent():
    rig = bench()
    await rig.start()
    await rig.driver.write("CH00.VSET", 500)
    await rig.driver.close()
    rig.model.channels[0].vset = 100.0
    await rig.start()
    for _ in range(3):
        found = await rig.driver.read(["CH00.VSET", "CH00.VSET.RBV"])
    assert (found["CH00.VSET"].value, found["CH00.VSET.RBV"].value) == (500.0, 100.0)
    assert found["CH00.VSET.RBV"].level is Level.MINOR
    assert rig.sets() == ["$CMD:SET,CH:0,PAR:VSET,VAL:500.0"]


async def test_local_is_read_where_the_unit_tells():
    rig = bench(CaenModel(Profile.B))
    await rig.start()
    rig.model.local = True
    found = (await rig.driver.read(["BD.LOCAL"]))["BD.LOCAL"]
    assert (found.value, found.level) == (1, Level.MINOR)


async def test_units_of_the_803x_family_have_another_status_layout():
    rig = bench(CaenModel(name="R8033"))
    await rig.start()
    words = {
        64: ("TRIP", State.OFF, Level.MAJOR),
        128: ("MAXPW", State.FAULT, Level.MINOR),
        1024: ("KILL", State.KILLED, Level.MAJOR),
        2048: ("INTLCK", State.INHIBITED, Level.MAJOR),
        4096: ("OVT", State.INHIBITED, Level.OK),
        1 << 15: ("MAXV", State.OFF, Level.MINOR),
        1 << 16: ("CALERR", State.FAULT, Level.MAJOR),
    }
    for word, (name, state, level) in words.items():
        rig.model.corrupt_status(0, word)
        found = await rig.look("STAT", "STATE", f"STAT.{name}")
        assert (found["STAT"].value, found["STAT"].level) == (word, Level.OK)
        assert (found[f"STAT.{name}"].value, found[f"STAT.{name}"].level) == (1, level)
        assert found["STATE"].value == state
    for _ in range(2):
        rig.model.corrupt_status(0, 64)
        found = await rig.look("TRIP", "STAT.MAXV")
    assert (found["TRIP"].value, found["STAT.MAXV"].value) == (1, 0)


@pytest.mark.parametrize(("name", "layout"), [
    ("DT5533E", "DT55xxE"), ("DT5533EN", "DT55xxE"), ("DT5521HEM", "DT55xxE"), ("N1470", "N1470"),
    ("NDT1470", "N1470"), ("DT1470ET", "N1470"), ("R1419ET", "N1470"), ("N1471HA", "N1470"), ("N1570", "N1470"),
    ("R8033", "803x"), ("N8033", "803x"), ("R8033DM", "803x"), ("DT8033", "803x"), ("DT1415ET", "803x"),
])  # fmt: skip
def test_the_layout_is_found_by_the_name_of_the_unit(name, layout):
    found = layout_of(name, Profile.A)
    assert (found.name, found.known) == (layout, True)


async def test_a_setting_outside_the_limits_of_the_site_is_major_however_it_was_made():
    rig = bench(channel_limits={0: {"VSET": (0, 2000), "ISET": (0, 150)}})
    rig.model.channels[0].vset = 3900.0
    rig.model.channels[1].vset = 3900.0
    await rig.start()
    found = await rig.driver.read(["CH00.VSET.RBV", "CH00.ISET.RBV", "CH01.VSET.RBV"])
    assert [reading.level for reading in found.values()] == [Level.MAJOR, Level.OK, Level.OK]


async def test_a_trip_that_is_latched_stays_over_a_lost_link():
    rig = bench()
    await rig.start()
    assert list(rig.driver.latched()) == []
    rig.model.trip(2)
    for _ in range(2):
        await rig.driver.read(FAST)
    await rig.driver.close()
    latched = rig.driver.latched()
    assert list(latched) == ["CH02.TRIP"]
    trip = latched["CH02.TRIP"]
    assert (trip.value, trip.level, trip.cause) == (1, Level.MAJOR, Cause.STATE)


async def test_what_is_computed_with_a_setting_is_invalid_while_the_setting_is():
    rig = bench()
    rig.model.channels[0].vset = 500.0
    await rig.start()
    await rig.driver.write("CH00.ON", 1)
    rig.link.intercept = lambda request: "#CMD:OK,VAL:?;" if b"PAR:VSET" in request else None
    levels = []
    for _ in range(3):
        await rig.driver.read(["CH00.VSET.RBV"])
        found = await rig.look("VDIFF", "SETTLED", "STATE")
        levels.append([found[name].level for name in ("VDIFF", "SETTLED", "STATE", "VMON")])
    assert levels[0] == [Level.OK] * 4
    assert levels[2] == [Level.INVALID, Level.INVALID, Level.OK, Level.OK]


@pytest.mark.parametrize("load", [10.0, 1000.0])
async def test_a_trip_that_no_scan_has_seen_is_latched_before_the_clear_of_another_channel_wipes_it_out(load):
    rig = bench(CaenModel(loads=(load,)))
    await rig.start()
    for suffix, value in (("RAMPUP", 500.0), ("RAMPDN", 500.0), ("VSET", 500.0), ("ON", 1)):
        await rig.driver.write(f"CH01.{suffix}", value)
    for _ in range(4):
        rig.pass_time(1.0)
        await rig.driver.read(FAST)
    rig.model.trip(1)
    rig.pass_time(0.1)
    await rig.driver.write("CH00.CLR.CMD", 1)
    rig.pass_time(1.0)
    found = await rig.driver.read([*FAST, "CH01.TRIP", "CH01.TRIP.COUNT"])
    assert found["CH01.STAT"].value == 0
    assert (found["CH01.TRIP"].value, found["CH01.TRIP"].level, found["CH01.TRIP.COUNT"].value) == (1, Level.MAJOR, 1)


@pytest.mark.parametrize(
    ("name", "profile", "word", "expected"),
    [
        ("DT5533E", Profile.A, 1 << 7 | 1 << 3, False),
        ("DT5533E", Profile.A, 1 << 7 | 1 << 11, True),
        ("DT5533E", Profile.A, 1 << 12, True),
        ("DT5533E", Profile.A, 1 << 10, True),
        ("NDT1470", Profile.B, 0b1111, False),
        ("NDT1470", Profile.B, 1 << 4, True),
    ],
)
def test_the_memory_of_alarms_tells_protections_from_trips(name, profile, word, expected):
    assert layout_of(name, profile).protected(word) is expected


async def test_an_interlock_of_which_the_board_does_not_report_any_more_is_an_alarm_of_the_channels():
    rig = bench()
    await rig.start()
    rig.model.interlock(True)
    names = [*FAST, "CH02.STAT.INTLCK", "BD.ILK"]
    found = await rig.driver.read(names)
    assert (found["BD.ILK"].level, found["CH02.STATE"].level) == (Level.MAJOR, Level.OK)
    rig.link.intercept = lambda request: "#CMD:OK,VAL:?" if b"BDILK" in request else None
    for _ in range(2):
        found = await rig.driver.read(names)
    assert found["BD.ILK"].level is Level.INVALID
    assert (found["CH02.STATE"].value, found["CH02.STATE"].level) == (State.INHIBITED, Level.MAJOR)
    assert found["CH02.STAT.INTLCK"].level is Level.MAJOR


async def test_an_interlock_that_was_open_before_the_link_was_lost_is_asked_for_again():
    rig = bench()
    await rig.start()
    rig.model.interlock(True)
    await rig.driver.read(FAST)
    await rig.driver.connect()
    rig.link.intercept = lambda request: "#CMD:OK,VAL:NO;" if b"BDILK" in request else None
    found = await rig.driver.read(FAST)
    assert (found["BD.ILK"].value, found["CH02.STATE"].level) == (0, Level.MAJOR)
