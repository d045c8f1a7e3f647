"""One way of a group from where it is to OFF, STANDBY or ON: stage after stage, with the rules on the way."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ioc.automation.member import Member, Put
from ioc.clock import Clock, wait_for
from ioc.records import Cancelled, PutRefused
from ioc.site.groups import KEEP, OFF, Group, Target

TICK: Final = 0.5
"""Seconds between two looks at the members when nothing changes."""

GRACE: Final = 3.0
"""Seconds for the reason to be known after which a member that went off by itself counts as tripped."""

STALL: Final = 60.0
"""Seconds without any change on the way to OFF after which everything is switched off at once."""

_SMALLEST_STEP: Final = 0.25
"""Part of the permitted difference below which a step to keep it is not worth a write."""


class Stopped(Exception):
    """The sequence ended before its end; the text says why.

    ``tripped``: a member has switched off. ``hold``: what ramps is to stay where it is.
    """

    def __init__(self, reason: str, tripped: bool = False, hold: bool = True) -> None:
        super().__init__(reason)
        self.tripped = tripped
        self.hold = hold


def stages_of(group: Group, members: Mapping[str, Member], state: str) -> list[list[Member]]:
    """Return the stages of the way to a state: reversed for OFF, and when more members go down than up."""
    down = sum(_direction(member, member.settings.targets[state]) for member in members.values()) < 0
    stages = reversed(group.stages) if down or state == "OFF" else iter(group.stages)
    return [[members[base] for base in stage if base in members] for stage in stages]


def _direction(member: Member, target: Target) -> int:
    if target == KEEP:
        return 0 if member.on else 1
    present, goal = member.effective, target if isinstance(target, float) else 0.0
    return (goal > present) - (goal < present)


class MoveSequence:
    """Moves ``members`` to a state; ``put`` puts a value and is refused once ``cancelled`` is set.

    ``everyone`` is the whole group: differences are kept to those who are not moved, too.

    ``closed`` returns why nothing can be written at the moment. ``show`` takes a sentence about what it is doing.
    """

    def __init__(
        self,
        group: Group,
        members: Mapping[str, Member],
        everyone: Mapping[str, Member],
        state: str,
        put: Put,
        cancelled: Cancelled,
        clock: Clock,
        closed: Callable[[], str | None],
        show: Callable[[str], None],
    ) -> None:
        self.state = state
        self.stages = stages_of(group, members, state)
        self._group = group
        self._members = members
        self._everyone = everyone
        self._put = put
        self._cancelled = cancelled
        self._clock = clock
        self._closed = closed
        self._show = show
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, str] = {}
        self.remark = ""
        """Why it did not keep the order down, empty when it did."""
        self._stopped: Stopped | None = None
        self._dropped_at: float | None = None
        self._wake = asyncio.Event()
        self._from = {base: (member.measured, member.effective) for base, member in members.items()}
        for member in members.values():
            member.begin()

    def wake(self) -> None:
        """Look at the members now."""
        self._wake.set()

    def stop(self, why: Stopped) -> None:
        """End it: what has not been sent is withdrawn, ``run`` raises ``why``."""
        self._stopped = self._stopped or why
        self._cancelled.set()
        self._wake.set()

    @property
    def progress(self) -> float:
        """How much of the way is done, in %."""
        return 100.0 * sum(self._done(member) for member in self._members.values()) / max(len(self._members), 1)

    def _done(self, member: Member) -> float:
        target = member.settings.targets[self.state]
        if member.arrived(target):
            return 1.0
        goal = target if isinstance(target, float) else 0.0 if target == OFF and member.unit == "V" else None
        begun = self._from[member.base][0]
        if goal is None or member.problem() or begun == goal:
            return 0.0
        return min(max(1.0 - abs(goal - member.measured) / abs(goal - begun), 0.0), 0.99)

    async def run(self) -> None:
        """Move everything; returns when all have arrived.

        Raises Stopped, or PutRefused when not everything is known to be off.
        """
        try:
            if self.state == "OFF":
                await self._switch_off()
            else:
                for number, stage in enumerate(self.stages, 1):
                    last = number == len(self.stages)  # at its end all of them have to be there
                    await self._stage(number, list(self._members.values()) if last else stage)
        except asyncio.CancelledError:
            self._cancelled.set()
            raise

    # ---- up, and to STANDBY

    async def _stage(self, number: int, stage: Sequence[Member]) -> None:
        until = self._clock.monotonic() + self._group.timeout
        while True:
            self._check()
            waiting = self._waiting(stage)
            if not waiting:
                return
            self._show(f"to {self.state}, stage {number} of {len(self.stages)}: {titles(waiting)}")
            if self._clock.monotonic() >= until:
                raise Stopped(f"stage {number} has taken {self._group.timeout:g} s: {titles(waiting)} not settled")
            for member in waiting if self._dropped_at is None else ():
                self._advance(member)
            await self._nap()

    def _check(self) -> None:
        """Raise Stopped when it must not go on."""
        if self._stopped is not None:
            raise self._stopped
        members = self._members.values()
        if fault := next((found for member in members if (found := member.fault())), ""):
            raise Stopped(fault, tripped=True)
        if lost := next((found for member in members if (found := member.problem())), ""):
            raise Stopped(lost)
        if (reason := self._closed()) is not None:
            raise Stopped(reason)
        if other := next((found for member in members if (found := member.disturbed())), ""):
            raise Stopped(f"{other}, not by this group", hold=False)
        self._look_for_losses()
        for base, reason in self._failures.items():
            raise Stopped(f"{self._members[base].title}: {reason}")

    def _look_for_losses(self) -> None:
        """Raise Stopped for a member that went off by itself, when there was time to find out why."""
        if (off := next((member for member in self._members.values() if member.dropped()), None)) is None:
            self._dropped_at = None
        elif self._dropped_at is None:
            self._dropped_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._dropped_at >= GRACE:
            raise Stopped(f"{off.title} is off, not by this group", tripped=True)

    # ---- off

    async def _switch_off(self) -> None:
        """Go down in order; when that is not possible, everything that is left at once."""
        trouble = ""
        stall = _Stall(self._members.values(), self._clock)
        for number, stage in enumerate(self.stages, 1):
            until = self._clock.monotonic() + self._group.timeout
            while not trouble and (waiting := self._waiting(stage)):
                if self._stopped is not None:
                    raise self._stopped
                self._show(f"to OFF, stage {number} of {len(self.stages)}: {titles(waiting)}")
                trouble = self._obstacle() or (f"{titles(waiting)} not coming down" if stall.lasts() else "")
                if self._clock.monotonic() >= until:
                    trouble = f"stage {number} has taken {self._group.timeout:g} s"
                if not trouble:
                    for member in waiting:
                        self._advance(member)
                    await self._nap()
        if trouble:
            await self._all_at_once(trouble)
        elif again := [one for one in self._members.values() if one.settings.targets["OFF"] == OFF and not one.at(OFF)]:
            raise PutRefused(f"{titles(again)} switched on meanwhile, not by this group")

    def _obstacle(self) -> str:
        """Return why the order down cannot be kept."""
        for member in self._members.values():
            if member.settings.targets["OFF"] != KEEP and (problem := member.problem()):
                return problem
        return next((f"{self._members[base].title}: {reason}" for base, reason in self._failures.items()), "")

    async def _all_at_once(self, trouble: str) -> None:
        """Switch everything off. Raises Stopped, or PutRefused naming what is not known to be off."""
        left = [member for member in self._members.values() if member.settings.targets["OFF"] != KEEP]
        self.remark = f", all at once: {trouble}"
        self._show(f"to OFF{self.remark}")
        self._failures.clear()
        for member in left:
            self._spawn(member, OFF)
        while self._tasks:
            if self._stopped is not None:
                raise self._stopped
            await self._nap()
        if self._failures:
            text = failures({self._members[base].title: reason for base, reason in self._failures.items()})
            raise PutRefused(f"{len(self._failures)} of {len(left)} members not known to be off: {text}")

    # ---- single members

    def _waiting(self, stage: Collection[Member]) -> list[Member]:
        """Return the members of a stage that have not arrived; one that is to go off gets its put even if it is off."""
        return [
            member
            for member in stage
            if not member.arrived(target := member.settings.targets[self.state])
            or (target == OFF and member.reached != OFF)
        ]

    def _advance(self, member: Member) -> None:
        """Send what has to be sent to a member now, if anything."""
        if member.base in self._tasks or member.base in self._failures:
            return
        if member.sending and self.state != "OFF":
            return  # of an earlier sequence, on its way to the device; only OFF overtakes it
        target = self._next(member)
        if target is None or target == member.reached:
            return
        if target != OFF and member.at(target):
            member.reached = target  # it is there already: from now on a change by others ends the sequence
        else:
            self._spawn(member, target)

    def _next(self, member: Member) -> Target | None:
        """Return where a member may go now: all the way, or as far as its neighbours permit; None for nowhere."""
        target = member.settings.targets[self.state]
        others = list(self._neighbours(member))
        if not others or target == KEEP:
            return target
        sign = -1.0 if member.negative else 1.0
        goal = target if isinstance(target, float) else 0.0
        present = member.effective
        volts = abs(allowed(sign * goal, sign * present, others))
        if abs(volts - goal) <= member.tolerance:
            return target
        smallest = _SMALLEST_STEP * min(difference for _, difference in others)
        if abs(volts - present) < smallest:
            return None
        rounded = math.floor if volts > present else math.ceil
        return round(rounded(volts / member.step + 1e-9 * (1 if volts > present else -1)) * member.step, 6)

    def _neighbours(self, member: Member) -> Iterator[tuple[Range, float]]:
        for chain in self._group.neighbours:
            for one, other in pairwise(chain.names):
                if member.base in (one, other):
                    base = other if member.base == one else one
                    yield _range(self._everyone[base]), chain.difference

    def _spawn(self, member: Member, target: Target) -> None:
        task = asyncio.create_task(self._move(member, target), name=f"{self._group.name}: {member.title}")
        self._tasks[member.base] = task

    async def _move(self, member: Member, target: Target) -> None:
        try:
            await member.move(target, self._put)
        except PutRefused as refusal:
            self._failures[member.base] = str(refusal)
        finally:
            if self._tasks.get(member.base) is asyncio.current_task():
                del self._tasks[member.base]
            self._wake.set()

    async def _nap(self) -> None:
        """Wait for a change, or a tick."""
        try:
            await wait_for(self._wake, TICK, self._clock)
        finally:
            self._wake.clear()


class _Stall:
    """Whether nothing has moved for a while."""

    def __init__(self, members: Collection[Member], clock: Clock) -> None:
        self._members = members
        self._clock = clock
        self._volts: list[int] = []
        self._since = clock.monotonic()

    def lasts(self) -> bool:
        """Return whether no member has moved by a volt, nor is being written to, for ``STALL`` seconds."""
        volts = [round(member.measured) for member in self._members if not member.problem()]
        if volts != self._volts or any(member.sending for member in self._members):
            self._volts, self._since = volts, self._clock.monotonic()
        return self._clock.monotonic() - self._since >= STALL


@dataclass(frozen=True, slots=True)
class Range:
    """Where a voltage may be, in V with its sign: while it ramps anywhere between what is measured and what is set."""

    low: float
    high: float


def allowed(target: float, present: float, neighbours: Iterable[tuple[Range, float]]) -> float:
    """Return the setting next on the way from ``present`` to ``target`` that each neighbour permits.

    A neighbour is its range and the difference that it permits, kept to the whole range however fast either ramps.
    Nothing is ever moved away from the target: what cannot move stays at ``present``.
    """
    low, high = target, target
    for other, difference in neighbours:
        high = min(high, other.low + difference)
        low = max(low, other.high - difference)
    if target >= present:
        return max(present, min(target, high))
    return min(present, max(target, low))


def _range(member: Member) -> Range:
    """Return everywhere that the voltage of a member may be until its present settings are reached."""
    sign = -1.0 if member.negative else 1.0
    volts = [sign * one for one in member.may_be]
    return Range(min(volts), max(volts))


def titles(members: Sequence[Member]) -> str:
    """Name the first of some members and count the others."""
    more = f" and {len(members) - 1} more" if len(members) > 1 else ""
    return f"{members[0].title}{more}"


def failures(reasons: Mapping[str, str]) -> str:
    """Name what failed, those with one reason together."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    more = {reason: f" and {len(some) - 1} more" if len(some) > 1 else "" for reason, some in names.items()}
    return "; ".join(f"{some[0]}{more[reason]}: {reason}" for reason, some in names.items())
