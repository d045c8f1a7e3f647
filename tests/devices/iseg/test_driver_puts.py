"""Puts to modules that clip, lose frames, are changed by others at the same moment, or cannot be understood."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest

from devices.errors import NotReady, OutOfLimits, Refused, ReplyTimeout, TakenOtherwise
from devices.iseg.edcp.bits import ChannelControl, ModuleControl
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import Data, decode
from devices.iseg.simulator import answers
from devices.iseg.simulator.module import E16C1, F460N, FLEX, NHR
from devices.links.can_frame import Frame
from devices.model import Level
from tests.devices.iseg.bench import Bench, bench

SITE = {"limits": {"VSET": (0.0, 2000.0), "ISET": (0.0, 800.0), "MOD.RAMPV": (0.01, 5.0)}}


def frames(made: Bench, item: str) -> list[object]:
    """Return the values that were written to an item."""
    messages = [decode(frame) for frame in made.written()]
    return [message.value for message in messages if isinstance(message, Data) and message.item.name == item]


def is_write(frame: Frame, data_id: bytes) -> bool:
    return frame.data[:2] == data_id and not frame.id & 1


async def test_GIVEN_a_module_that_clips_WHEN_put_THEN_it_fails_and_what_was_taken_is_shown_at_once(monkeypatch):
    async with bench() as made:
        await made.driver.write("CH03.VSET", 1000.0)
        original = answers._read_module
        monkeypatch.setattr(
            answers, "_read_module", lambda m, i, n: 100.0 if i.name == "VoltageMax" else original(m, i, n)
        )
        with made.segment.lock:
            made.module.volts_max = 50.0  # it does not report its potentiometer
        made.segment.received.clear()
        with pytest.raises(TakenOtherwise, match=r"VSET: the module took 3000 V instead of 4000 V") as caught:
            await made.driver.write("CH03.VSET", 4000.0)
        assert frames(made, "VoltageSet") == [4000.0]
        for readings in (caught.value.readings, await made.driver.read(["CH03.VSET", "CH03.VSET.RBV"])):
            shown = {name: (reading.value, reading.level) for name, reading in readings.items()}
            assert shown["CH03.VSET"] == shown["CH03.VSET.RBV"] == (3000.0, Level.MINOR)
        await made.driver.write("CH03.VSET", 2500.0)
        found = await made.driver.read(["CH03.VSET", "CH03.VSET.RBV"])
        assert {reading.level for reading in found.values()} == {Level.OK}


@pytest.mark.parametrize(
    ("name", "value", "item", "turned", "limit"),
    [("CH03.VSET", 1000.0, "VoltageSet", "volts_max", 600), ("CH03.ISET", 500.0, "CurrentSet", "amps_max", 100)],
)
async def test_GIVEN_a_potentiometer_that_was_turned_WHEN_put_THEN_its_limit_of_now_holds(
    name, value, item, turned, limit
):
    async with bench() as made:
        with made.segment.lock:
            setattr(made.module, turned, 10.0)
        with pytest.raises(OutOfLimits, match=rf"is above {limit} \w+ \(hardware limit 10 %\)"):
            await made.driver.write(name, value)
        assert frames(made, item) == []


@pytest.mark.parametrize(
    ("name", "value", "data_id"),
    [
        ("CH03.VSET", 123.0, b"\x41\x00"),
        ("CH03.EVT.MASK", 8, b"\x40\x03"),
        ("CH03.RAMPUP", 60.0, b"\x11\x00"),
        ("MOD.RAMPV", 2.0, b"\x11\x00"),
        ("MOD.KILLEN", 1, b"\x10\x01"),
        ("MOD.EVT.CHMASK", 8, b"\x10\x05"),
        ("CH03.ON", 1, b"\x40\x01"),
    ],
)
async def test_GIVEN_a_write_that_gets_lost_WHEN_put_THEN_it_is_not_sent_again_and_refused(name, value, data_id):
    async with bench() as made:
        unit, sent = made.driver._unit, []
        original = unit.link.send

        def lossy(frame: Frame, changes: bool = False) -> None:
            if is_write(frame, data_id):
                sent.append(frame)
            else:
                original(frame, changes)

        unit.link.send = lossy
        with pytest.raises(Refused, match=r"reads back|did not follow"):
            await made.driver.write(name, value)
        assert len(sent) == 1


async def test_GIVEN_a_shared_ramp_WHEN_channels_turn_out_to_have_their_own_during_a_put_THEN_the_module_gets_percent():
    item = BY_NAME["VoltageRampSpeedUp"].id
    async with bench(FLEX, connect=False) as made:
        made.module.unknown.add(item)
        await made.driver.connect()
        await made.driver.read(made.everything())
        unit = made.driver._unit
        original = unit.read_now

        async def learning(*cells: tuple[str, int | None]) -> list[str]:
            """Find out at this moment that there are ramps of channels, as is tried after each connection."""
            with made.segment.lock:
                made.module.unknown.discard(item)
            await unit._probe(["VoltageRampSpeedUp"])
            return await original(*cells)

        unit.read_now = learning
        readings = await made.driver.write("CH03.RAMPUP", 15.0)
        assert made.driver._limits.ramp_is_own()
        assert frames(made, "VoltageRampSpeed") == [0.5]  # of 3000 V
        assert readings["MOD.RAMPV"].value == 0.5
        assert frames(made, "VoltageRampSpeedUp") == []


def falls_silent(made: Bench, data_id: bytes) -> Callable[[], None]:
    """Have the module take a write and then not answer; returns what ends its silence."""
    link = made.driver._unit.link
    original, asking = link.send, [True]

    def tell(frame: Frame, changes: bool = False) -> None:
        if asking[0] or changes:
            original(frame, changes)
        asking[0] = asking[0] and not is_write(frame, data_id)

    link.send = tell

    def end() -> None:
        link.send = original

    return end


async def test_GIVEN_a_write_whose_outcome_is_unknown_WHEN_it_has_come_true_THEN_that_is_shown_after_the_reconnection():
    async with bench() as made:
        await made.driver.write("CH03.VSET", 1000.0)
        end = falls_silent(made, b"\x41\x00")
        with pytest.raises(ReplyTimeout, match="VSET: outcome unknown"):
            await made.driver.write("CH03.VSET", 2000.0)
        end()
        await made.driver.close()
        await made.driver.connect()
        await made.look()  # the first fast scan
        found = await made.driver.read(["CH03.VSET", "CH03.VSET.RBV"])
        shown = {name: (reading.value, reading.level) for name, reading in found.items()}
        assert shown == {"CH03.VSET": (2000.0, Level.MINOR), "CH03.VSET.RBV": (2000.0, Level.MINOR)}
        assert "CH03:VSET 2000 V, whose outcome was unknown, has come true" in made.driver.stats.late


async def test_GIVEN_a_setting_beyond_the_site_limit_WHEN_switched_on_THEN_it_is_refused_and_the_readback_is_major():
    async with bench(**SITE) as made:
        await made.driver.write("CH03.VSET", 1000.0)
        with made.segment.lock:
            made.module.channels[3].vset = 3900.0
        with pytest.raises(OutOfLimits, match=r"ON: VSET 3900 V is above 2000 V \(site limit\)"):
            await made.driver.write("CH03.ON", 1)
        assert frames(made, "ChannelControl") == []
        reading = (await made.driver.read(["CH03.VSET.RBV"]))["CH03.VSET.RBV"]
        assert (reading.value, reading.level) == (3900.0, Level.MAJOR)
        with made.segment.lock:
            made.module.channels[3].vset, made.module.channels[3].iset = 1000.0, 9e-4
        with pytest.raises(OutOfLimits, match=r"ON: ISET 900 uA is above 800 uA \(site limit\)"):
            await made.driver.write("CH03.ON", 1)
        with made.segment.lock:
            made.module.channels[3].iset = 1e-4
            made.module.ramp_speed = 10.0
        await made.driver.write("CH03.ON", 1)
        assert (await made.driver.read(["MOD.RAMPV.RBV"]))["MOD.RAMPV.RBV"].level is Level.MAJOR


async def test_GIVEN_an_emergency_off_of_another_host_WHEN_switched_off_THEN_it_is_not_released():
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        with made.segment.lock:  # since the last look at the status
            made.module.command(made.module.channels[3], int(ChannelControl.EMERGENCY_OFF))
        await made.driver.write("CH03.ON", 0)
        assert frames(made, "ChannelControl") == [8, int(ChannelControl.EMERGENCY_OFF)]
        assert made.module.channels[3].emergency


async def test_GIVEN_an_emergency_off_of_another_host_WHEN_switched_on_THEN_it_is_refused():
    async with bench() as made:
        with made.segment.lock:
            channel = made.module.channels[3]
            made.module.command(channel, int(ChannelControl.EMERGENCY_OFF))
            channel.events = 0
        with pytest.raises(Refused, match="in emergency off"):
            await made.driver.write("CH03.ON", 1)
        assert made.written() == []


async def test_GIVEN_a_polarity_that_has_just_been_switched_WHEN_put_THEN_the_sign_is_the_one_of_now():
    async with bench(NHR) as made:
        await made.driver.write("CH03.VSET", 100.0)
        with made.segment.lock:
            made.module.channels[3].polarity = -1
        await made.driver.write("CH03.VSET", 200.0)
        assert frames(made, "VoltageSet") == [100.0, -200.0]
        assert made.module.channels[3].vset == 200.0


async def test_GIVEN_a_module_turned_to_the_other_byte_order_WHEN_put_THEN_nothing_is_sent():
    async with bench() as made:
        with made.segment.lock:
            made.module.control &= ~ModuleControl.BIG_ENDIAN
        for name, value in (("CH03.VSET", 100.0), ("CH03.ON", 1), ("MOD.RAMPV", 1.0), ("MOD.KILLEN", 1)):
            with pytest.raises(NotReady, match=r"nothing was sent.*little-endian"):
                await made.driver.write(name, value)
        assert made.written() == []


async def test_GIVEN_a_board_of_24_channels_WHEN_the_upper_event_mask_is_put_THEN_the_lower_one_stays():
    async with bench(E16C1, 24) as made:
        await made.driver.write("MOD.EVT.CHMASK", 0x8001)
        await made.driver.write("MOD.EVT.CHMASK16", 0x0052)
        readings = await made.driver.write("MOD.EVT.CHMASK16", 0x00A5)
        assert readings["MOD.EVT.CHMASK16.RBV"].value == 0xA5
        assert made.module.channel_mask == 0x00A58001
        assert (await made.driver.read(["MOD.EVT.CHMASK.RBV"]))["MOD.EVT.CHMASK.RBV"].value == 0x8001
    async with bench(F460N) as made:
        with pytest.raises(Refused, match="only 16 channels"):
            await made.driver.write("MOD.EVT.CHMASK16", 1)


async def test_GIVEN_leave_to_configure_WHEN_the_module_is_lost_by_it_THEN_that_is_not_a_refusal():
    async with bench(options={"allow_configuration": True}, timeout=0.25) as made:
        link = made.driver._unit.link
        original = link.send

        def tell(frame: Frame, changes: bool = False) -> None:
            original(frame, changes)
            if is_write(frame, b"\x12\x02"):
                made.segment.faults.silent.add(5)

        link.send = tell
        with pytest.raises(ReplyTimeout, match=r"BitRate = 250 was sent, .*outcome is unknown"):
            await made.driver.raw("BitRate", None, 250)


async def test_GIVEN_a_put_to_a_module_WHEN_it_is_slow_THEN_others_do_not_wait_for_it(monkeypatch):
    async with bench() as made:
        original = answers._read_channel
        monkeypatch.setattr(
            answers,
            "_read_channel",
            lambda m, i, n: 0.0 if (i.name, n) == ("VoltageSet", 4) else original(m, i, n),
        )
        slow = asyncio.create_task(made.driver.write("CH04.VSET", 500.0))
        await made.driver.write("CH03.VSET", 100.0)
        assert not slow.done()
        with pytest.raises(Refused, match="reads back 0 V"):
            await slow


async def test_GIVEN_a_control_word_that_is_not_answered_WHEN_switched_off_THEN_the_status_is_looked_at(monkeypatch):
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        original = answers._read_channel

        def silent_before_off(module, item, number):
            if item.name == "ChannelControl" and frames(made, "ChannelControl") == [8]:
                raise answers.RefusedError
            return original(module, item, number)

        monkeypatch.setattr(answers, "_read_channel", silent_before_off)
        await made.driver.write("CH03.ON", 0)
        assert frames(made, "ChannelControl") == [8, 0]
        assert not made.module.channels[3].on


async def test_GIVEN_channels_that_follow_in_a_group_WHEN_their_master_is_put_THEN_their_site_limits_hold():
    async with bench(channel_limits={5: {"VSET": (0.0, 500.0)}}) as made:
        await made.driver.write("CH03.VSET", 1000.0)
        with made.segment.lock:  # made by another program after this one has connected
            made.module.groups[7] = (1 << 3 | 1 << 5, 0x0110 | 3)  # channel 5 follows the voltage setting of channel 3
        with pytest.raises(OutOfLimits, match=r"above 500 V \(site limit of CH05, which follows in a group\)"):
            await made.driver.write("CH03.VSET", 900.0)
        await made.driver.write("CH04.VSET", 900.0)
        with made.segment.lock:
            made.module.groups[7] = (1 << 3 | 1 << 5, 0x01A0 | 3)  # it follows when the output is switched now
        with pytest.raises(Refused, match=r"ON: a group of the module would switch on CH05, too"):
            await made.driver.write("CH03.ON", 1)
        with made.segment.lock:
            del made.module.groups[7]
        await made.driver.write("CH03.VSET", 900.0)
        assert frames(made, "VoltageSet") == [1000.0, 900.0, 900.0]


async def test_GIVEN_a_group_that_does_not_answer_any_more_WHEN_put_THEN_nothing_is_sent(monkeypatch):
    async with bench() as made:
        original = answers._read_module

        def silent(module, item, number):
            if item.name == "VariableGroup" and number == 7:
                raise answers.RefusedError
            return original(module, item, number)

        monkeypatch.setattr(answers, "_read_module", silent)
        with pytest.raises(NotReady, match="nothing was sent, the groups of the module cannot be read"):
            await made.driver.write("CH03.VSET", 900.0)
        assert made.written() == []


async def test_GIVEN_an_answer_that_comes_seconds_late_WHEN_put_THEN_it_is_not_taken_for_the_one_of_now(monkeypatch):
    async with bench() as made:
        item, link = BY_NAME["VoltageMax"], made.driver._link
        original, silent, send = answers._read_module, True, link.send

        def read_module(module, asked, number):
            if asked is item and silent:
                raise answers.RefusedError
            return original(module, asked, number)

        monkeypatch.setattr(answers, "_read_module", read_module)
        with pytest.raises(NotReady, match="VoltageMax cannot be read"):
            await made.driver.write("CH03.VSET", 1000.0)
        late = [Frame(link.base | link.address << 3, struct.pack(">Hf", item.id, 100.0))]

        def deliver(frame, changes=False):
            send(frame, changes)
            first = int.from_bytes(frame.data[:2], "big")
            if late and first in (item.id, BY_NAME["ModuleStatus"].id):  # the board answers in order
                link.received(late.pop(), 0.0)

        monkeypatch.setattr(link, "send", deliver)
        silent = False
        with made.segment.lock:
            made.module.volts_max = 10.0
        with pytest.raises(OutOfLimits, match="hardware limit 10 %"):
            await made.driver.write("CH03.VSET", 3000.0)
        assert (late, made.written()) == ([], [])
