"""Switching outputs of modules that are slow, stubborn or trip at once: no voltage comes that was not asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from devices.errors import LinkDown, Refused, ReplyTimeout
from devices.iseg.edcp.bits import ChannelControl, ChannelEvent, ChannelStatus, ModuleControl, ModuleStatus
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import Data, decode
from devices.iseg.simulator import answers as sim_iseg_answers
from devices.iseg.simulator.answers import RefusedError
from devices.iseg.simulator.module import E08F2, SimulatedIsegModule
from devices.links.can_frame import Frame
from devices.model import Level
from devices.rules.hv_channel import State
from tests.devices.iseg.bench import bench
from tests.fair_time import until

ON, EMERGENCY = int(ChannelControl.ON), int(ChannelControl.EMERGENCY_OFF)


def frames(made, item):
    messages = [decode(frame) for frame in made.written()]
    return [message.value for message in messages if isinstance(message, Data) and message.item.name == item]


@pytest.fixture
def answers(monkeypatch):
    """Let a test change what channels (``_read_channel``) and modules (``_read_module``) answer, item by item."""

    def change(kind: str, name: str, new: Callable[[int, object], int]) -> None:
        original = getattr(sim_iseg_answers, kind)

        def changed(module, item, number):
            value = original(module, item, number)
            return new(value, module) if item.name == name else value

        monkeypatch.setattr(sim_iseg_answers, kind, changed)

    return change


class Late:
    """Tells each value only some time after it was first so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reported: int | None = None
        self._next: tuple[int, float] | None = None

    def __call__(self, value: int, _: object) -> int:
        now = time.monotonic()
        if self._reported is None:
            self._reported = value
        if self._next is None or self._next[0] != value:
            self._next = value, now
        if now - self._next[1] >= self._seconds:
            self._reported = value
        return self._reported


async def test_GIVEN_a_board_that_renews_its_status_slowly_WHEN_switched_THEN_the_put_waits_for_it(answers):
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        answers("_read_channel", "ChannelStatus", Late(0.7))
        readings = await made.driver.write("CH03.ON", 1)
        assert (readings["CH03.ON"].value, readings["CH03.ON.RBV"].value) == (1, 1)
        readings = await made.driver.write("CH03.ON", 0)
        assert (readings["CH03.ON"].value, readings["CH03.ON.RBV"].value) == (0, 0)
        assert frames(made, "ChannelControl") == [ON, 0]


async def test_GIVEN_a_channel_that_accepts_on_and_does_not_follow_WHEN_refused_THEN_on_is_taken_back(answers):
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        answers("_read_channel", "ChannelStatus", lambda word, _: word & ~int(ChannelStatus.ON))
        with pytest.raises(Refused, match="ON: the module did not follow"):
            await made.driver.write("CH03.ON", 1)
        assert frames(made, "ChannelControl") == [ON, 0]
        assert not made.module.channels[3].on
        assert (await made.look("ON"))["ON"].value == 0


async def test_GIVEN_a_channel_that_trips_at_once_WHEN_switched_on_THEN_on_is_not_sent_again(monkeypatch):
    async with bench() as made:
        await made.driver.write("CH03.VSET", 100.0)
        obey = SimulatedIsegModule.command

        def trips(module, channel, word):
            obey(module, channel, word)
            if word & ON:
                channel.trip()

        monkeypatch.setattr(SimulatedIsegModule, "command", trips)
        with pytest.raises(Refused, match="it tripped at once"):
            await made.driver.write("CH03.ON", 1)
        assert frames(made, "ChannelControl") == [ON]
        found = await made.look("TRIP", "ON")
        assert (found["TRIP"].value, found["ON"].value) == (1, 0)


async def test_GIVEN_a_board_whose_on_bit_stays_during_the_ramp_down_WHEN_switched_off_THEN_it_is_off_and_no_trip(
    answers,
):
    ramping = int(ChannelStatus.RAMPING)
    async with bench() as made:
        await made.driver.write("CH03.VSET", 1000.0)
        await made.driver.write("CH03.ON", 1)
        await made.wait_for("STATE", State.ON)
        answers("_read_channel", "ChannelStatus", lambda word, _: word | ON if word & ramping else word)
        readings = await made.driver.write("CH03.ON", 0)
        assert readings["CH03.ON"].value == 0
        await made.wait_for("STATE", State.OFF)
        found = await made.look("TRIP", "ON")
        assert (found["TRIP"].value, found["ON"].value) == (0, 0)
        assert frames(made, "ChannelControl") == [ON, 0]


async def test_GIVEN_an_output_that_is_off_WHEN_its_events_are_cleared_THEN_it_is_not_switched_on_by_that(answers):
    async with bench() as made:
        await made.driver.write("CH03.EMCY.CMD", 1)
        kept = ON  # some other program has set only the emergency bit, on stayed as it was
        answers("_read_channel", "ChannelControl", lambda word, _: word | (kept if word & EMERGENCY else 0))
        await made.driver.write("CH03.CLR.CMD", 1)
        assert frames(made, "ChannelControl") == [EMERGENCY, 0]


async def test_GIVEN_a_tripped_output_whose_on_bit_stays_WHEN_cleared_THEN_the_bit_goes_before_the_trip(answers):
    async with bench() as made:
        with made.segment.lock:
            made.module.trip(3)
        kept = [ON]

        def stays(word: int, _: object) -> int:
            if 0 in frames(made, "ChannelControl"):
                kept.clear()
            return word | sum(kept)

        answers("_read_channel", "ChannelControl", stays)
        await made.driver.write("CH03.CLR.CMD", 1)
        changed = [decode(frame).item.name for frame in made.written()]
        assert changed == ["ChannelControl", "ChannelEventStatus"]
        assert frames(made, "ChannelControl") == [0]


async def test_GIVEN_a_trip_that_no_scan_has_seen_WHEN_the_events_are_cleared_THEN_it_is_latched_all_the_same():
    async with bench() as made:
        with made.segment.lock:
            made.module.trip(3)
        readings = await made.driver.write("CH03.CLR.CMD", 1)
        assert (readings["CH03.TRIP"].value, readings["CH03.TRIP"].level) == (1, Level.MAJOR)
        assert readings["CH03.TRIP.COUNT"].value == 1
        assert readings["CH03.EVT"].value == 0


async def test_GIVEN_a_slow_put_to_one_channel_WHEN_another_is_cut_in_an_emergency_THEN_it_does_not_wait(answers):
    async with bench() as made:
        answers("_read_module", "VoltageMax", lambda _, __: 100.0)
        with made.segment.lock:
            made.module.volts_max = 10.0  # the put is looked at again and again
        slow = asyncio.create_task(made.driver.write("CH04.VSET", 1000.0))
        await asyncio.sleep(0)
        readings = await made.driver.write("CH03.EMCY.CMD", 1)
        assert not slow.done()
        assert readings["CH03.STAT.EMCY"].value == 1
        with pytest.raises(Refused):
            await slow


async def test_GIVEN_a_slow_put_WHEN_its_own_channel_is_cut_in_an_emergency_THEN_it_is_cut_before_the_put_is_done(
    answers,
):
    async with bench() as made:
        answers("_read_module", "VoltageMax", lambda _, __: 100.0)
        with made.segment.lock:
            made.module.volts_max = 10.0  # the put is looked at again and again
        slow = asyncio.create_task(made.driver.write("CH03.VSET", 1000.0))
        await asyncio.sleep(0)
        cut = asyncio.create_task(made.driver.write("CH03.EMCY.CMD", 1))
        async with asyncio.timeout(10):
            while not made.module.channels[3].emergency:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not slow.done()
        with pytest.raises(Refused):
            await slow
        assert (await cut)["CH03.STAT.EMCY"].value == 1


async def test_GIVEN_ramps_of_the_module_WHEN_put_through_two_channels_at_once_THEN_they_do_not_fight():
    async with bench() as made:
        await asyncio.gather(made.driver.write("CH03.RAMPUP", 300.0), made.driver.write("CH04.RAMPUP", 120.0))
        assert frames(made, "VoltageRampSpeed") == [5.0, 2.0]


async def test_GIVEN_a_module_status_that_comes_late_WHEN_kill_is_changed_THEN_the_put_waits_for_it(answers):
    async with bench() as made:
        answers("_read_module", "ModuleStatus", Late(0.7))
        await made.look()
        readings = await made.driver.write("MOD.KILLEN", 1)
        assert readings["MOD.KILLEN.RBV"].value == 1


async def test_GIVEN_a_module_that_does_not_obey_WHEN_kill_is_refused_THEN_the_control_word_is_as_before(answers):
    async with bench() as made:
        answers("_read_module", "ModuleStatus", lambda word, _: word & ~int(ModuleStatus.KILL_ENABLE))
        with pytest.raises(Refused, match=r"MOD.KILLEN ON: the module reads back OFF, its status does not follow"):
            await made.driver.write("MOD.KILLEN", 1)
        assert frames(made, "ModuleControl") == [0x5800, 0x1800]
        assert not made.module.control & ModuleControl.KILL_ENABLE


async def test_GIVEN_a_negative_board_WHEN_zero_volts_are_put_THEN_no_negative_zero_is_sent():
    async with bench(E08F2, 8) as made:
        await made.driver.write("CH03.VSET", 10.0)
        await made.driver.write("CH03.VSET", 0.0)
        assert [frame.data[3:].hex() for frame in made.written()] == ["c1200000", "00000000"]


async def test_GIVEN_an_emergency_off_of_another_host_between_two_offs_WHEN_sent_again_THEN_it_is_not_released(answers):
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        channel = made.module.channels[3]

        def still_on(word, module):  # the board keeps the on bit although it has been cut meanwhile
            if frames(made, "ChannelControl") == [ON, 0]:
                channel.emergency = True
                return word | ON | EMERGENCY
            return word

        answers("_read_channel", "ChannelControl", still_on)
        await made.driver.write("CH03.ON", 0)
        assert frames(made, "ChannelControl") == [ON, 0, EMERGENCY]
        assert channel.emergency


async def test_GIVEN_an_off_that_still_looks_WHEN_the_output_is_cut_in_an_emergency_THEN_the_off_does_not_release_it(
    monkeypatch,
):
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        original = sim_iseg_answers._read_module

        def silent_until_cut(module, item, number):
            if item.name == "ModuleControl" and not module.channels[3].emergency:
                raise RefusedError
            return original(module, item, number)

        monkeypatch.setattr(sim_iseg_answers, "_read_module", silent_until_cut)
        off = asyncio.create_task(made.driver.write("CH03.ON", 0))
        asked, control = made.driver._link._flying, BY_NAME["ModuleControl"].id
        await until(lambda: any(one.data_id == control and one.tries > 1 for one in asked), what="the second try")
        await made.driver.write("CH03.EMCY.CMD", 1)
        await off
        assert frames(made, "ChannelControl") == [ON, EMERGENCY, EMERGENCY]
        assert made.module.channels[3].emergency


async def test_GIVEN_a_link_that_is_lost_WHEN_cut_in_an_emergency_THEN_the_demand_stays_since_nothing_was_sent():
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        await made.driver._link.close()
        with pytest.raises(LinkDown, match="nothing was sent"):
            await made.driver.write("CH03.EMCY.CMD", 1)
        assert made.driver._channels[3].hv.demand_on is True


async def test_GIVEN_an_on_whose_outcome_is_unknown_WHEN_it_has_come_true_THEN_on_takes_it_over_with_an_alarm(
    monkeypatch,
):
    async with bench() as made:
        original = type(made.driver._unit).read_back

        async def silent_after_on(unit, item, channel=None):
            if item.name == "ChannelControl":
                raise ReplyTimeout("no answer")
            return await original(unit, item, channel)

        with monkeypatch.context() as patched:
            patched.setattr(type(made.driver._unit), "read_back", silent_after_on)
            with pytest.raises(ReplyTimeout, match="outcome unknown"):
                await made.driver.write("CH03.ON", 1)
        await made.look()
        found = await made.driver.read(["CH03.ON"])
        assert (found["CH03.ON"].value, found["CH03.ON"].level) == (1, Level.MINOR)
        assert "CH03:output ON, whose outcome was unknown, has come true" in made.driver.stats.late


async def test_GIVEN_an_output_that_trips_at_once_WHEN_switched_on_THEN_on_is_not_sent_again():
    async with bench() as made:
        link, sent = made.driver._unit.link, []
        original = link.send

        def tripping(frame: Frame, changes: bool = False) -> None:
            if frame.id & 1 or frame.data[:2] != b"\x40\x01":
                original(frame, changes)
                return
            sent.append(frame.data)
            with made.segment.lock:  # it was on, and is off again, before anything is read back
                made.module.channels[3].events |= int(ChannelEvent.TRIP | ChannelEvent.VOLTAGE_BOUNDS)

        link.send = tripping
        with pytest.raises(Refused, match="did not follow"):
            await made.driver.write("CH03.ON", 1)
        assert len(sent) == 1


async def test_GIVEN_an_off_that_gets_lost_WHEN_it_is_refused_THEN_the_output_is_still_to_be_on():
    async with bench() as made:
        await made.driver.write("CH03.ON", 1)
        link = made.driver._unit.link
        original = link.send
        link.send = lambda frame, changes=False: None if changes else original(frame, changes)
        with pytest.raises(Refused, match="its control word still says on"):
            await made.driver.write("CH03.ON", 0)
        assert (await made.look("ON"))["ON"].value == 1
