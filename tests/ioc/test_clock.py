"""Waiting for what may happen at any time, but not for ever."""

from __future__ import annotations

import asyncio

import pytest

from ioc.clock import wait_for
from tests.ioc.fakes import FakeClock, settle


@pytest.mark.parametrize("step", [0.0, -3600.0, 3600.0])
async def test_it_ends_after_its_time_at_the_latest_also_when_the_clock_is_set(step: float) -> None:
    clock, event = FakeClock(), asyncio.Event()
    task = asyncio.create_task(wait_for(event, 2.0, clock))
    await clock.advance(1.9)
    clock.offset += step
    assert not task.done()
    await clock.advance(0.1)
    assert (task.done(), event.is_set()) == (True, True)


@pytest.mark.parametrize("how", ["set before", "set meanwhile", "cancelled"])
async def test_nothing_is_set_any_more_once_it_has_ended(how: str) -> None:
    clock, event = FakeClock(), asyncio.Event()
    if how == "set before":
        event.set()
    task = asyncio.create_task(wait_for(event, 2.0, clock))
    await settle()
    if how == "cancelled":
        task.cancel()
    else:
        event.set()
    await settle()
    assert (task.done(), task.cancelled()) == (True, how == "cancelled")
    event.clear()
    await clock.advance(10.0)
    assert not event.is_set()
