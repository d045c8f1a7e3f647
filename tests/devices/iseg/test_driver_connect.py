"""What is asked again after a reconnection, what other programs on the bus may do, and numbers that cannot be."""

from __future__ import annotations

import asyncio
import struct
import time

import can
import pytest

from devices.errors import Garbled, ReplyTimeout
from devices.iseg.edcp.bits import ModuleControl
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import decode, registration
from devices.iseg.question import Many
from devices.iseg.simulator import answers, bus
from devices.iseg.simulator.module import E16C1, F460N, NHR, OLD_MASK
from devices.links.can_frame import Frame
from devices.model import Cause, Level
from tests.devices.iseg.bench import Bench, bench, make_module
from tests.fair_time import FairClock, until

FAST = ("VMON", "IMON", "STAT", "STATE", "ON.RBV")


def asked(made: Bench) -> list[str]:
    """Return the items that were requested, in their order."""
    messages = [decode(one.frame) for one in made.segment.received if one.frame.id & 1]
    return [message.item.name for message in messages if hasattr(message, "item")]


def another_program(made: Bench, frame: Frame) -> None:
    """Let another program on the bus send a frame."""
    with can.Bus(interface="virtual", channel=made.segment.channel) as bus:
        bus.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False))


async def connected_again(made: Bench) -> None:
    await made.driver.close()
    await made.driver.connect()


async def test_GIVEN_the_same_module_WHEN_connected_again_THEN_identity_and_fast_values_come_before_all_constants():
    async with bench() as made:
        await made.driver.close()
        made.segment.received.clear()
        await made.driver.connect()
        found = await made.driver.read([f"CH{n:02d}.{suffix}" for n in range(16) for suffix in FAST])
        assert len(found) == 16 * len(FAST)
        items = asked(made)
        assert {"SerialNumber", "FirmwareRelease", "FirmwareName"} <= set(items)
        constants = {"VoltageNominal", "CurrentNominal", "ChannelNumber", "ArticleDescription", "VoltageMax"}
        assert constants & set(items) == {"VoltageNominal"}  # of one channel, which is the judge of the byte order
        assert len(items) <= 13
        assert made.driver.limits("CH03.VSET").high == 6000.0  # as at the last connection, until it is read
        assert made.driver._unit.assumed
        await made.driver.read(made.everything())
        assert not made.driver._unit.assumed - {("ModuleOption", None), ("ChannelNumber", None)}


async def test_GIVEN_another_module_at_the_address_WHEN_connected_again_THEN_nothing_of_the_old_one_is_used():
    async with bench() as made:
        await made.driver.close()
        with made.segment.lock:
            made.segment.modules[5] = make_module(OLD_MASK, 8, serial=7900077)
        await made.driver.connect()
        assert (made.driver._unit.channels, made.driver._unit.many) == (8, Many.MASK)
        assert await made.value("MOD.SERIAL") == "7900077"


async def test_GIVEN_what_had_no_answer_at_the_start_WHEN_connected_again_THEN_it_is_asked_again():
    # at its third try alone the module is asked what it must answer, within half of this time
    async with bench(E16C1, connect=False, timeout=0.8) as made:
        silent = ("BoardTemperature", "ArticleDescription", "Supply24")
        with made.segment.lock:
            made.module.unknown |= {BY_NAME[name].id for name in silent}
            made.module.firmware = OLD_MASK  # takes no requests for every channel
        await made.driver.connect()
        for _ in range(3):
            found = await made.driver.read(made.everything())
        assert found["MOD.TEMP"].level is Level.INVALID
        assert made.driver._unit.many is Many.MASK
        with made.segment.lock:
            made.module.unknown.clear()
        for firmware in (OLD_MASK, E16C1):
            await made.driver.close()
            with made.segment.lock:
                made.module.firmware = firmware
            await made.driver.connect()
            made.driver._unit._last_identity = tuple(made.driver._unit.value(n) for n in
                                                     ("SerialNumber", "FirmwareRelease", "FirmwareName"))  # fmt: skip
        await made.driver.read(["MOD.STAT"])
        await until(lambda: made.driver._unit.many is Many.ALL, 5.0, "the short way of reading")
        found = await made.driver.read(["MOD.TEMP", "MOD.P24", "MOD.ARTICLE"])
        assert all(reading.level is Level.OK for reading in found.values())
        assert len(found) == 3


async def test_GIVEN_a_lost_answer_at_the_start_WHEN_connected_again_THEN_scans_go_on_while_it_is_asked_again():
    async with bench(E16C1, connect=False) as made:
        temperature = BY_NAME["BoardTemperature"].id
        with made.segment.lock:
            made.module.unknown |= {temperature, BY_NAME["ArticleDescription"].id}
        await made.driver.connect()
        for _ in range(2):
            await made.driver.read(["MOD.TEMP"])
        with made.segment.lock:
            made.module.unknown.discard(temperature)
        await connected_again(made)
        reported: list[str] = []
        made.driver.notify(reported.extend)
        slowest = 0.0
        while "MOD.TEMP" not in reported:
            clock = FairClock()
            await made.driver.read(["MOD.STAT", "CH00.VMON"])
            slowest = max(slowest, clock())
            assert len(reported) < 100
            await asyncio.sleep(0.005)
        assert slowest < 0.6  # scans that wait for what has no answer take 1.9 s
        assert (await made.driver.read(["MOD.TEMP"]))["MOD.TEMP"].value == 31.5


async def test_GIVEN_another_program_WHEN_it_logs_the_module_off_THEN_it_is_registered_again_without_a_gap():
    async with bench() as made:
        made.driver._link._registered -= 10.0  # registered long ago
        errors = made.driver.stats.errors
        another_program(made, registration(5, False))
        await until(lambda: made.driver.stats.errors > errors, 1.0, "the log-off")
        await until(lambda: made.module.registered, 1.0, "the registration")
        end = time.monotonic() + 1.5  # longer than an announcement takes
        while time.monotonic() < end:
            assert all(reading.level is not Level.INVALID for reading in (await made.look()).values())
            await asyncio.sleep(0.02)
        assert "logged it off" in made.driver.stats.last_error
        assert "power" not in made.driver.stats.last_error


async def test_GIVEN_a_module_that_has_answered_WHEN_it_falls_silent_THEN_the_older_protocol_is_not_blamed():
    async with bench(timeout=0.25) as made:
        made.driver._link._dcp = True  # a general status has been seen
        made.segment.faults.silent.add(5)
        with pytest.raises(ReplyTimeout) as caught:
            await made.driver.read(["CH00.VMON"])
        assert "older protocol" not in str(caught.value)


async def test_GIVEN_another_program_WHEN_it_turns_the_byte_order_THEN_nothing_is_shown_and_it_comes_back_when_right():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("VMON", 100.0)
        with made.segment.lock:
            made.module.control &= ~ModuleControl.BIG_ENDIAN
        with pytest.raises(Garbled, match=r"module 5 .*little-endian.*ModuleControl without bit 11"):
            await made.look()
        await made.driver.close()
        with pytest.raises(Garbled, match="little-endian"):
            await made.driver.connect()
        written = made.written()
        with made.segment.lock:
            made.module.control |= ModuleControl.BIG_ENDIAN
        await made.driver.connect()
        assert (await made.look())["VMON"].value == 100.0
        assert made.written() == written


async def test_GIVEN_outputs_that_are_off_WHEN_the_byte_order_turns_THEN_the_slow_scan_finds_it():
    async with bench() as made:
        with made.segment.lock:
            made.module.control &= ~ModuleControl.BIG_ENDIAN
        with pytest.raises(Garbled, match="little-endian"):
            await made.driver.read(["MOD.CTRL"])


async def test_GIVEN_a_firmware_without_that_bit_WHEN_its_numbers_are_right_THEN_they_are_shown(monkeypatch):
    monkeypatch.setattr(answers, "_swapped", lambda frame: frame)
    async with bench(connect=False) as made:
        with made.segment.lock:
            made.module.control &= ~ModuleControl.BIG_ENDIAN
        await made.driver.connect()
        found = await made.driver.read(["MOD.CTRL", "CH03.VNOM"])
        assert (found["MOD.CTRL"].value, found["CH03.VNOM"].value) == (0x1000, 6000.0)


@pytest.mark.parametrize("volts", [12001.0, 9.65e24, 1e-40, float("nan"), float("inf")])
async def test_GIVEN_a_measured_voltage_that_cannot_be_WHEN_read_THEN_it_is_left_out_and_then_invalid(
    volts, monkeypatch
):
    def garbling(module, frame):
        return [
            one._replace(data=one.data[:3] + struct.pack(">f", volts)) if one.data[1:3] == b"\x02\x03" else one
            for one in answers.respond(module, frame)
        ]

    async with bench() as made:
        monkeypatch.setattr(bus, "respond", garbling)
        assert "VMON" not in await made.look()
        found = (await made.look())["VMON"]
        assert (found.value, found.level, found.cause) == (None, Level.INVALID, Cause.READ)
        monkeypatch.undo()
        assert (await made.look())["VMON"].value == 0.0


async def test_GIVEN_a_setting_that_cannot_be_read_WHEN_the_deviation_is_computed_with_it_THEN_that_is_invalid_too(
    monkeypatch,
):
    def garbling(module, frame):
        return [
            one._replace(data=one.data[:3] + struct.pack(">f", float("nan")))
            if one.data[:3] == b"\x41\x00\x03"
            else one
            for one in answers.respond(module, frame)
        ]

    async with bench() as made:
        monkeypatch.setattr(bus, "respond", garbling)
        for expected in (Level.OK, Level.INVALID):
            await made.driver.read(["CH03.VSET.RBV"])
            found = await made.look("VDIFF", "SETTLED", "STATE")
            assert {found["VDIFF"].level, found["SETTLED"].level} == {expected}
            assert found["STATE"].level is Level.OK


async def test_GIVEN_channels_that_switch_their_polarity_WHEN_read_THEN_each_has_its_own():
    async with bench(NHR) as made:
        with made.segment.lock:
            made.module.channels[3].polarity = -1
        reported: list[str] = []
        made.driver.notify(reported.extend)
        await made.driver.read([f"CH{n:02d}.VSET.RBV" for n in range(16)])  # the slow scan
        assert reported == ["CH03.POL"]
        found = await made.driver.read(["CH02.POL", "CH03.POL"])
        assert (found["CH02.POL"].value, found["CH03.POL"].value) == (0, 1)
        assert (found["CH02.POL"].level, found["CH03.POL"].level) == (Level.OK, Level.MAJOR)
        assert (made.driver._limits.sign(2), made.driver._limits.sign(3)) == (1.0, -1.0)


async def test_GIVEN_a_board_of_24_channels_WHEN_the_upper_ones_are_asked_THEN_their_event_mask_is_read():
    async with bench(E16C1, 24) as made:
        with made.segment.lock:
            made.module.channel_mask = 0x00AB0001
        found = await made.driver.read(["MOD.EVT.CHMASK.RBV", "MOD.EVT.CHMASK16.RBV"])
        assert [reading.value for reading in found.values()] == [1, 0xAB]
    async with bench(F460N) as made:
        found = await made.driver.read(["MOD.EVT.CHMASK16", "MOD.EVT.CHMASK16.RBV"])
        assert [(reading.value, reading.level) for reading in found.values()] == [(0, Level.OK)] * 2


async def test_GIVEN_status_bits_WHEN_one_has_no_meaning_THEN_it_is_minor():
    async with bench() as made:
        with made.segment.lock:
            made.module.channels[3].faults = 1 << 8
        found = await made.look("STAT.LOWR")
        assert (found["STAT.LOWR"].value, found["STAT.LOWR"].level) == (1, Level.OK)
        assert found["STAT"].level is Level.OK
        with made.segment.lock:
            made.module.channels[3].faults = 1  # read as positive polarity by some, which this channel has
        assert (await made.look())["STAT"].level is Level.OK
    async with bench(F460N) as made:
        with made.segment.lock:
            made.module.channels[3].faults = 1
        found = await made.look()
        assert (found["STAT"].value, found["STAT"].level) == (1, Level.MINOR)


async def test_GIVEN_a_module_WHEN_its_ranges_are_asked_THEN_they_are_its_own():
    async with bench(limits={"VSET": (0.0, 1500.0)}) as made:
        ranges = {
            "CH03.VMON": (0.0, 6000.0),
            "CH03.VSET.RBV": (0.0, 6000.0),
            "CH03.VDIFF": (-6000.0, 6000.0),
            "CH03.IMON": (0.0, 1000.0),
            "CH03.ISET.RBV": (0.0, 1000.0),
            "CH03.RAMPUP.RBV": (0.0, 1200.0),
            "MOD.RAMPV.RBV": (0.0, 20.0),
            "CH03.STATE": None,
            "MOD.STAT": None,
            "BUS.RX": None,
        }
        assert {name: made.driver.display_range(name) for name in ranges} == ranges


async def test_GIVEN_all_signals_WHEN_divided_THEN_each_portion_is_one_item_of_all_channels():
    async with bench() as made:
        portions = made.driver.portions(made.everything())
        assert sorted(name for portion in portions for name in portion) == sorted(made.everything())
        assert len(portions) < 40
        asked_items = [[name for name in portion if name.startswith("CH07.")] for portion in portions]
        assert ["CH07.VBOUNDS.RBV"] in asked_items
        for portion in portions:
            made.segment.received.clear()
            await made.driver.read(portion)
            assert len(asked(made)) <= 6


async def test_GIVEN_a_latched_trip_WHEN_the_link_is_lost_THEN_its_signal_stays():
    async with bench() as made:
        assert list(made.driver.latched()) == []
        with made.segment.lock:
            made.module.trip(3)
        await made.look()
        await made.driver.close()
        assert list(made.driver.latched()) == ["CH03.TRIP"]


async def test_GIVEN_a_setting_that_has_never_been_read_WHEN_its_deviation_is_read_THEN_it_is_left_out():
    async with bench(connect=False) as made:
        made.module.unknown.add(BY_NAME["VoltageSet"].id)
        await made.driver.connect()
        assert (await made.look("VDIFF", "SETTLED")).keys() == {"VMON", "IMON", "STAT"}
