"""The way of a put: checked, queued behind earlier puts to the same channel, written, read back, answered.

A put that has not begun may be given up at any time and is then never sent; one that has begun is finished,
and its outcome is reported even when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from devices.errors import DeviceError
from devices.model import Cause, Level, RawRequest, Value, WriteGuard
from ioc.clock import Clock, local_time
from ioc.records import PutContext, PutRefused, Record
from ioc.scan.device_records import is_command
from ioc.scan.device_status import ALARM_STATUS, SIGNALS
from ioc.scan.scanner import DeviceScanner
from ioc.services.statistics import DEVICE, IocStatistics

log = logging.getLogger("labioc.puts")

_Result = TypeVar("_Result")

QUEUE_SECONDS = 5.0
"""How long a put may wait behind others before it is refused."""

EMERGENCY = "EMCY.CMD"
"""End of the signals that cut an output at once."""


class PutPath:
    """Takes the puts of all device-bound output records; one queue per channel of each device."""

    def __init__(
        self,
        scanners: Mapping[str, DeviceScanner],
        statistics: IocStatistics,
        clock: Clock,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        self._scanners = scanners
        self._statistics = statistics
        self._clock = clock
        self._queue_seconds = queue_seconds
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._closing = False
        self._begun: set[asyncio.Task[Any]] = set()

    def attach(self, record: Record) -> None:
        """Become the way of this record's puts, and hear of those that are refused on the way here."""
        record.refusal_hook = self.note_refusal
        if record.is_output and record.device is not None:
            record.put_hook = self.put

    async def put(self, record: Record, value: Any, context: PutContext) -> None:
        """Apply a value that the record layer has accepted.

        Raises PutRefused with the reason when it was not applied. Cancelling a put that has begun leaves it
        to finish by itself.
        """
        lock = self._locks[record.device or "", _queue_of(record.signal or "")]
        objection = partial(self._objection, record, value)
        reason = objection() or await self._queue(lock, objection, context)
        if reason is not None:
            self.note_refusal(record, "VAL", as_text(record, value), context, reason)
        else:
            task = asyncio.create_task(self._perform(lock, record, value, context), name=f"put {record.name}")
            reason = await asyncio.shield(self._begin(task))
        if reason is not None:
            raise PutRefused(reason)

    def note_refusal(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
        """Log a refused put and show it in PUT:MSG and PUT:REFUSED of the device that it was for.

        The reason comes first: of a long string a plain caget shows 39 characters.
        """
        name = record.name if field == "VAL" else f"{record.name}.{field}"
        self._note_refusal(self._scanners.get(record.device or ""), name, value, context, reason)

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
        """Write past the PVs of a device, guarded, queued and noted like a put to the channel that it concerns.

        ``denied`` is why this user may not, if so. Returns the lines to show; raises PutRefused when it was not
        applied or its outcome is not known.
        """
        scanner, name = self._scanners[device], f"{device} raw {request.what}"
        lock = self._locks[device, "" if request.channel is None else f"CH{request.channel:02d}"]
        objection = partial(self._closed_to_writes, scanner)
        reason = denied or objection() or await self._queue(lock, objection, context)
        if reason is not None:
            self._note_refusal(scanner, name, request.value or "", context, reason)
            raise PutRefused(reason)
        task = asyncio.create_task(self._perform_raw(lock, scanner, name, request, context), name=name)
        lines, reason = await asyncio.shield(self._begin(task))
        if reason is not None:
            raise PutRefused(reason)
        return lines

    def _begin(self, task: asyncio.Task[_Result]) -> asyncio.Task[_Result]:
        """Keep a task that must be finished once it has begun."""
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def _note_refusal(
        self, scanner: DeviceScanner | None, name: str, value: str, context: PutContext, reason: str
    ) -> None:
        log.warning("refused %s = %s by %s: %s", name, value, _who(context), reason)
        if scanner is not None:
            now = local_time(self._clock.time())
            scanner.status.note_refusal(f"{reason} [{name} = {value} by {_who(context)}, {now}]")

    async def close(self, seconds: float) -> None:
        """Refuse whatever has not begun, wait for what has, and give up after this long."""
        self._closing = True
        if self._begun:
            _, late = await asyncio.wait(self._begun, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _objection(self, record: Record, value: Any) -> str | None:
        """Return why this put can't be applied at the moment."""
        scanner, signal = self._scanners.get(record.device or ""), record.signal or ""
        if scanner is None or signal in SIGNALS:
            return None
        if (reason := self._closed_to_writes(scanner)) is not None:
            return reason
        if record.udf and not is_command(signal) and not (record.rtyp == "bo" and value == 0):
            return "not read yet"  # switching something off is always tried
        return None

    def _closed_to_writes(self, scanner: DeviceScanner) -> str | None:
        """Return why nothing can be written to a device at the moment."""
        if self._closing:
            return "the server is stopping"
        if not self._statistics.armed:
            return f"the server is not armed ({self._statistics.armed_name} is 0)"
        return self._out_of_reach(scanner)

    @staticmethod
    def _out_of_reach(scanner: DeviceScanner) -> str | None:
        """Return why a device can't be talked to at the moment."""
        if scanner.status.disabled:
            return f"{scanner.name} is disabled for maintenance"
        if not scanner.ready:
            return f"{scanner.name} is not connected: {scanner.status.message or 'no answer yet'}"
        return None

    async def _queue(self, lock: asyncio.Lock, objection: Callable[[], str | None], context: PutContext) -> str | None:
        """Wait for this turn and take the lock; when it must not be sent return why, without the lock."""
        try:
            async with asyncio.timeout(self._queue_seconds):
                await lock.acquire()
        except TimeoutError:
            return f"waited {self._queue_seconds:g} s behind earlier puts; nothing was sent"
        reason = objection()
        if context.callback and context.cancelled.is_set():
            reason = "the client gave up before its turn; nothing was sent"
        if reason is not None:
            lock.release()
        return reason

    async def _perform(self, lock: asyncio.Lock, record: Record, value: Any, context: PutContext) -> str | None:
        """Apply the put and release the lock; returns the reason when it was refused."""
        old, new = as_text(record, record.val), as_text(record, value)
        try:
            await self._write(record, value)
        except (DeviceError, PutRefused, asyncio.CancelledError) as error:
            reason = _reason(error)
            self.note_refusal(record, "VAL", new, context, reason)
            return reason
        except Exception as error:
            log.exception("%s = %s: internal error", record.name, new)
            return f"internal error: {type(error).__name__}: {error}"
        finally:
            lock.release()
        if not is_command(record.signal or ""):
            new = as_text(record, record.val)
        self._note_put(record.name, f"{old} -> {new}", context)
        return None

    async def _perform_raw(
        self, lock: asyncio.Lock, scanner: DeviceScanner, name: str, request: RawRequest, context: PutContext
    ) -> tuple[Sequence[str], str | None]:
        """Write, and release the lock; returns the lines to show, and the reason when it was refused."""
        try:
            lines = await scanner.raw(request)
        except (DeviceError, asyncio.CancelledError) as error:
            reason = _reason(error)
            self._note_refusal(scanner, name, request.value or "", context, reason)
            return (), reason
        finally:
            lock.release()
        self._note_put(name, f"set to {request.value}" if request.value else "sent", context)
        return lines, None

    def _note_put(self, name: str, change: str, context: PutContext) -> None:
        log.info("%s: %s by %s", name, change, _who(context))
        self._statistics.note_put(f"{local_time(self._clock.time())} {_who(context)} {name} {change}")

    async def _write(self, record: Record, value: Value) -> None:
        signal = record.signal or ""
        if record.device == DEVICE:
            self._statistics.put(signal, value)
            await self._pass_on_arming()
            return
        scanner = self._scanners[record.device or ""]
        if signal == "DISABLE":
            await scanner.disable(bool(value))
        elif signal in SIGNALS:
            raise PutRefused(f"{record.name} is a read-only PV")
        elif is_command(signal):
            await self._command(scanner, record, value)
        else:
            await scanner.write(signal, value)

    async def _pass_on_arming(self) -> None:
        """Have drivers that write by themselves cease, or let them know that they need not any more.

        Returns when none of them has a write under way, so that whoever disarms the server knows when that holds.
        """
        drivers = [scanner.driver for scanner in self._scanners.values()]
        guards = [driver for driver in drivers if isinstance(driver, WriteGuard)]
        if self._statistics.armed:
            for guard in guards:
                guard.permit_writes()
        else:
            await asyncio.gather(*(guard.forbid_writes(f"{self._statistics.armed_name} is 0") for guard in guards))

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


def _queue_of(signal: str) -> str:
    """Name the queue that a put waits in: that of its channel; an emergency off waits for nothing but itself."""
    return signal if signal.endswith(EMERGENCY) else signal.partition(".")[0]


def as_text(record: Record, value: Any) -> str:
    """Write a value as an operator knows it: the text of a state, or a number without needless digits."""
    choices = record.enum_strings()
    if isinstance(value, int) and 0 <= value < len(choices) and choices[value]:
        return str(choices[value])
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _reason(error: BaseException) -> str:
    gave_up = isinstance(error, asyncio.CancelledError)
    return "the server stopped before the device answered, the outcome is unknown" if gave_up else str(error)


def _who(context: PutContext) -> str:
    return f"{context.user}@{context.host} ({context.address[0]})"
