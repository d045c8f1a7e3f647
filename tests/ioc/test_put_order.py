"""What a slow device received against what each client was answered: any order of puts, departures and interruptions.

A line takes 0.3 s for each exchange and is shared by two devices and their scans. A put looks at the device, sets, and
reads back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import rounds
from tests.ioc.fakes import settle
from tests.ioc.put_order_rig import UNKNOWN, Put, ready

# ---- the figures of slow links


async def test_GIVEN_8_puts_to_8_channels_WHEN_disarmed_after_a_second_THEN_no_set_leaves_afterwards() -> None:
    site = await ready()
    puts = [site.put("HV1", n) for n in range(8)]
    await site.clock.advance(1.0)
    disarming = asyncio.create_task(site.set("IOC:ARMED", 0))
    await site.clock.advance(1.0)
    assert disarming.done()
    before = len(site.events)
    await site.clock.advance(20.0)
    assert {kind for kind, _ in site.events[before:]} <= {"answered"}
    assert [site.sent(put) for put in puts] == [1, *7 * [0]]
    assert puts[0].answer == ""
    assert all("not armed" in str(put.answer) for put in puts[1:])
    await site.stop()


async def test_GIVEN_8_puts_WHEN_the_device_is_disabled_THEN_the_one_on_the_wire_is_awaited_and_no_other_sent() -> None:
    site = await ready()
    puts = [site.put("HV1", n) for n in range(8)]
    other = site.put("HV2", 0)
    await site.clock.advance(1.0)
    disabling = asyncio.create_task(site.set("HV1:DISABLE", 1))
    await site.clock.advance(0.01)
    assert [put.answer for put in puts[1:]] == 7 * ["HV1 is disabled for maintenance"]
    await site.clock.advance(2.0)
    assert disabling.done()
    assert [site.sent(put) for put in puts] == [1, *7 * [0]]
    assert (other.answer, site.sent(other)) == ("", 1)
    await site.stop()


async def test_GIVEN_8_puts_whose_clients_leave_after_5_s_WHEN_the_line_goes_on_THEN_none_is_sent_later() -> None:
    site = await ready()
    puts = [site.put("HV1", n) for n in range(8)]
    await site.clock.advance(5.0)
    before = [site.sent(put) for put in puts]
    for put in puts:
        put.context.cancelled.set()
    await site.clock.advance(20.0)
    assert [site.sent(put) for put in puts] == before
    assert 0 in before
    await site.stop()


@pytest.mark.parametrize("device", ["HV1", "HV2"])
async def test_GIVEN_a_queue_of_settings_WHEN_an_output_is_switched_off_THEN_it_is_sent_within_a_second(
    device: str,
) -> None:
    site = await ready()
    puts = [site.put("HV1", n) for n in range(8)]
    await site.clock.advance(0.7)
    off = site.put(device, 7, off=True)
    await site.clock.advance(1.0)
    assert site.sent(off) == 1
    await site.clock.advance(20.0)
    assert off.answer == ""
    if device == "HV1":
        assert (puts[7].answer, site.sent(puts[7])) == ("LAB:HV1:CH07:ON = 0 overtook it; nothing was sent", 0)
    await site.stop()


# ---- any order

DEVICES = st.sampled_from(["HV1", "HV2"])
PAUSES = st.sampled_from([0.0, 0.05, 0.2, 0.35, 0.65, 1.0])


class PutMachine(RuleBasedStateMachine):
    """Clients, switches, cables and silence by chance; the invariants compare device and clients after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.site = self.run(ready())
        self.switching: list[tuple[str, asyncio.Task[None]]] = []
        self.closed: dict[str, int] = {}  # number of events when nothing could be written to a device any more

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _begin(self, device: str, channel: int, off: bool) -> None:
        put = self.site.put(device, channel, off=off)
        await settle()
        if off:
            for one in self.site.puts:
                if (one.device, one.channel) == (device, channel) and not one.off:
                    self._end(one, answered=not put.answer)  # one that is refused overtakes nothing

    def _end(self, put: Put, answered: bool = True) -> None:
        """Note that a put must not be sent from now on, because its client has left or its output is switched off."""
        if put.over is None:
            put.over = len(self.site.events)
        put.answered_then |= answered

    async def _switch(self, name: str, value: float) -> None:
        async def switch() -> None:
            await self.site.set(name, value)
            if (value == 0) == name.startswith("IOC"):
                self.closed[name] = len(self.site.events)

        if (value == 0) != name.startswith("IOC"):
            self.closed.pop(name, None)
        self.switching.append((name, asyncio.create_task(switch())))
        await settle()

    def _free(self, name: str) -> bool:
        return all(task.done() for one, task in self.switching if one == name)

    def _pause(self, seconds: float) -> None:
        self.run(self.site.clock.advance(seconds))

    @rule(device=DEVICES, channels=st.lists(st.integers(0, 2), min_size=1, max_size=9), off=st.booleans(), pause=PAUSES)
    def put(self, device: str, channels: list[int], off: bool, pause: float) -> None:
        """Put a setting to each of these channels, and switch the last one off."""
        for channel in channels:
            self.run(self._begin(device, channel, False))
        self._pause(pause)
        if off:
            self.run(self._begin(device, channels[-1], True))
            self._pause(pause)

    @rule(device=DEVICES, channel=st.integers(0, 2), pause=PAUSES)
    def put_one(self, device: str, channel: int, pause: float) -> None:
        self.run(self._begin(device, channel, False))
        self._pause(pause)

    @precondition(lambda self: any(put.answer is None for put in self.site.puts))
    @rule(data=st.data(), pause=PAUSES)
    def leave(self, data: st.DataObject, pause: float) -> None:
        put = data.draw(st.sampled_from([put for put in self.site.puts if put.answer is None]))
        put.context.cancelled.set()
        self._end(put)
        self._pause(pause)

    def _await_a_set(self) -> Put | None:
        """Let time pass until a set is on the wire, where there is one to come soon, and return it."""
        for _ in range(20):
            changes = [(kind, number) for kind, number in self.site.events if kind != "answered"]
            if changes and changes[-1][0] == "sent":
                return self.site.puts[changes[-1][1]]
            if all(put.answer is not None for put in self.site.puts):
                return None
            self._pause(0.05)
        return None

    def _there_and_back(self, name: str, value: float, pause: float) -> None:
        """Move a switch and back: what was refused meanwhile must not leave then."""
        for position in (value, 1 - value):
            if self._free(name):
                self.run(self._switch(name, position))
                self._pause(pause)
                self.nothing_is_sent_while_it_is_forbidden()

    @rule(meanwhile=st.booleans(), pause=PAUSES)
    def disarm_for_a_while(self, meanwhile: bool, pause: float) -> None:
        """Disarm and arm again; ``meanwhile``: while a set is on the wire."""
        if meanwhile:
            self._await_a_set()
        self._there_and_back("IOC:ARMED", 0, pause)

    @rule(device=DEVICES, meanwhile=st.booleans(), pause=PAUSES)
    def disable_for_a_while(self, device: str, meanwhile: bool, pause: float) -> None:
        if meanwhile and (put := self._await_a_set()) is not None:
            device = put.device
        self._there_and_back(f"{device}:DISABLE", 1, pause)

    @rule()
    def set_the_switches_back(self) -> None:
        for name, value in (("IOC:ARMED", 1.0), ("HV1:DISABLE", 0.0), ("HV2:DISABLE", 0.0)):
            if self._free(name):
                self.run(self._switch(name, value))
        self._pause(3.0)

    @rule(pause=PAUSES)
    def unplug_for_a_while(self, pause: float) -> None:
        self.site.line.connected = False
        self._pause(pause)
        self.site.line.connected = True

    @rule()
    def lose_an_answer(self) -> None:
        self.site.line.silent = 1

    @rule(seconds=st.sampled_from([1.0, 3.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self._pause(seconds)

    @invariant()
    def each_put_does_what_its_client_is_answered(self) -> None:
        events = self.site.events
        for put in self.site.puts:
            answer, sent = put.answer, self.site.sent(put)
            assert sent <= 1, f"put {put.number} was sent {sent} times"
            if put.over is not None:
                assert ("sent", put.number) not in events[put.over :], f"put {put.number} was sent after its end"
                there = sent or answer is not None or not put.answered_then
                assert there, f"put {put.number} is not answered although it is over"
            if answer is None:
                assert self.site.clock.now - put.asked < 5.1 or sent or put.off, f"put {put.number} waits for too long"
                continue
            if sent:
                at, answered = events.index(("sent", put.number)), events.index(("answered", put.number))
                assert at < answered, f"put {put.number} was sent after its answer {answer!r}"
            # a put that came later is refused with the last message, which may be that of an unknown outcome
            unknown = UNKNOWN in answer and "is not connected: " not in answer
            assert (answer == "" or unknown) == bool(sent), f"put {put.number}: {answer!r}, sent {sent} times"

    @invariant()
    def nothing_is_sent_while_it_is_forbidden(self) -> None:
        for name, at in self.closed.items():
            for kind, number in self.site.events[at:]:
                concerned = name.startswith("IOC") or self.site.puts[number].device == name[:3]
                assert not (kind != "answered" and concerned), f"put {number} was on the wire after {name}"

    def teardown(self) -> None:
        self.site.line.connected, self.site.line.silent = True, 0
        self.run(self.site.clock.advance(30.0))
        self.each_put_does_what_its_client_is_answered()
        assert all(put.answer is not None for put in self.site.puts)
        assert all(task.done() for _, task in self.switching)
        self.run(self.site.stop())
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


TestPutMachine = PutMachine.TestCase
TestPutMachine.settings = settings(max_examples=rounds(30), stateful_step_count=20, deadline=None)
