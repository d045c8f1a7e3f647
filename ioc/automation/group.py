"""``GRP:NAME:*``: channels and furnaces that are moved together by one put. It is no safety system."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from devices.model import Cause, Level
from ioc.automation.control import Control
from ioc.automation.member import Member
from ioc.automation.sequence import GRACE, TICK, MoveSequence, Stopped, failures, stages_of, titles
from ioc.clock import Clock, wait_for
from ioc.puts import PutPath
from ioc.records import Cancelled, PutContext, PutRefused, Record, RecordSet, Value, fields_of
from ioc.records.status import DBE_ALARM, DBE_VALUE
from ioc.scan.device_records import ALARM_STATUS
from ioc.site.groups import KEEP, OFF, STATES, Group, Target

log = logging.getLogger("labioc.groups")

RAMPING, MIXED, FAULT, LOST = 1, 4, 5, 6
_STATE_VALUES: Final = {"OFF": 0, "STANDBY": 2, "ON": 3}
"""States of STATE."""

REFRESH, GATHER = 1.0, 0.1
"""Seconds between two looks at the members on their way, and after a change, since those of one scan come together."""

_LONGEST_PLAN: Final = 4000


class GroupControl(Control):
    """The source of the PVs of one group, and the monitor of what its members do."""

    mask = DBE_VALUE | DBE_ALARM

    def __init__(
        self, group: Group, own: Mapping[str, Record], records: RecordSet, prefix: str, puts: PutPath, clock: Clock
    ) -> None:
        super().__init__(group.name, own, puts, clock)
        self.user = f"labioc:GRP:{group.name}"
        self.held = False
        """Whether an operator, or a fault, has stopped it on its way, and it has not been put anywhere since."""
        self._group = group
        self._members = {base: Member(one, records, prefix, clock) for base, one in group.members.items()}
        self._sequence: MoveSequence | None = None
        self._mine: PutContext | None = None
        self._engaged = False
        self._last = ""
        self._faults: frozenset[str] = frozenset()
        self._planned, self._plan_due = -math.inf, False
        self._moved = {record.name: member for member in self._members.values() for record in member.moved_by}
        for member in self._members.values():
            for record in member.watched:
                record.subscribe("VAL", self)
        for signal in ("GO", "HOLD.CMD"):
            self._own[signal].source = self
        puts.observers.append(self._observe)
        self._show("HOLD.CMD", 0)
        self._show("PROGRESS", 0.0)
        self._say("not used since the server started")

    @property
    def bases(self) -> Collection[str]:
        """Names of its members without prefix."""
        return self._members.keys()

    # ---- hooks of its records, and of those of its members

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take note that a member has changed."""
        self._wake.set()
        if self._sequence is not None:
            self._sequence.wake()

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Move the group, or stop it where it is; complete when it has arrived or stands. Raises PutRefused."""
        if record is self._own["HOLD.CMD"]:
            if value:
                text, work = "HOLD", partial(self._hold, context)
                await self._puts.put_group(record.name, text, context, None, work, urgent=True)
        elif isinstance(value, int) and 0 <= value < len(STATES):
            await self.go(STATES[value], context)
        else:
            raise PutRefused(f"{record.name}: found {value!r}, allowed: {', '.join(self._group.states)}")

    def _observe(self, record: Record, context: PutContext) -> None:
        """End the sequence when anybody else puts to what it moves; the way to OFF goes on all the same."""
        if context is self._mine or (member := self._moved.get(record.name)) is None:
            return
        member.note_put()
        if self._sequence is not None and self._sequence.state != "OFF":
            self._sequence.stop(Stopped(f"{context.user}@{context.host} has put to {record.name}", hold=False))

    # ---- moving

    async def go(self, state: str, context: PutContext) -> None:
        """Move the group to OFF, STANDBY or ON; returns when it has arrived. Raises PutRefused.

        It takes the place of what the group was doing. Once begun it goes on, also when its client has gone.
        """
        work = partial(self._go, state, context)
        await self._puts.put_group(self._own["GO"].name, state, context, None, work, urgent=True)

    async def lower(self, context: PutContext) -> None:
        """Bring what is above its STANDBY there; nothing is switched on or raised. Raises PutRefused."""
        work = partial(self._lower, context)
        await self._puts.put_group(self._own["GO"].name, "STANDBY", context, None, work, urgent=True)

    async def _lower(self, context: PutContext) -> None:
        """Take the place of what the group was doing, unless that is OFF, and lower what is known to be above STANDBY.

        Raises PutRefused, also naming what stays since the voltage of a neighbour is not known.
        """
        ended = False
        while self._sequence is not None or any(member.sending for member in self._members.values()):
            if self._sequence is not None and self._sequence.state == "OFF":
                return
            if self._sequence is not None:
                text = f"STANDBY by {context.user}@{context.host} took its place"
                self._sequence.stop(Stopped(text, hold=False))
                self._end()
                ended = True
            await asyncio.gather(*(member.written() for member in self._members.values()))
        lost = {base for base, member in self._members.items() if member.problem()}
        bound = {base for chain in self._group.neighbours if lost.intersection(chain.names) for base in chain.names}
        above = {base for base, member in self._members.items() if _above(member, "STANDBY")}
        if ended or above - bound:
            await self._go("STANDBY", context, self._members.keys() - (above - bound))
        if stay := [self._members[base] for base in self._members if base in above & bound]:
            raise PutRefused(f"{titles(stay)} not lowered: a neighbour is not known")

    async def _go(self, state: str, context: PutContext, left_out: Collection[str] = ()) -> None:
        members = {base: member for base, member in self._members.items() if base not in left_out}
        asked = self._asked(context)
        if (reason := self.objection(state, members)) is not None:
            if self._sequence is None:
                self._say(f"{state} refused: {reason} [{asked}]")
            raise PutRefused(reason)
        if self._sequence is not None:
            self._sequence.stop(Stopped(f"{state} by {context.user}@{context.host} took its place", hold=False))
        self._engaged, self.held, self._last = state != "OFF", False, state
        self._faults = self._faulty()
        cancelled = Cancelled()
        mine = replace(context, user=self.user, callback=True, cancelled=cancelled)
        sequence = MoveSequence(
            self._group, members, self._members, state, partial(self._put_member, mine), cancelled, self._clock,
            self._puts.server_closed, lambda text: self._say(f"{text} [{asked}]"),
        )  # fmt: skip
        self._sequence = sequence
        self._show("GO", STATES.index(state))
        self._wake.set()
        try:
            await sequence.run()
            self._say(f"{state}{sequence.remark} [{asked}]")
        except Stopped as stopped:
            await self._ended(sequence, stopped)
            raise PutRefused(str(stopped)) from stopped
        except PutRefused as refusal:
            self._say(f"{refusal} [{asked}]", Level.MAJOR)
            raise
        finally:
            if self._sequence is sequence:
                self._end()
            self._wake.set()

    def _end(self) -> None:
        """Look after a sequence no more; PROGRESS stays where that has come to."""
        ended, self._sequence = self._sequence, None
        if ended is not None:
            self._show("PROGRESS", ended.progress)

    async def _put_member(self, context: PutContext, record: Record, value: Value) -> None:
        """Put to a member as a client does, but wait for its turn without limit. Raises PutRefused."""
        try:
            record.check_device_put(fields_of(record.rtyp)["VAL"], value)
        except PutRefused as refusal:
            self.notes.refused_record(record, "VAL", str(value), context, str(refusal))
            raise
        self._mine = context  # a client may give itself any name
        await self._puts.put(record, value, context, patient=True)

    async def _ended(self, sequence: MoveSequence, stopped: Stopped) -> None:
        """Do what is to be done when a sequence ended on its way."""
        if self._sequence is not sequence:
            return  # another one has taken its place
        sequence.stop(stopped)
        self._end()
        if stopped.tripped and self._react(str(stopped)):
            return
        self.held = True
        if not stopped.hold:
            self._say(f"stopped on the way to {sequence.state}: {stopped}")
            return
        failed = await self._stand_still()
        self._say(f"held on the way to {sequence.state}: {stopped}{failed}", Level.MAJOR)

    def _react(self, reason: str) -> bool:
        """Do what the site file wants when a member trips, if that is to move the others."""
        if self._group.on_trip == "hold":
            return False
        state = self._group.on_trip.upper()
        log.warning("%s: %s; the others go to %s", self.name, reason, state)
        self._spawn(self._move_others(state, reason))
        return True

    async def _move_others(self, state: str, reason: str) -> None:
        """Move them; a trip is no reason to switch anything on, nor to stop on the way to OFF."""
        context = PutContext(self.user, socket.gethostname(), ("labioc", 0), callback=False)
        try:
            await (self.go(state, context) if state == "OFF" else self.lower(context))
            self._say(f"{reason}; the others are in {self._last if self._last == 'OFF' else state}", Level.MAJOR)
        except PutRefused as refusal:
            log.warning("%s: %s: %s", self.name, state, refusal)
            self._say(f"{reason}; {state} of the others: {refusal}", Level.MAJOR)

    async def _hold(self, context: PutContext) -> None:
        self._show("HOLD.CMD", 1)
        try:
            if self._sequence is not None:
                self._sequence.stop(Stopped(f"HOLD by {context.user}@{context.host}", hold=False))
                self._end()
            self.held = True
            failed = await self._stand_still()
        finally:
            self._show("HOLD.CMD", 0)
        self._say(f"held {self._asked(context)}{failed}", Level.MAJOR if failed else Level.OK)
        if failed:
            raise PutRefused(failed.removeprefix("; "))

    async def _stand_still(self) -> str:
        """Set everything that ramps to where it is, also what has been put to it at the last moment.

        Returns what could not be, empty when nothing. A new sequence takes the place of this.
        """
        context = PutContext(self.user, socket.gethostname(), ("labioc", 0), callback=False)

        async def stay(member: Member) -> str:
            await member.written()
            until = self._clock.monotonic() + GRACE
            while not member.ramps and not member.fresh and self._clock.monotonic() < until:
                await self._clock.sleep(TICK / 5)
            if self._sequence is not None or member.problem() or not member.ramps:
                return ""
            try:
                await self._put_member(context, member.setting, member.here())
            except PutRefused as refusal:
                return str(refusal)
            return ""

        members = list(self._members.values())
        found = await asyncio.gather(*(stay(member) for member in members))
        reasons = {member.title: reason for member, reason in zip(members, found, strict=True) if reason}
        return f"; still ramping: {failures(reasons)}" if reasons else ""

    # ---- what it would do, and what it does

    def objection(self, state: str, members: Mapping[str, Member] | None = None) -> str | None:
        """Return why the group cannot be put to a state now; OFF is always tried."""
        if state not in self._group.states:
            return f"group {self.name} has no {state}: its members have no values for it in the site file"
        if state == "OFF":
            return None
        for member in (self._members if members is None else members).values():
            if reason := member.problem() or member.fault():
                return reason
            if not member.on and (switch := member.find("ON")) is not None:
                forbidden = self._puts.forbidden(switch, 1)
                if forbidden is not None:
                    return forbidden
            target, (low, high) = member.settings.targets[state], member.limits()
            if isinstance(target, float) and not low <= target <= high:
                return f"{member.title}: {target:g} {member.unit} is outside {low:g} to {high:g}"
        return None

    async def run(self) -> None:
        """Show state, progress and plan, and look after the members, until cancelled."""
        failed = False
        while True:
            self._wake.clear()
            try:
                self._look()
                failed = False
            except Exception:
                if not failed:
                    log.critical("group %s: cannot be looked at", self.name, exc_info=True)
                failed = True
                self._own["STATE"].lose(ALARM_STATUS[Cause.READ])
            if self._sequence is not None or self._plan_due:
                await wait_for(self._wake, REFRESH, self._clock)
            else:
                await self._wake.wait()
            await self._clock.sleep(GATHER)

    def _look(self) -> None:
        faults, before = self._faulty(), self._faults
        self._faults = faults
        if self._engaged and self._sequence is None and (new := faults - before):
            self._react(self._members[min(new)].fault())
        self._show("STATE", self.state())
        if self._sequence is not None:
            self._show("PROGRESS", self._sequence.progress)
        self._show_plan()
        if self._own["GO"].udf and (state := next((s for s, v in _STATE_VALUES.items() if v == self.state()), "")):
            self._show("GO", STATES.index(state))  # as a setting shows what the device has, when the server starts

    def _show_plan(self) -> None:
        """Show what GO would do, at most once in ``REFRESH``: of many members it takes long to say."""
        now = self._clock.monotonic()
        self._plan_due = now - self._planned < REFRESH
        if self._plan_due:
            return
        self._planned = now
        plan = "\n".join(f"{state}: {self.plan(state)}" for state in self._group.states)[:_LONGEST_PLAN]
        if self._own["PLAN.MSG"].val != plan:
            self._show("PLAN.MSG", plan)

    def _faulty(self) -> frozenset[str]:
        return frozenset(base for base, member in self._members.items() if not member.problem() and member.fault())

    def state(self) -> int:
        """Return the STATE of the group: that of the worst member."""
        members = self._members.values()
        if any(member.problem() for member in members):
            return LOST
        if any(member.fault() for member in members):
            return FAULT
        if self._sequence is not None or any(member.moving for member in members):
            return RAMPING
        states = [s for s in self._group.states if all(one.at(one.settings.targets[s]) for one in members)]
        if not states:
            return MIXED
        return _STATE_VALUES[self._last if self._last in states else states[-1]]

    def plan(self, state: str) -> str:
        """Say what a put of this state to GO would do, in order."""
        if (reason := self.objection(state)) is not None:
            return f"refused: {reason}"
        stages = []
        for stage in stages_of(self._group, self._members, state):
            moves: dict[str, list[Member]] = {}
            for member in stage:
                if move := _move_in_words(member, member.settings.targets[state]):
                    moves.setdefault(move, []).append(member)
            if moves:
                stages.append(", ".join(f"{titles(some)} {move}" for move, some in moves.items()))
        return "; ".join(f"{number}. {text}" for number, text in enumerate(stages, 1)) or "nothing to do"


def _above(member: Member, state: str) -> bool:
    """Whether a member is known to be on, and set to more than in a state."""
    if member.problem() or member.fault() or not member.on:
        return False
    target = member.settings.targets[state]
    return target == OFF or (isinstance(target, float) and member.effective > target + member.tolerance)


def _move_in_words(member: Member, target: Target) -> str:
    """Say what a target means for a member, empty when it is there."""
    if member.problem():
        return "is not known" if target != OFF else "off"
    if member.at(target):
        return ""
    if target == OFF:
        return "off" if member.settings.safe is None else f"to its safe {member.settings.safe:g} C"
    if target == KEEP:
        return f"on at {member.set_to:g} {member.unit}"
    return f"{member.effective:g} -> {target:g} {member.unit}"
