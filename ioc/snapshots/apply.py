"""Putting a plan in force, value by value."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ioc.client import Channel, Client, PutError, Reading
from ioc.snapshots.plan import Step
from ioc.snapshots.present import Trouble, equal, read, scalar

DONE, IN_FORCE, REFUSED, UNKNOWN, LEFT_OUT = "done", "in force already", "refused", "unknown", "not tried"
"""What became of a step."""

FAILED: Final = frozenset({REFUSED, UNKNOWN})

_LOOK_SECONDS: Final = 0.5
_SETTLE_SECONDS: Final = 1.0
"""How much younger than the put a state has to be: the supply takes a moment until it says that it moves."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step, and why, if there is something to say."""

    step: Step
    result: str
    reason: str = ""


Why = Callable[[Channel, PutError, float], Awaitable[str]]
"""Returns the words for a refusal; the last argument is when the put was sent, as Unix time."""


@dataclass(slots=True)
class Restore:
    """Applies steps one after the other; ``wait`` is how long one may take, ``ramp`` how long an output may move.

    With ``go_on`` a refusal ends the owner of the setting only: what is left of a channel, or of a whole device when
    the setting is its own, is not tried, so that no value follows a limit that was refused and nothing is switched on.
    """

    client: Client
    why: Why
    wait: float
    ramp: float
    go_on: bool
    _ended: set[str] = field(default_factory=set)
    _all_ended: bool = False
    _stamps: dict[str, float] = field(default_factory=dict)

    async def apply(self, steps: Iterable[Step], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Apply the steps and report each as soon as it is over."""
        outcomes = []
        for step in steps:
            outcome = await self._one(step)
            if outcome.result in FAILED:
                self._ended.add(step.setting.owner)
                self._all_ended = not self.go_on
            report(outcome)
            outcomes.append(outcome)
        return outcomes

    async def _one(self, step: Step) -> Outcome:
        if self._all_ended or step.setting.owner in self._ended or step.setting.device.name in self._ended:
            return Outcome(step, LEFT_OUT, "after what was refused")
        if step.await_rest and (reason := await self._rest(step)):
            return Outcome(step, REFUSED, reason)
        readback = step.setting.readback
        names = [step.pv, step.pv if readback is None else readback.name]
        channel, value = await self.client.connect(names, self.wait)
        now = await read(value, self.wait)
        if isinstance(now, Trouble):
            return Outcome(step, REFUSED, now.text)
        if equal(step.value, scalar(now), now):
            return Outcome(step, IN_FORCE)
        if not equal(step.before, scalar(now), now):
            return Outcome(step, REFUSED, f"it was changed meanwhile, to {step.text(scalar(now))}")
        return await self._put(step, channel, value)

    async def _put(self, step: Step, channel: Channel, value: Channel) -> Outcome:
        asked = time.time()
        try:
            await channel.put(step.value, self.wait)
        except PutError as error:
            return Outcome(step, UNKNOWN if error.unknown else REFUSED, await self.why(channel, error, asked))
        after = await read(value, self.wait)
        if isinstance(after, Reading) and not step.await_rest:  # a limit moves nothing
            self._stamps[step.setting.owner] = after.stamp
        return Outcome(step, DONE)

    async def _rest(self, step: Step) -> str:
        """Wait until an output has arrived; returns why it has not."""
        until = time.monotonic() + self.ramp
        (moving,) = await self.client.connect([step.await_rest], self.wait)
        younger = self._stamps.get(step.setting.owner, 0.0) + _SETTLE_SECONDS
        while True:
            now = await read(moving, self.wait)
            if isinstance(now, Trouble):
                return f"{step.await_rest}: {now.text}"
            if now.stamp > younger and now.value == 0:
                return ""
            if time.monotonic() > until:
                return f"the output still moves after {self.ramp:g} s ({step.await_rest} is {now.text})"
            await asyncio.sleep(_LOOK_SECONDS)
