"""The way of a put: checked, queued for its wire, written, read back, answered.

A put begins when its first byte goes out. Until then it may be given up at any time and is never sent; one that has
begun is finished, and its outcome is reported even when its client has gone. How puts queue is in ioc.put_queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from devices.errors import DeviceError, Refused, TakenOtherwise, Withdrawn
from devices.model import Cause, Level, RawRequest, Value, Way, WriteGuard
from devices.permit import Permit
from ioc.clock import Clock
from ioc.database.support import KEEP_TAG, SERVER, STATUS_SIGNALS
from ioc.put_queue import Order, PutNotes, PutQueue, typed
from ioc.records import FieldSpec, FieldValue, PutContext, PutRefused, Record, Source, as_text
from ioc.scan.device_records import ALARM_STATUS, is_command
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import OTHERWISE, UNKNOWN, Entry, Journal
from ioc.services.statistics import IocStatistics

log = logging.getLogger("labioc.puts")

QUEUE_SECONDS = 5.0
"""How long a put may wait until its first byte goes out, before it is refused."""

SWITCH = ""
"""Device of the orders that are about the server itself: they withdraw others and are not withdrawn."""

_STOPPING = "the server is stopping"


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


class PutPath(NotedSource):
    """The source of all served records: it takes the puts for devices, and notes every put in the ``journal``.

    A record is read by the scanner of its device.
    """

    def __init__(
        self,
        scanners: Mapping[str, DeviceScanner],
        statistics: IocStatistics,
        clock: Clock,
        queue_seconds: float = QUEUE_SECONDS,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(PutNotes(scanners, statistics, clock, journal or Journal(clock)))
        self._scanners = scanners
        self._statistics = statistics
        self._clock = clock
        self._queue = PutQueue(clock, queue_seconds)
        self.withdraw_objectionable = self._queue.withdraw_objectionable
        self._closing = False
        self.observers: list[Callable[[Record, PutContext], None]] = []
        """Called with each put to a device, and who puts, before it is queued."""
        self.objections: list[Callable[[Record, Any], str | None]] = []
        """Each returns why a value must not be put to a record now, if so; asked from the threads of links, too."""
        self.raw_observers: list[Callable[[str, PutContext], None]] = []
        """Called with the device of each write past the PVs, and who writes, before it is queued."""

    def attach(self, record: Record) -> None:
        """Become the way of this record's puts; what waits is withdrawn when its device is lost or disabled."""
        record.source = self
        if (scanner := self._scanners.get(record.device or "")) is not None:
            scanner.on_loss = self.withdraw_objectionable

    def read(self, record: Record) -> None:
        """Have the record read soon."""
        if (scanner := self._scanners.get(record.device or "")) is not None:
            scanner.read(record)

    def rescan(self, record: Record) -> None:
        """Take note of the SCAN field."""
        if (scanner := self._scanners.get(record.device or "")) is not None:
            scanner.rescan(record)

    async def put(self, record: Record, value: Any, context: PutContext, patient: bool = False) -> None:
        """Apply a value that the record layer has accepted; a ``patient`` put waits for its turn without limit.

        Raises PutRefused with the reason when it was not applied. Cancelling a put that has begun leaves it to finish
        by itself.
        """
        for observe in self.observers:
            observe(record, context)
        scanner, signal = self._scanners.get(record.device or ""), record.signal or ""
        new = as_text(record, value)
        entry = self.notes.entry(record.name, as_text(record, record.val), new, context)
        work = partial(self._perform, record, value, entry)
        note = partial(self.notes.refused, scanner, entry)
        if scanner is None or signal in STATUS_SIGNALS:
            order = Order(SWITCH, record.name, Way(record.name), lambda: None, work, note)
        else:
            way = scanner.driver.way(signal, value)
            objection = partial(self._objection, scanner, record, value, _losses(scanner, way))
            order = Order(scanner.name, f"{record.name} = {new}", way, objection, work, note)
        await self._submit(order, context, patient)

    async def read_raw(self, device: str, request: RawRequest) -> Sequence[str]:
        """Read past the PVs of a device; returns the lines to show. Raises PutRefused when it can't be."""
        scanner = self._scanners[device]
        reason = self._out_of_reach(scanner)
        if reason is not None:
            raise PutRefused(reason)
        try:
            return await scanner.raw(request)
        except DeviceError as error:
            raise PutRefused(str(error)) from error

    async def write_raw(
        self, device: str, request: RawRequest, context: PutContext, denied: str | None
    ) -> Sequence[str]:
        """Write past the PVs of a device, guarded, queued and noted like a put to the place that it concerns.

        ``denied`` is why this user may not, if so. Returns the lines to show; raises PutRefused when it was not
        applied or its outcome is not known.
        """
        for observe in self.raw_observers:
            observe(device, context)
        scanner, name = self._scanners[device], f"{device} raw {request.what}"
        losses = _losses(scanner, request.way)
        entry = self.notes.entry(name, "", request.value or "", context)

        async def work(permit: Permit) -> Sequence[str]:
            with _judged(entry, permit):
                shown = await scanner.raw(request)
            self.notes.applied(entry, f"set to {request.value}" if request.value else "sent")
            return shown

        def objection() -> str | None:
            return denied or self._closed_to_writes(scanner, losses)

        note = partial(self.notes.refused, scanner, entry)
        lines: Sequence[str]
        lines = await self._submit(Order(scanner.name, name, request.way, objection, work, note), context)
        return lines

    async def _submit(self, order: Order, context: PutContext, patient: bool = False) -> Any:
        """Queue a write and wait for its answer, a ``patient`` one as long as it takes. Raises PutRefused."""
        scanner = self._scanners.get(order.device)
        reason = order.objection() or (None if scanner is None else self._out_of_reach(scanner))
        if reason is not None:
            order.refuse(reason)
            return await order.answer
        return await self._queue.submit(order, context, patient)

    async def close(self, seconds: float) -> None:
        """Refuse whatever has not begun, wait for what has, and give up after this long."""
        self._closing = True
        await self._queue.close(seconds, _STOPPING)

    def _objection(self, scanner: DeviceScanner, record: Record, value: Any, losses: int | None) -> str | None:
        """Return why this put can't be applied at the moment; ``losses`` as in ``_closed_to_writes``."""
        if (reason := self._closed_to_writes(scanner, losses) or self.forbidden(record, value)) is not None:
            return reason
        if record.udf and not is_command(record.signal or "") and not (record.rtyp == "bo" and value == 0):
            return "not read yet"  # switching something off is always tried
        return None

    def forbidden(self, record: Record, value: Any) -> str | None:
        """Return why an interlock does not permit this put at the moment, None when none objects."""
        return next((reason for object_to in self.objections if (reason := object_to(record, value)) is not None), None)

    def server_closed(self) -> str | None:
        """Return why nothing at all can be written at the moment."""
        if self._closing:
            return _STOPPING
        if not self._statistics.armed:
            return f"the server is not armed ({self._statistics.armed_name} is 0)"
        return None

    def _closed_to_writes(self, scanner: DeviceScanner, losses: int | None) -> str | None:
        """Return why nothing can be written to a device at the moment; ``losses`` as counted when it was asked for."""
        if (reason := self.server_closed()) is not None:
            return reason
        if losses is None:
            return self._disabled_reason(scanner)
        if scanner.status.reconnects != losses:
            return f"{scanner.name} was lost meanwhile"
        return self._out_of_reach(scanner)

    @staticmethod
    def _disabled_reason(scanner: DeviceScanner) -> str | None:
        return f"{scanner.name} is disabled for maintenance" if scanner.status.disabled else None

    def _out_of_reach(self, scanner: DeviceScanner) -> str | None:
        """Return why a device can't be talked to at the moment."""
        if (reason := self._disabled_reason(scanner)) is not None:
            return reason
        if not scanner.ready:
            return f"{scanner.name} is not connected: {scanner.status.message or 'no answer yet'}"
        return None

    async def _perform(self, record: Record, value: Any, entry: Entry, permit: Permit) -> None:
        """Apply a put. Raises PutRefused when it was not applied."""
        entry.old, before = as_text(record, record.val), record.val
        command = is_command(record.signal or "")
        try:
            with _judged(entry, permit):
                await self._write(record, value, permit)
        finally:
            if not command:
                entry.read_back = as_text(record, record.val)
            entry.values = typed(before), typed(value if command else record.val)
        if permit.ended and not permit.begun:  # nothing had to be sent, and its client has been answered
            raise PutRefused(permit.ended)
        change = f"{entry.old} -> {entry.read_back or entry.new}"
        self.notes.applied(entry, change, kept=KEEP_TAG in record.defn.info)

    async def put_group(
        self,
        name: str,
        value: str,
        context: PutContext,
        denied: str | None,
        perform: Callable[[], Awaitable[None]],
        urgent: bool = False,
    ) -> None:
        """Apply a put to a PV that looks after its devices by itself.

        Puts to one PV go one after the other, unless they are ``urgent``. ``denied`` is why this client may not, if so.
        Raises PutRefused.
        """
        entry = self.notes.entry(name, "", value, context)

        async def work(permit: Permit) -> None:
            permit.begin()
            try:
                entry.outcome = UNKNOWN  # until it is over: what it does by then is its own affair
                await perform()
            except PutRefused:
                raise
            except Exception as error:
                raise PutRefused(f"{type(error).__name__}: {error}") from error
            self.notes.applied(entry, f"set to {value}")

        note, way = partial(self.notes.refused, None, entry), Way(name, urgent=urgent)
        await self._submit(Order(name, name, way, lambda: denied or self.server_closed(), work, note), context)

    async def _write(self, record: Record, value: Value, permit: Permit) -> None:
        signal = record.signal or ""
        if record.device == SERVER:
            permit.begin()
            self._statistics.put(signal, value)
            if signal == "ARMED":
                await self.pass_on_arming()
            return
        scanner = self._scanners[record.device or ""]
        if signal == "DISABLE":
            permit.begin()
            await scanner.disable(bool(value))
        elif signal in STATUS_SIGNALS:
            raise PutRefused(f"{record.name} is a read-only PV")
        elif is_command(signal):
            await self._command(scanner, record, value)
        else:
            await scanner.write(signal, value)

    async def pass_on_arming(self) -> None:
        """Have nothing written any more, or let drivers that write by themselves do so again.

        Returns when what is on the wire is over, so that who disarms the server knows when that holds.
        """
        drivers = [scanner.driver for scanner in self._scanners.values()]
        guards = [driver for driver in drivers if isinstance(driver, WriteGuard)]
        if self._statistics.armed:
            for guard in guards:
                guard.permit_writes()
            return
        self.withdraw_objectionable()
        begun = [order.task for order in self._queue if order.device != SWITCH and order.permit.begun]
        reason = f"{self._statistics.armed_name} is 0"
        await asyncio.gather(
            *(asyncio.wait([task]) for task in begun if task is not None),
            *(guard.forbid_writes(reason) for guard in guards),
        )

    async def _command(self, scanner: DeviceScanner, record: Record, value: Value) -> None:
        """Act on a 1, then return to 0; a 0 is accepted and does nothing."""
        if not value:
            return
        record.post(1, self._clock.time())
        try:
            await scanner.write(record.signal or "", 1)
        finally:
            level, cause = (Level.OK, Cause.NONE) if scanner.ready else (Level.INVALID, Cause.COMM)
            record.post(0, self._clock.time(), level, ALARM_STATUS[cause])


def _losses(scanner: DeviceScanner, way: Way) -> int | None:
    """Return how often a device has been lost so far.

    None for an urgent write, which is tried as long as its driver can: another write that failed may be why the device
    is not ready.
    """
    return None if way.urgent else scanner.status.reconnects


@contextmanager
def _judged(entry: Entry, permit: Permit) -> Iterator[None]:
    """Note what a failure of a write leaves behind. Raises PutRefused in place of a DeviceError."""
    try:
        yield
    except PutRefused:
        raise
    except BaseException as error:
        if isinstance(error, TakenOtherwise):
            entry.outcome = OTHERWISE
        elif permit.begun and (isinstance(error, Withdrawn) or not isinstance(error, Refused)):
            entry.outcome = UNKNOWN
        if not isinstance(error, DeviceError):
            raise
        reason = f"{permit.ended}: {error}" if permit.ended else str(error)
        if isinstance(error, Withdrawn):
            reason = f"{error}; {'a part of it had been sent' if permit.begun else 'nothing was sent'}"
        raise PutRefused(reason) from error
