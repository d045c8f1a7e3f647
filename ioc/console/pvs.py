"""Commands of the console about PVs: list, print, get, put, watch."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Iterator
from fnmatch import fnmatchcase

from ioc.access import Policy
from ioc.clock import local_time
from ioc.records import AccessDenied, FieldSpec, PutContext, PutRefused, Record, RecordSet, Value, fields_of
from ioc.records.convert import DBR_STRING, STRING_SIZE
from ioc.records.status import DBE_ALARM, DBE_LOG, DBE_VALUE, EPICS_EPOCH, SEVERITY_NAMES, STATUS_NAMES
from ioc.server.channel import Target, resolve
from ioc.server.dbr import CannotConvert, encode

LONGEST_BACKLOG = 1000
"""Events that a watch keeps for a slow terminal; what does not fit is counted and left out."""


class CommandError(Exception):
    """A command can't be carried out; the text is a sentence for whoever typed it."""


def local_context() -> PutContext:
    """Return who puts from the terminal of the server: the user of the operating system, on this computer."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no name for this number, as in a container
        user = str(os.getuid())
    return PutContext(user, socket.gethostname(), ("127.0.0.1", 0), callback=True)


def find(records: RecordSet, name: str) -> Target:
    """Return the record and field of a PV name. Raises CommandError."""
    target = resolve(records, name)
    if target is None or target.filters is not None:
        raise CommandError(f"there is no PV {name}; dbl lists them")
    return target


def names(records: RecordSet, pattern: str) -> Iterator[str]:
    """Yield the PV names, and aliases behind them, that match a pattern with ``*``, ``?`` and ``[...]``."""
    yield from (name for name in records if fnmatchcase(name, pattern))
    yield from (f"{alias} -> {name}" for alias, name in records.aliases.items() if fnmatchcase(alias, pattern))


def field_text(record: Record, spec: FieldSpec) -> str:
    """Return a field as a client shows it that asks for text, however long it is."""
    value = record.get(spec.name)
    if isinstance(value, str):
        return value
    count = len(value) if isinstance(value, tuple) else 1
    try:
        payload = encode(record, spec, DBR_STRING, count)
    except CannotConvert:
        return ""
    cells = (payload[place : place + STRING_SIZE] for place in range(0, len(payload), STRING_SIZE))
    return " ".join(cell.split(b"\0")[0].decode("utf-8", "replace").strip() for cell in cells)


def value_line(target: Target) -> str:
    """Return name, value and unit of a PV, with its time and alarm; of another field the value alone."""
    record, spec = target.record, target.spec
    text = field_text(record, spec)
    if spec.name != "VAL":
        return f"{record.name}.{spec.name} = {text}"
    units = str(record.get("EGU")) if "EGU" in fields_of(record.rtyp) else ""
    stamp = local_time(record.seconds + EPICS_EPOCH) if record.seconds or record.nanoseconds else "never"
    alarm = f"  {SEVERITY_NAMES[record.sevr]} {STATUS_NAMES[record.stat]}" if record.sevr else ""
    return f"{record.name} = {text} {units}".rstrip() + f"  ({stamp}){alarm}"


def all_fields(record: Record) -> Iterator[str]:
    """Yield every field that acts and is not empty, then the info tags, one line each."""
    yield f"record({record.rtyp}, {record.name})  {record.defn.file}:{record.defn.line}"
    for spec in fields_of(record.rtyp).values():
        text = field_text(record, spec) if spec.implemented else ""
        if text:
            yield f"  {spec.name:<5}{text}"
    for tag, text in record.defn.info.items():
        yield f"  info({tag}) {text}"


async def put(target: Target, text: str, policy: Policy, context: PutContext) -> None:
    """Put like any client, and return when it has been applied. Raises PutRefused."""
    record, spec = target.record, target.spec
    try:
        denied = policy.may_put(record, spec.name, context)
        if denied is not None:
            raise AccessDenied(denied)
        value = _converted(target, text)
        if record.concerns_device(spec):
            record.check_device_put(spec, value)
        else:
            record.put_by(spec, value, context)
            return
    except PutRefused as refusal:
        record.source.refused(record, spec.name, text, context, str(refusal))
        raise
    await record.put_device(spec, value, context)  # notes by itself what it refuses


def _converted(target: Target, text: str) -> Value:
    record, spec = target.record, target.spec
    if target.long_string:
        return record.convert_long(spec, text.encode())
    if record.field_type(spec)[1] == 1:
        return record.convert(spec, text.encode())
    return record.convert_array(spec, [word.encode() for word in text.split()])


class Watch:
    """A monitor of one PV; ``lines`` is its present value and then each change, as text."""

    mask = DBE_VALUE | DBE_ALARM | DBE_LOG

    def __init__(self, target: Target) -> None:
        self._target = target
        self._waiting: asyncio.Queue[str] = asyncio.Queue(LONGEST_BACKLOG)
        self._left_out = 0

    def __enter__(self) -> Watch:
        self._target.record.subscribe(self._target.spec.name, self)
        self.event(self.mask, {})
        return self

    def __exit__(self, *_: object) -> None:
        self._target.record.unsubscribe(self._target.spec.name, self)

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take the present value."""
        try:
            self._waiting.put_nowait(value_line(self._target))
        except asyncio.QueueFull:
            self._left_out += 1

    async def line(self) -> str:
        """Return the next line."""
        if self._left_out and self._waiting.empty():
            count, self._left_out = self._left_out, 0
            return f"({count} changes not shown)"
        return await self._waiting.get()
