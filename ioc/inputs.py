"""Values of other PVs as inputs of rules: records of this server, and PVs of other servers over Channel Access.

An input is never trusted further than it goes: while it has not been read, is INVALID, disconnected or silent, its
state says so in ``problem``, and who uses it must not go on with the value.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ioc.clock import Clock
from ioc.database.support import PERIODS
from ioc.records import STATUS_NAMES, Record, RecordSet, Value
from ioc.records.fieldtable import fields_of
from ioc.records.status import DBE_ALARM, DBE_VALUE, INVALID

if TYPE_CHECKING:
    from labioc_ca.client import Subscriber
    from labioc_ca.events import Event

log = logging.getLogger("labioc")

SILENT_SECONDS: Final = 5.0
"""Seconds without a reading, or without an answer of another server, after which an input counts as silent."""

_ECHO_AFTER: Final = SILENT_SECONDS / 2
"""Seconds after which another server that sends nothing is asked whether it is there; as many later it is given up."""

_PERIODS_MISSED: Final = 3.0
"""Periods of its scan without a reading after which a record counts as silent, if that is longer."""


@dataclass(frozen=True, slots=True)
class InputState:
    """What an input says now: the last value with its Unix time and EPICS severity, and why not to rely on it.

    ``problem`` is empty when the value can be relied on. ``choices`` are the texts of the states of a local record.
    """

    value: Value | None
    time: float = 0.0
    severity: int = INVALID
    problem: str = ""
    choices: tuple[str, ...] = ()


class Inputs:
    """The inputs of a server. Add them all, then ``start``; ``prefix`` is that of the site.

    ``env`` replaces the EPICS_CA_* variables of the environment, with which PVs of other servers are found.
    """

    def __init__(self, records: RecordSet, clock: Clock, prefix: str = "", env: dict[str, str] | None = None) -> None:
        self._records = records
        self._clock = clock
        self._prefix = prefix
        self._env = env
        self._local: list[LocalInput] = []
        self._remote: dict[str, RemoteInput] = {}
        self._subscriber: Subscriber | None = None

    def add(self, name: str, on_update: Callable[[], object], unit: bool = False) -> Input:
        """Return the input of this name or alias, with or without the prefix of the site.

        What this server does not have is looked for at others. ``on_update`` is called on the event loop after each
        change of value, alarm or connection, from within the posting: it must only take note. With ``unit`` the unit
        of a PV of another server is asked for, too, as its field EGU.
        """
        name = name.removesuffix(".VAL")
        record = self._records.find(name) or self._records.find(f"{self._prefix}:{name}")
        if record is not None:
            self._local.append(local := LocalInput(record, self._clock, on_update))
            return local
        remote = self._remote_input(name)
        remote.on_update.append(on_update)
        if unit and remote.egu is None and "." not in name:
            remote.egu = self._remote_input(f"{name}.EGU")
            remote.egu.on_update.append(on_update)
        return remote

    def _remote_input(self, name: str) -> RemoteInput:
        return self._remote.setdefault(name, RemoteInput(name))

    async def start(self) -> None:
        """Look for the PVs of other servers, if there are any. Raises OSError, and ValueError for a bad environment."""
        if not self._remote:
            return
        from labioc_ca.client import Subscriber  # noqa: PLC0415  most sites need no client

        environment = {**(os.environ if self._env is None else self._env), "EPICS_CA_CONN_TMO": str(_ECHO_AFTER)}
        self._subscriber = Subscriber(self._remote, self._take, environment)
        await self._subscriber.start()

    async def stop(self) -> None:
        """Report no more changes; inputs of other servers count as disconnected from then on."""
        for local in self._local:
            local.end()
        self._local.clear()
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            await subscriber.stop()
            for remote in self._remote.values():
                remote.event = None

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self._remote[event.pv].take(event)


class LocalInput:
    """A record of this server; also the monitor of its value and alarm."""

    remote = False
    mask = DBE_VALUE | DBE_ALARM

    def __init__(self, record: Record, clock: Clock, on_update: Callable[[], object]) -> None:
        self.name = record.name
        self._record = record
        self._clock = clock
        self._on_update = on_update
        self._stamp = (record.seconds, record.nanoseconds)
        self._seen = clock.monotonic()
        record.subscribe("VAL", self)

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take note of a change."""
        self._on_update()

    def end(self) -> None:
        """Report no more changes."""
        self._record.unsubscribe("VAL", self)

    def unit(self) -> str | None:
        """Return its unit; empty for what has none."""
        record = self._record
        return str(record.get("EGU")) if "EGU" in fields_of(record.rtyp) else ""

    def state(self) -> InputState:
        """Return the value of the record; one that a scan has left behind counts as silent."""
        record = self._record
        return InputState(record.val, record.stamp, record.sevr, self._problem(record), record.enum_strings())

    def _problem(self, record: Record) -> str:
        now, stamp = self._clock.monotonic(), (record.seconds, record.nanoseconds)
        if stamp != self._stamp:
            self._stamp, self._seen = stamp, now
        if record.udf:
            return "not read yet"
        if record.sevr >= INVALID:
            return f"INVALID ({STATUS_NAMES[record.stat]})"
        period = PERIODS.get(record.scan)
        if period is not None and now - self._seen > max(SILENT_SECONDS, _PERIODS_MISSED * period):
            return f"silent for {now - self._seen:.0f} s"
        return ""


class RemoteInput:
    """A PV of another server; ``event`` is the last one since it was connected."""

    remote = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.event: Event | None = None
        self.egu: RemoteInput | None = None
        self.on_update: list[Callable[[], object]] = []
        self._last: Event | None = None

    def take(self, event: Event) -> None:
        """Take a value, or a change of the connection."""
        from labioc_ca.events import Kind  # noqa: PLC0415  there is a client by now

        if event.kind == Kind.CONNECTION:
            self.event = None
        else:
            self.event = self._last = event
        for call in self.on_update:
            call()

    def unit(self) -> str | None:
        """Return its unit, None while its server has not answered that."""
        event = self.egu.event if self.egu is not None else None
        return event.value if event is not None and isinstance(event.value, str) else None

    def state(self) -> InputState:
        """Return the last value; without a server that has answered lately it is not to be relied on."""
        last = self._last
        if last is None:
            return InputState(None, problem="not connected")
        value = last.value if isinstance(last.value, int | float | str) else None
        problem = self._problem(last, value)
        return InputState(value, last.seconds_ns / 1e9, last.severity, problem)

    def _problem(self, last: Event, value: Value | None) -> str:
        if self.event is None:
            return "not connected"
        if last.severity >= INVALID:
            return f"INVALID ({STATUS_NAMES[last.status] if last.status < len(STATUS_NAMES) else last.status})"
        return "" if value is not None else "not a number or a text"


Input = LocalInput | RemoteInput
"""One PV that is looked at: its ``state`` says what it shows now."""
