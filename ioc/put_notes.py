"""The account of every put: in the log, in the journal, in PUT:MSG of its device and in IOC:PUTS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ioc.clock import Clock, local_time
from ioc.logs import cause_of
from ioc.records import FieldSpec, FieldValue, PutContext, Record, Source, as_text, fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import APPLIED, Entry, Journal, Typed
from ioc.services.state import field_text
from ioc.services.statistics import IocStatistics

log = logging.getLogger("labioc.puts")


class PutNotes:
    """Takes the account of each put, and hands on those that were applied to ``on_applied``."""

    def __init__(
        self, scanners: Mapping[str, DeviceScanner], statistics: IocStatistics, clock: Clock, journal: Journal
    ) -> None:
        self._scanners = scanners
        self._statistics = statistics
        self._clock = clock
        self._journal = journal
        self.on_applied: Callable[[Entry], None] = lambda entry: None

    def refused_record(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
        """Log a refused put and show it in PUT:MSG and PUT:REFUSED of the device that it was for.

        The reason comes first: of a long string a plain caget shows 39 characters.
        """
        name, old = record.name, as_text(record, record.val)
        if field != "VAL":
            name, old = f"{name}.{field}", field_text(fields_of(record.rtyp)[field], record.get(field))
        entry = self.entry(name, old, value, context)
        self.refused(self._scanners.get(record.device or ""), entry, self._clock.monotonic(), reason)

    def applied_field(
        self, record: Record, spec: FieldSpec, old: FieldValue, new: FieldValue, context: PutContext
    ) -> None:
        """Show a put to a field of a record, which no device is concerned by, and note it in the journal."""
        name, text = f"{record.name}.{spec.name}", partial(field_text, spec)
        if spec.name == "VAL":
            name, text = record.name, partial(as_text, record)
        entry = self.entry(name, text(old), text(new), context)
        now = record.get(spec.name)
        entry.read_back = text(now)
        entry.values = (entry.old, entry.read_back) if spec.choices else (typed(old), typed(now))
        self._note_applied(entry, self._clock.monotonic(), f"{entry.old} -> {entry.read_back}")

    def entry(self, name: str, old: str, new: str, context: PutContext) -> Entry:
        """Begin the account of a put: the PV, its value before and the new one in words, and who puts."""
        return Entry(self._clock.time(), name, context.user, context.host, context.address[0], old, new)

    def refused(self, scanner: DeviceScanner | None, entry: Entry, began: float, reason: str) -> None:
        """End the account of a put that was not applied, or of which that is not known; ``began`` is monotonic."""
        owner, text = entry.pv if scanner is None else scanner.name, f"{entry.pv} = {entry.new} by {entry.who}"
        log.warning("refused %s: %s", text, reason, extra={"cause": (owner, cause_of(reason)), **_about(entry)})
        entry.reason, entry.seconds = reason, self._clock.monotonic() - began
        self._keep(self._journal.note, entry)
        if scanner is not None:
            self._keep(scanner.status.note_refusal, f"{reason} [{text}, {local_time(self._clock.time())}]")

    def applied(self, entry: Entry, began: float, change: str) -> None:
        """End the account of a put that was applied."""
        log.info("%s: %s by %s", entry.pv, change, entry.who, extra=_about(entry))
        self._note_applied(entry, began, change)

    def _note_applied(self, entry: Entry, began: float, change: str) -> None:
        entry.outcome, entry.reason, entry.seconds = APPLIED, "", self._clock.monotonic() - began
        self._keep(self._journal.note, entry)
        self._keep(self._statistics.note_put, f"{entry.who} {entry.pv} {change}")
        self._keep(self.on_applied, entry)

    @staticmethod
    def _keep(keep: Callable[[Any], None], what: Any) -> None:
        """Keep a part of an account; that it fails must not change what the client is answered."""
        try:
            keep(what)
        except Exception:
            log.exception("the account of a put is not complete")


class NotedSource(Source):
    """A source of records whose refused puts, and puts to their other fields, are noted."""

    def __init__(self, notes: PutNotes) -> None:
        self.notes = notes

    def refused(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
        """Note a put that the record or the access rules refused."""
        self.notes.refused_record(record, field, value, context, reason)

    def applied(self, record: Record, spec: FieldSpec, old: FieldValue, new: FieldValue, context: PutContext) -> None:
        """Note a put to a field that concerns the record alone."""
        self.notes.applied_field(record, spec, old, new, context)


def typed(value: Any) -> Typed:
    """Return a value as the journal has it: a number, or else its text."""
    return value if isinstance(value, int | float) else str(value)


def _about(entry: Entry) -> dict[str, str]:
    """Return what a structured log has of a put beside the message."""
    return {"pv": entry.pv, "user": entry.user, "host": entry.host, "address": entry.address}
