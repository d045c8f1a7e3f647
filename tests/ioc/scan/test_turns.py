"""No device holds the event loop for longer than a slice, and none is left out."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ioc.scan.schedule import POSTING, STARTS, Turns, phase
from tests.ioc.fakes import FakeClock


class TurnCounter:
    """Numbers the turns of the running loop."""

    def __init__(self) -> None:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self.now += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_fifty_scans_due_at_one_moment_begin_ten_in_a_turn() -> None:
    turns, counter, begun = Turns(FakeClock()), TurnCounter(), []

    async def scan() -> None:
        await turns.start()
        begun.append(counter.now)

    await asyncio.gather(*(scan() for _ in range(50)))
    counter.stop()
    per_turn = [len(list(group)) for _, group in itertools.groupby(begun)]
    assert per_turn == [STARTS] * 5


async def test_a_scan_alone_begins_at_once() -> None:
    turns, counter = Turns(FakeClock()), TurnCounter()
    for _ in range(3 * STARTS):
        before = counter.now
        await turns.start()
        assert counter.now == before
        await asyncio.sleep(0)
    counter.stop()


async def test_all_who_post_in_one_turn_share_its_slice() -> None:
    clock = FakeClock()
    turns, counter = Turns(clock), TurnCounter()
    spent: dict[int, float] = {}

    async def post() -> None:
        async with turns:
            for _ in range(7):
                clock.now += POSTING / 4
                spent[counter.now] = spent.get(counter.now, 0.0) + POSTING / 4
                if turns.over():
                    await turns.yield_to_loop()

    await asyncio.gather(*(post() for _ in range(5)))
    counter.stop()
    assert max(spent.values()) <= 1.26 * POSTING
    assert sum(spent.values()) == pytest.approx(5 * 7 * POSTING / 4)


async def test_whoever_is_cancelled_while_waiting_for_a_slice_lets_the_next_one_in() -> None:
    clock = FakeClock()
    turns = Turns(clock)
    assert not turns.over()
    clock.now += 2 * POSTING

    async def enter() -> None:
        async with turns:
            pass

    waiting = asyncio.create_task(enter())
    ready: asyncio.Future[None] = asyncio.Future()
    asyncio.get_running_loop().call_soon(ready.set_result, None)  # behind the task's first step
    await ready
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5):
        await enter()


def test_phases_of_any_number_of_devices_lie_apart() -> None:
    for count in (2, 5, 20, 100):
        points = sorted(phase(number) for number in range(count))
        gaps = [after - before for before, after in itertools.pairwise([*points, points[0] + 1.0])]
        assert max(gaps) < 2 / count
        assert min(gaps) > 1 / (3 * count)
        assert points[0] >= 0.0
        assert points[-1] < 1.0
