"""Commands of the console about PVs: list, print, get, put, watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    """A command cannot be carried out; the text is a sentence for the user who typed it."""


def find(records: RecordSet, name: str, prefix: str = "") -> Target:
    """Return the record and field of a PV name, which may lack the prefix of the site. Raises CommandError."""
    target = resolve(records, name) or (resolve(records, f"{prefix}:{name}") if prefix else None)
    if target is None or target.filters is not None:
        raise CommandError(f"there is no PV {name}; dbl lists them")
    return target


def names(records: RecordSet, pattern: str, prefix: str) -> Iterator[str]:
    """Yield the PV names, and aliases behind them, that match a pattern with ``*``, ``?`` and ``[...]``."""
    patterns = pattern, f"{prefix}:{pattern}"
    yield from (name for name in records if _matches(name, patterns))
    yield from (f"{alias} -> {name}" for alias, name in records.aliases.items() if _matches(alias, patterns))


def targets(records: RecordSet, words: list[str], prefix: str) -> list[Target]:
    """Return what PV names and wildcards stand for. Raises CommandError for one that stands for nothing."""
    found: list[Target] = []
    for word in words:
        base, dot, field = word.partition(".")
        if not {"*", "?", "["} & set(base):
            found.append(find(records, word, prefix))
            continue
        matching = [name for name in records if _matches(name, (base, f"{prefix}:{base}"))]
        if not matching:
            raise CommandError(f"no PV matches {word}")
        found += [find(records, f"{name}{dot}{field}") for name in matching]
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an answer, and the alarm severity (0 to 3) of what it shows."""

    text: str
    severity: int = 0


def value_line(target: Target) -> Line:
    """Return name, value and unit of a PV, with its time and alarm; of another field the value alone."""
    record, spec = target.record, target.spec
    text = field_text(record, spec)
    if spec.name != "VAL":
        return Line(f"{record.name}.{spec.name} = {text}")
    units = str(record.get("EGU")) if "EGU" in fields_of(record.rtyp) else ""
    stamp = local_time(record.seconds + EPICS_EPOCH) if record.seconds or record.nanoseconds else "never"
    alarm = f"  {SEVERITY_NAMES[record.sevr]} {STATUS_NAMES[record.stat]}" if record.sevr else ""
    return Line(f"{record.name} = {text} {units}".rstrip() + f"  ({stamp}){alarm}", record.sevr)


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
    record, spec, raw = target.record, target.spec, text.encode("utf-8", "surrogateescape")
    if target.long_string:
        return record.convert_long(spec, raw)
    if record.field_type(spec)[1] == 1:
        return record.convert(spec, raw)
    return record.convert_array(spec, raw.split())


class Watch:
    """Monitors PVs; ``line`` is the present value of each and then each change."""

    mask = DBE_VALUE | DBE_ALARM | DBE_LOG

    def __init__(self, watched: list[Target]) -> None:
        self._waiting: asyncio.Queue[Line] = asyncio.Queue(LONGEST_BACKLOG)
        self._left_out = 0
        self._monitors = [_Monitor(target, self._take) for target in watched]

    def __enter__(self) -> Watch:
        for monitor in self._monitors:
            monitor.target.record.subscribe(monitor.target.spec.name, monitor)
            self._take(monitor.target)
        return self

    def __exit__(self, *_: object) -> None:
        for monitor in self._monitors:
            monitor.target.record.unsubscribe(monitor.target.spec.name, monitor)

    def _take(self, target: Target) -> None:
        try:
            self._waiting.put_nowait(value_line(target))
        except asyncio.QueueFull:
            self._left_out += 1

    async def line(self) -> Line:
        """Return the next line."""
        if self._left_out and self._waiting.empty():
            count, self._left_out = self._left_out, 0
            return Line(f"({count} changes not shown)")
        return await self._waiting.get()


class _Monitor:
    """The subscription to one PV of a watch."""

    mask = Watch.mask

    def __init__(self, target: Target, take: Callable[[Target], None]) -> None:
        self.target = target
        self._take = take

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take the present value."""
        self._take(self.target)
