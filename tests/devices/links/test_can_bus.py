"""One adapter shared by several modules: who hears what, and what happens when the adapter goes wrong."""

from __future__ import annotations

import asyncio
import math
import threading
import time

import can
import pytest

from devices.errors import LinkDown
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import read, registration, write
from devices.iseg.simulator.bus import simulated_bus
from devices.iseg.simulator.module import E16C1, SimulatedIsegModule
from devices.links import can_bus
from devices.links.can_bus import join
from tests.devices.iseg.bench import fresh_channel
from tests.devices.links.can_bench import Adapter, Ear, opened, threads
from tests.fair_time import until


async def test_GIVEN_two_listeners_WHEN_they_join_by_name_THEN_they_share_one_adapter_until_the_last_leaves(adapters):
    made, _ = adapters
    (first, ear), (second, other) = await asyncio.gather(opened(), opened(address=6))
    assert first is second
    assert len(made) == 1
    assert len(threads()) == 2
    await first.leave(ear)
    assert not made[0].closed
    await first.leave(other)
    assert made[0].closed
    await until(lambda: threads() == [])
    again, ear = await opened()
    assert again is not first
    await again.leave(ear)


async def test_GIVEN_frames_of_many_nodes_WHEN_received_THEN_only_those_of_listeners_reach_the_loop():
    channel = fresh_channel()
    module, other = SimulatedIsegModule(5, E16C1), SimulatedIsegModule(6, E16C1)
    with simulated_bus(module, other, channel=channel) as segment:
        ear = Ear(5)
        bus = await join("main", {"interface": "virtual", "channel": channel}, ear)
        delivered = 0
        original = bus._deliver

        def deliver():
            nonlocal delivered
            delivered += 1
            original()

        bus._deliver = deliver
        segment.faults.flood = 2000.0
        bus.send(registration(5, True))
        await until(lambda: bus.counters.foreign > 1000, 3.0)
        ear.frames.clear()
        delivered = 0
        bus.send(read(5, BY_NAME["ModuleStatus"]))
        await until(lambda: bool(ear.frames), 1.0)
        assert ear.frames[0].data[:2] == b"\x10\x00"
        assert delivered <= 2
        await bus.leave(ear)


async def test_GIVEN_alarm_frames_and_announcements_WHEN_received_THEN_the_listener_receives_them(adapters):
    made, _ = adapters
    bus, ear = await opened()
    frames = [can.Message(arbitration_id=0x028, data=b"\xc0\x76\x01", is_extended_id=False),
              can.Message(arbitration_id=0x229, data=b"\xd8\x37\x46", is_extended_id=False),
              can.Message(arbitration_id=0x22C, data=b"\xd8\x37\x46", is_extended_id=False),
              can.Message(arbitration_id=0x229, data=b"\xd8\x37\x46", is_extended_id=True),
              can.Message(arbitration_id=0x229, is_remote_frame=True, is_extended_id=False)]  # fmt: skip
    made[0].plan = lambda timeout: frames.pop(0) if frames else time.sleep(timeout)
    await until(lambda: len(ear.frames) == 2 and bus.counters.foreign == 3)
    assert [frame.id for frame in ear.frames] == [0x028, 0x229]
    await bus.leave(ear)


async def test_GIVEN_an_adapter_that_is_gone_WHEN_receiving_fails_THEN_all_are_reported(adapters):
    made, _ = adapters
    (bus, ear), (_, other) = await asyncio.gather(opened(), opened(address=6))

    def gone(timeout):
        raise can.CanOperationError("no such device")

    made[0].plan = gone
    seconds = await until(lambda: bool(ear.lost and other.lost), 5.0)
    print(f"reported after {seconds:.2f} s")
    assert "no such device" in str(ear.lost[0])
    with pytest.raises(LinkDown, match="no such device"):
        bus.send(registration(5, True))
    await until(lambda: made[0].closed)
    await bus.leave(ear)
    await bus.leave(other)


async def test_GIVEN_single_malformed_frames_WHEN_received_THEN_they_are_counted_and_the_rest_goes_on(adapters):
    made, _ = adapters
    bus, ear = await opened()
    answer = can.Message(arbitration_id=0x228, data=bytes.fromhex("10007701"), is_extended_id=False)
    rest = [ValueError("line"), IndexError("line"), answer, can.CanOperationError("not UTF-8"), answer]

    def plan(timeout):
        item = rest.pop(0) if rest else time.sleep(timeout)
        if isinstance(item, Exception):
            raise item
        return item

    made[0].plan = plan
    await until(lambda: len(ear.frames) == 2)
    assert bus.counters.errors == 3
    assert not ear.lost
    await bus.leave(ear)


async def test_GIVEN_an_adapter_that_answers_nothing_at_once_WHEN_its_peer_is_gone_THEN_it_is_lost(adapters):
    made, _ = adapters
    bus, ear = await opened()
    calls = 0

    def hurry(_):
        nonlocal calls
        calls += 1

    made[0].recv = hurry
    await until(lambda: bool(ear.lost), 5.0)
    assert calls < 100  # it did not spin
    await bus.leave(ear)


async def test_GIVEN_a_broken_pipe_WHEN_sending_THEN_the_adapter_is_lost(adapters):
    made, _ = adapters

    def broken(msg, timeout=None):
        raise BrokenPipeError("broken pipe")

    bus, ear = await opened()
    made[0].send = broken
    bus.send(registration(5, True))
    await until(lambda: bool(ear.lost), 1.0)
    await bus.leave(ear)


async def test_GIVEN_a_full_transmit_buffer_WHEN_sending_THEN_it_is_counted_and_tried_again(adapters):
    made, _ = adapters

    def full(msg, timeout=None):
        raise can.CanOperationError("no buffer space")

    bus, ear = await opened()
    made[0].send = full
    for _ in range(5):
        bus.send(registration(5, True))
    await until(lambda: bus.counters.errors == 5)
    del made[0].send
    bus.send(registration(5, True))
    await until(lambda: len(made[0].sent) == 1)
    assert not ear.lost
    await bus.leave(ear)


async def test_GIVEN_an_adapter_that_is_held_up_WHEN_it_goes_on_THEN_what_was_given_up_meanwhile_is_not_sent(adapters):
    made, _ = adapters
    bus, ear = await opened()
    gate, sent = made[0].hold_up()
    first, late, last = registration(5, True), write(5, BY_NAME["VoltageSet"], 1000.0, 3), read(5, BY_NAME["BitRate"])
    bus.send(first)
    bus.send(late, 0.01)
    given_up = time.monotonic() + 0.02
    await until(lambda: time.monotonic() > given_up)
    gate.set()
    bus.send(last)
    await until(lambda: last.data in sent)
    assert sent == [first.data, last.data]
    await bus.leave(ear)


async def test_GIVEN_frames_waiting_WHEN_the_adapter_is_given_up_THEN_they_are_never_sent(adapters):
    made, _ = adapters
    bus, ear = await opened()
    gate, sent = made[0].hold_up()
    bus.send(registration(5, True))
    bus.send(write(5, BY_NAME["VoltageSet"], 1000.0, 3), 5.0)

    def gone(timeout):
        raise can.CanOperationError("no such device")

    made[0].plan = gone
    await until(lambda: bool(ear.lost))
    gate.set()
    await until(lambda: made[0].closed)
    assert sent == [registration(5, True).data]
    await bus.leave(ear)


async def test_GIVEN_an_own_frame_that_came_back_in_time_WHEN_the_loop_sees_it_late_THEN_it_is_still_an_echo(adapters):
    bus, ear = await opened()
    frame, now = write(5, BY_NAME["VoltageSet"], 1000.0, 3), time.monotonic()
    bus._echoes = True
    bus._sent[frame.id, frame.data] = (1, now - 10.0, False)
    bus._inbox.append((frame, time.time(), now - 9.9))
    bus._deliver()
    assert ear.frames == []
    bus._inbox.append((frame, time.time(), now))  # the module says the same
    bus._deliver()
    assert len(ear.frames) == 1
    await bus.leave(ear)


async def test_GIVEN_silence_WHEN_modules_keep_being_asked_THEN_the_adapter_is_opened_anew(adapters, monkeypatch):
    monkeypatch.setattr(can_bus, "SILENCE", 0.1)
    bus, ear = await opened()
    bus.send(read(5, BY_NAME["ModuleStatus"]))
    await asyncio.sleep(0.15)
    with pytest.raises(LinkDown, match=r"nothing received for 0\.1 s"):
        bus.send(read(5, BY_NAME["ModuleStatus"]))
    await bus.leave(ear)


async def test_GIVEN_an_adapter_that_has_just_failed_WHEN_joined_THEN_it_rests_and_is_then_opened_again(monkeypatch):
    monkeypatch.setattr(can_bus, "RESTING", math.inf)
    opens = 0

    def fail(**options):
        nonlocal opens
        opens += 1
        raise can.CanInitializationError("cannot open can0")

    monkeypatch.setattr(can_bus.can, "Bus", fail)
    for _ in range(5):
        with pytest.raises(LinkDown, match=r"CAN adapter main \(virtual fake\): cannot open can0"):
            await opened()
    assert opens == 1
    monkeypatch.setattr(can_bus, "RESTING", 0.0)
    with pytest.raises(LinkDown):
        await opened()
    assert opens == 2
    await until(lambda: threads() == [], what="threads")


async def test_GIVEN_an_adapter_that_hangs_while_it_is_opened_WHEN_joined_THEN_that_ends(monkeypatch):
    release = threading.Event()

    def hang(**options):
        release.wait(5)
        return Adapter("fake")

    monkeypatch.setattr(can_bus.can, "Bus", hang)
    monkeypatch.setattr(can_bus, "OPEN_SECONDS", 0.1)
    monkeypatch.setattr(can_bus, "CLOSE_SECONDS", 0.1)
    with pytest.raises(LinkDown, match="does not react"):
        await opened()
    release.set()


async def test_GIVEN_a_wrong_option_WHEN_opened_THEN_the_error_names_it():
    ear = Ear(5)
    with pytest.raises(LinkDown, match=r"option bitrat: no option of interface virtual.*did you mean bitrate"):
        await join("wrong", {"interface": "virtual", "bitrat": 125000}, ear)


async def test_GIVEN_interfaces_WHEN_frames_are_stamped_THEN_only_stamps_of_this_clock_are_believed(adapters):
    made, _ = adapters
    for interface, ages in (("socketcan", (5.0, -1.0, 7200.0)), ("pcan", (5.0,))):
        ear = Ear(5)
        bus = await join(interface, {"interface": interface, "channel": "fake"}, ear)
        now = time.time()
        frames = [can.Message(arbitration_id=0x228, data=b"\x10\0w\1", is_extended_id=False, timestamp=now - age)
                  for age in reversed(ages)]  # fmt: skip
        made[-1].plan = lambda timeout, frames=frames: frames.pop() if frames else time.sleep(timeout)
        await until(lambda ear=ear, ages=ages: len(ear.frames) == len(ages))
        believed = [abs(stamp - (now - age)) < 1e-3 for stamp, age in zip(ear.stamps, ages, strict=True)]
        assert believed == [interface == "socketcan", False, False][: len(ages)]
        assert all(believed[n] or abs(stamp - time.time()) < 1.0 for n, stamp in enumerate(ear.stamps))
        await bus.leave(ear)


async def test_GIVEN_frames_that_no_node_acknowledges_WHEN_they_are_given_up_THEN_the_adapter_forgets_them(adapters):
    made, _ = adapters
    flushed: list[int] = []
    bus, ear = await opened()
    made[0].flush_tx_buffer = lambda: flushed.append(len(made[0].sent))
    bus.discard()  # nothing has been sent
    bus.send(write(5, BY_NAME["VoltageSet"], 1000.0, 3))
    bus.discard()
    await until(lambda: flushed == [1])
    answers = [can.Message(arbitration_id=0x228, data=b"\x10\0w\1", is_extended_id=False)]
    made[0].plan = lambda timeout: answers.pop() if answers else time.sleep(timeout)
    await until(lambda: bool(ear.frames))
    bus.discard()  # a node is there, so it has acknowledged everything
    await bus.leave(ear)
    assert flushed == [1, 1]  # and once more when it is closed
