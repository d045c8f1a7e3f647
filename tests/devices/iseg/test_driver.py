"""Connecting to and reading simulated modules of several firmwares, without writing anything."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import DeviceError, LinkDown, ReplyTimeout
from devices.iseg.catalogue import EVENT_BITS, MODULE, STATUS_BITS
from devices.iseg.channel import conditions
from devices.iseg.edcp.bits import ChannelEvent, ChannelStatus, ModuleOption, ModuleStatus
from devices.iseg.question import Many
from devices.iseg.simulator import answers as sim_iseg_answers
from devices.iseg.simulator.module import E08F2, E16C1, F460N, FLEX, OLD_MASK, TYPES
from devices.model import Cause, Kind, Level
from devices.rules.hv_channel import State
from tests.devices.iseg.bench import bench, make_driver, make_module
from tests.fair_time import until

COUNTS = {"E16C1": 16, "E08F2": 8, "F460n": 16, "E08C0": 8, "FLEX": 16, "NHR": 16}


@pytest.mark.parametrize("name", TYPES)
async def test_GIVEN_any_firmware_WHEN_everything_is_read_THEN_every_signal_has_a_value_of_its_kind(name):
    begun = time.time()
    async with bench(TYPES[name], COUNTS[name]) as made:
        found = await made.driver.read(made.everything())
        assert set(found) == set(made.everything())
        kinds = {Kind.FLOAT: float | int, Kind.INT: int, Kind.ENUM: int, Kind.TEXT: str}
        for signal in made.driver.signals().values():
            reading = found[signal.name]
            assert isinstance(reading.value, kinds[signal.kind]), (signal, reading)
            assert reading.level <= Level.MINOR, (signal, reading)
            assert begun <= reading.time <= time.time()
            if signal.kind is Kind.ENUM:
                assert 0 <= reading.value < len(signal.labels)
        assert made.written() == []
        assert made.driver.stats.errors == 0


async def test_GIVEN_each_firmware_WHEN_connected_THEN_it_is_read_in_the_form_that_it_understands():
    forms = {E16C1: Many.ALL, OLD_MASK: Many.MASK, F460N: Many.SINGLE}
    for firmware, form in forms.items():
        async with bench(firmware, 8) as made:
            assert made.driver._unit.many is form


async def test_GIVEN_a_board_of_sixteen_WHEN_a_fast_scan_runs_THEN_it_costs_four_requests():
    async with bench() as made:
        names = [f"CH{n:02d}.{suffix}" for n in range(16) for suffix in ("VMON", "IMON", "STAT", "STATE", "TRIP")]
        made.segment.received.clear()
        await made.driver.read(names)
        asked = [one.frame.data.hex() for one in made.segment.received]
        assert sorted(asked) == sorted(["1000", "6102000000", "6103000000", "6000000000"])
        assert asked[-1] == "6000000000"  # the status after the values


async def test_GIVEN_an_identity_WHEN_read_THEN_it_is_that_of_the_module():
    async with bench(E08F2, 8, options={"serial": "7900016"}) as made:
        found = await made.driver.read(list(MODULE))
        values = {name: found[name].value for name in ("MOD.NAME", "MOD.SERIAL", "MOD.FW", "MOD.ARTICLE", "MOD.NCH")}
        assert list(values.values()) == ["E08F2", "7900016", "4.40.0.0", "EHS E08F2", 8]
        assert found["MOD.SERIAL"].level is Level.OK
        assert found["MOD.TEMP"].value == 31.5
        assert (found["MOD.P24"].value, found["MOD.P5"].value) == (24.1, 5.02)


async def test_GIVEN_another_serial_number_than_expected_WHEN_read_THEN_it_alarms():
    async with bench(options={"serial": "1"}) as made:
        reading = (await made.driver.read(["MOD.SERIAL"]))["MOD.SERIAL"]
        assert (reading.level, reading.cause) == (Level.MAJOR, Cause.STATE)


async def test_GIVEN_currents_in_ampere_WHEN_read_THEN_they_are_microampere_and_volts_magnitudes():
    async with bench(E08F2, 8) as made:
        channel = made.module.channels[3]
        with made.segment.lock:
            channel.vset, channel.on, channel.ramp = 250.0, True, 250.0
            made.segment.advance()
            made.module.measure()
        found = await made.look("VSET.RBV", "ISET.RBV", "VNOM", "INOM", "POL", "EFFLOAD")
        values = {name: reading.value for name, reading in found.items()}
        assert values["VMON"] == pytest.approx(250.0)
        assert values["IMON"] == pytest.approx(0.25)
        assert (values["VSET.RBV"], values["ISET.RBV"]) == (250.0, 1000.0)
        assert (values["VNOM"], values["INOM"], values["POL"]) == (6000.0, 1000.0, 1)
        assert values["EFFLOAD"] == pytest.approx(1000.0)


async def test_GIVEN_channel_ramps_or_none_WHEN_read_THEN_they_are_in_volts_per_second():
    for firmware, expected in ((FLEX, 300.0), (F460N, 600.0)):
        async with bench(firmware) as made:
            found = await made.look("RAMPUP", "RAMPUP.RBV", "RAMPDN.RBV")
            assert {found[name].value for name in ("RAMPUP", "RAMPUP.RBV", "RAMPDN.RBV")} == {expected}


async def test_GIVEN_a_module_that_does_not_tell_its_channels_WHEN_connected_THEN_its_name_does():
    async with bench(OLD_MASK, 8) as made:
        assert made.driver._unit.channels == 8


async def test_GIVEN_fewer_channels_than_configured_WHEN_read_THEN_the_missing_ones_are_invalid():
    async with bench(E08F2, 8, connect=False) as made:
        made.driver = make_driver(made.segment, channels=16)
        try:
            await made.driver.connect()
            found = await made.driver.read(["MOD.NCH", "CH07.VMON", "CH08.VMON", "CH08.STATE", "CH08.VSET"])
            assert (found["MOD.NCH"].value, found["MOD.NCH"].level) == (8, Level.MINOR)
            assert found["CH07.VMON"].level is Level.OK
            assert (found["CH08.VMON"].value, found["CH08.VMON"].level) == (None, Level.INVALID)
            assert found["CH08.STATE"].value == State.UNKNOWN
            assert made.driver.limits("CH08.VSET") is None
        finally:
            await made.driver.close()


async def test_GIVEN_module_conditions_WHEN_they_are_bad_THEN_their_signals_alarm():
    async with bench() as made:
        names = ["MOD.SAFELOOP", "MOD.TEMPOK", "MOD.SUPPLYOK", "MOD.SERVICE", "MOD.SUMERR"]
        before = await made.driver.read(names)
        assert [before[name].value for name in names] == [1, 1, 1, 0, 0]
        assert all(before[name].level is Level.OK for name in names)
        with made.segment.lock:
            made.module.safety_loop, made.module.temperature = False, 60.0
            made.module.supply5, made.module.service = 4.0, True
            made.module.trip(2)
        after = await made.driver.read([*names, "CH03.VMON", "CH03.IMON", "CH03.STAT", "CH03.STATE"])
        assert [after[name].value for name in names] == [0, 0, 0, 1, 1]
        assert [after[name].level for name in names] == [Level.MAJOR] * 4 + [Level.MINOR]
        assert after["CH03.STATE"].value == State.FAULT


async def test_GIVEN_a_hardware_limit_WHEN_limits_are_asked_THEN_they_say_whose_they_are():
    site = {"limits": {"ISET": (0.0, 400.0)}, "channel_limits": {3: {"VSET": (10.0, 1500.0)}}}
    async with bench(**site) as made:
        assert made.driver.limits("CH03.VSET").high_from == "site limit"
        assert (made.driver.limits("CH03.VSET").low, made.driver.limits("CH03.VSET").high) == (10.0, 1500.0)
        assert (made.driver.limits("CH02.VSET").high, made.driver.limits("CH02.VSET").high_from) == (6000.0, "nominal")
        with made.segment.lock:
            made.module.volts_max, made.module.amps_max = 50.0, 30.0
        await made.driver.read(["MOD.VMAX", "MOD.IMAX"])
        assert made.driver.limits("CH02.VSET").high == 3000.0
        assert made.driver.limits("CH02.VSET").high_from == "hardware limit 50 %"
        assert made.driver.limits("CH02.ISET").high == 300.0
        assert made.driver.limits("CH02.VMON") is None
        assert await made.value("CH02.VSET.HI") == 3000.0
        assert made.driver.precision("CH02.VMON") is None


async def test_GIVEN_the_current_limit_in_ampere_WHEN_firmware_answers_so_THEN_it_is_understood():
    async with bench() as made:
        with made.segment.lock:
            made.module.amps_max = 5e-4
        await made.driver.read(["MOD.IMAX"])
        assert made.driver.limits("CH02.ISET").high == pytest.approx(500.0)


async def test_GIVEN_kill_or_fast_ramp_WHEN_limits_are_asked_THEN_the_ramp_is_limited_accordingly():
    fast = replace(E16C1, options=ModuleOption.EDCP | ModuleOption.FAST_RAMP)
    async with bench(fast) as made:
        assert made.driver.limits("MOD.RAMPV").high == 75.0
        await made.driver.write("MOD.KILLEN", 1)
        assert made.driver.limits("MOD.RAMPV").high == 1.0
        assert "kill" in made.driver.limits("MOD.RAMPV").high_from
        assert made.driver.limits("CH00.RAMPUP").high == 60.0


async def test_GIVEN_a_trip_WHEN_it_is_read_THEN_one_look_latches_it_with_the_values_before():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("VMON", 100.0)
        await made.look()
        with made.segment.lock:
            made.module.trip(3)
        found = await made.look("TRIP", "TRIP.COUNT", "TRIP.V", "STATE", "ON.RBV")
        assert (found["TRIP"].value, found["TRIP"].level) == (1, Level.MAJOR)
        assert (found["TRIP.COUNT"].value, found["TRIP.V"].value) == (1, 100.0)
        assert found["STATE"].value == State.TRIPPED


async def test_GIVEN_a_trip_and_on_again_between_two_looks_WHEN_its_event_is_read_THEN_it_is_latched_once():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("VMON", 100.0)
        await made.look("EVT")
        with made.segment.lock:
            channel = made.module.channels[3]
            channel.trip()
            channel.faults, channel.on = 0, True
            made.module.ramp_speed = 0.01  # its voltage is still low when it is looked at
            made.module.measure()
        assert (await made.look())["VMON"].value < 50.0
        found = await made.look("EVT", "TRIP", "TRIP.COUNT", "TRIP.V", "ON.RBV")
        with made.segment.lock:
            made.module.ramp_speed = 10.0
        assert (found["TRIP"].value, found["TRIP"].level) == (1, Level.MAJOR)
        assert (found["TRIP.COUNT"].value, found["TRIP.V"].value, found["ON.RBV"].value) == (1, 100.0, 1)
        await made.driver.write("CH03.TRIP.ACK.CMD", 1)
        await made.wait_for("STATE", State.ON)
        found = await made.look("EVT", "TRIP", "TRIP.COUNT", "EVT.TRIP")
        assert (found["TRIP"].value, found["EVT.TRIP"].value, found["TRIP.COUNT"].value) == (0, 1, 1)
        await made.driver.close()
        await made.driver.connect()  # an event of before is nothing new
        assert (await made.look("EVT", "TRIP"))["TRIP"].value == 0


async def test_GIVEN_a_trip_and_on_again_while_the_link_is_lost_WHEN_connected_again_THEN_it_is_latched():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("VMON", 100.0)
        await made.look("EVT")
        await made.driver.close()
        with made.segment.lock:
            channel = made.module.channels[3]
            channel.trip()
            channel.faults, channel.on = 0, True
        await made.driver.connect()
        found = await made.look("TRIP", "TRIP.COUNT", "ON.RBV")
        assert [reading.value for reading in found.values()][-3:] == [1, 1, 1]


async def test_GIVEN_a_trip_between_the_status_and_the_events_WHEN_both_are_read_THEN_it_counts_once(monkeypatch):
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("VMON", 100.0)
        await made.look("EVT")
        original = sim_iseg_answers._read_channel
        statuses: list[object] = []

        def late(module: Any, item: Any, number: Any) -> Any:
            value = original(module, item, number)
            if item.name == "ChannelStatus" and number == 3:
                statuses.append(value)
                return statuses[0]
            return value

        with made.segment.lock:
            monkeypatch.setattr(sim_iseg_answers, "_read_channel", late)
            statuses.append(made.module.channels[3].status())
            made.module.trip(3)
        assert (await made.look("EVT", "TRIP"))["TRIP"].value == 1
        monkeypatch.undo()
        for _ in range(3):
            found = await made.look("EVT", "TRIP", "TRIP.COUNT", "STATE")
        assert (found["TRIP.COUNT"].value, found["STATE"].value) == (1, State.TRIPPED)


async def test_GIVEN_a_trip_cleared_by_another_WHEN_read_THEN_the_latch_still_knows():
    async with bench() as made:
        with made.segment.lock:
            made.module.trip(3)
        await made.look("TRIP")
        with made.segment.lock:
            made.module.channels[3].clear(0xFFFF)
        found = await made.look("TRIP", "STATE", "EVT")
        assert (found["TRIP"].value, found["EVT"].value) == (1, 0)
        await made.driver.write("CH03.TRIP.ACK.CMD", 1)
        assert (await made.look("TRIP"))["TRIP"].value == 0


async def test_GIVEN_event_masks_WHEN_a_channel_trips_THEN_the_module_tells_before_the_next_scan():
    async with bench() as made:
        reported: list[tuple[str, ...]] = []
        made.driver.notify(lambda names: reported.append(tuple(names)))
        await made.driver.write("CH03.EVT.MASK", int(ChannelEvent.TRIP))
        await made.driver.write("MOD.EVT.CHMASK", 1 << 3)
        with made.segment.lock:
            made.module.trip(3)
        seconds = await until(lambda: bool(reported), 1.0, "the event")
        print(f"reported after {seconds * 1000:.0f} ms")
        found = await made.driver.read(reported[0])
        assert found["CH03.TRIP"].value == 1
        assert found["CH03.EVT.TRIP"].value == 1


async def test_GIVEN_a_swapped_module_WHEN_connected_again_THEN_the_nominal_values_alarm():
    async with bench(connect=False) as made:
        await made.driver.connect()
        found = await made.driver.read(["CH00.VNOM", "CH00.POL"])
        assert all(reading.level is Level.OK for reading in found.values())
        await made.driver.close()
        with made.segment.lock:
            made.segment.modules[5] = make_module(E08F2, 8)
        await made.driver.connect()
        found = await made.driver.read(["CH00.INOM", "CH00.POL", "MOD.NAME"])
        assert found["CH00.POL"].level is Level.MAJOR
        assert found["CH00.INOM"].level is Level.OK
        assert found["MOD.NAME"].value == "E08F2"


async def test_GIVEN_no_module_WHEN_connecting_THEN_it_is_a_timeout_that_says_which():
    async with bench(connect=False) as made:
        driver = make_driver(made.segment, 9)
        with pytest.raises(ReplyTimeout, match=r"module 9 on CAN adapter bench .* no answer"):
            await driver.connect()
        with pytest.raises(LinkDown):
            await driver.read(["CH00.VMON"])


async def test_GIVEN_a_module_of_the_older_protocol_WHEN_connecting_THEN_the_error_says_so():
    async with bench(connect=False) as made:
        made.module.dcp = True
        with pytest.raises(ReplyTimeout, match="older protocol"):
            await made.driver.connect()


async def test_GIVEN_identifiers_without_priority_bit_WHEN_the_module_announces_itself_THEN_it_is_found():
    async with bench(connect=False, timeout=1.0) as made:  # answers have to arrive on a busy machine too
        with made.segment.lock:
            made.segment.modules[5] = make_module(base=0)
        end = time.monotonic() + 10.0
        while True:  # as the scan engine does: the announcement may come after the first attempts
            try:
                await made.driver.connect()
                break
            except DeviceError:
                assert time.monotonic() < end, "never connected"
        assert await made.value("MOD.NAME") == "E16C1"


async def test_GIVEN_a_power_cycle_WHEN_the_module_announces_itself_THEN_it_is_lost_and_comes_back_registered():
    async with bench() as made:
        reported: list[tuple[str, ...]] = []
        made.driver.notify(lambda names: reported.append(tuple(names)))
        await asyncio.sleep(0)
        made.driver._link._registered -= 10.0  # registered long ago
        with made.segment.lock:
            made.module.power_cycle()
        await until(lambda: bool(reported), 2.0, "the loss")
        assert set(await made.driver.read(["BUS.STATE"])) == {"BUS.STATE"}  # the last word
        with pytest.raises(LinkDown, match="announces itself"):
            await made.driver.read(["CH00.VMON"])
        await made.driver.connect()
        assert made.module.registered
        assert made.written() == []


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.booleans())
def test_every_status_and_event_word_becomes_conditions(status, events, module, rising):
    found = conditions(status, events, module, rising)
    assert found.on == bool(status & 8)
    assert found.moving == bool(status & 16)
    assert found.killed == bool(status & 32)
    assert found.tripped >= bool(status & 1 << 13)
    assert not (found.up and found.down)
    assert found.inhibited == bool(status & ChannelStatus.INHIBIT)
    if not module & ModuleStatus.TEMPERATURE_GOOD:
        assert found.unit_fault, "whose alarm is that of MOD.TEMPOK"
    assert found.interlocked == (not module & ModuleStatus.SAFETY_LOOP_GOOD)


def test_the_catalogue_names_every_bit_that_the_contract_names():
    names = ["ARC", "IERR", "ON", "RAMP", "EMCY", "CC", "CV", "ARCERR", "CBND", "VBND", "EINH", "TRIP", "CLIM", "VLIM"]
    assert [name for name, _ in STATUS_BITS if name != "LOWR"] == names
    assert [name for name, _ in EVENT_BITS] == names
    for name, bit in EVENT_BITS:
        assert int(bit) == int(dict(STATUS_BITS)[name])
    assert ChannelStatus.TRIP == 1 << 13
