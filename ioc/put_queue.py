"""A put on its way: how it waits for its wire, how its waiting ends, and the account that is given of it.

One rule for all devices. A wire carries as many writes at a time as it has room for, one for most. Writes wait in the
order in which they came; those to one place go one after the other. An urgent write begins at once and ends whatever
waits for its place or is being done to it. Until its first byte goes out a write can be withdrawn, and its client is
answered at that moment, also while the driver is still looking at the device or waits for the line.

The account of every put is in the log, in the journal, in PUT:MSG of its device and in IOC:PUTS.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from devices.model import Way
from devices.permit import Permit
from ioc.clock import Clock, local_time
from ioc.logs import cause_of
from ioc.records import FieldSpec, FieldValue, PutContext, PutRefused, Record, as_text, fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import APPLIED, Entry, Journal, Typed
from ioc.services.state import field_text
from ioc.services.statistics import IocStatistics

log = logging.getLogger("labioc.puts")

LEFT = "the client gave up before its turn; nothing was sent"


@dataclass(eq=False, slots=True)
class Order:
    """One write on its way to a device: where it goes, the permit under which it is done, and its answer.

    ``name`` is what people call it. ``objection`` returns why it must not be sent at the moment, ``work`` does it and
    raises PutRefused when it was not applied, ``note`` takes the reason, once, before the answer is there.
    """

    device: str
    name: str
    way: Way
    objection: Callable[[], str | None]
    work: Callable[[Permit], Awaitable[Any]]
    note: Callable[[str], None]
    task: asyncio.Task[None] | None = None
    permit: Permit = field(init=False)
    context: Context = field(init=False)
    answer: asyncio.Future[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.permit = Permit(self.objection, self.way.urgent)
        self.context = self.permit.context()
        self.answer = asyncio.get_running_loop().create_future()

    def same_place(self, other: Order) -> bool:
        """Whether the two must not run beside each other; an empty place is the whole device."""
        places = self.way.place, other.way.place
        return self.device == other.device and (places[0] == places[1] or "" in places)

    def refuse(self, reason: str) -> None:
        """Answer that it was not applied, unless it is answered already."""
        if not self.answer.done():
            self.note(reason)
            self.answer.set_exception(PutRefused(reason))
            self.answer.exception()  # so that an answer without a waiting client is not reported as lost


class PutQueue:
    """The queues of all wires; ``seconds`` is how long a put may wait until its first byte goes out."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: defaultdict[str, list[Order]] = defaultdict(list)
        self._running: defaultdict[str, list[Order]] = defaultdict(list)

    def __iter__(self) -> Iterator[Order]:
        """Every order that waits or runs at the moment."""
        return iter([order for wires in (self._waiting, self._running) for wire in wires.values() for order in wire])

    async def submit(self, order: Order, context: PutContext, patient: bool) -> Any:
        """Queue a write, or begin it, and wait for its answer; a ``patient`` one waits for its turn without limit.

        Raises PutRefused. Cancelling it withdraws the write.
        """
        give_up = partial(self.withdraw, order)
        waited = f"waited {self._seconds:g} s for its turn; nothing was sent"
        timer = None if patient else self._clock.call_later(self._seconds, partial(give_up, waited))
        if context.callback:
            context.cancelled.then(partial(give_up, LEFT))
        if not order.answer.done():  # the client may have left already
            self._enter(order)
        try:
            return await asyncio.shield(order.answer)
        except asyncio.CancelledError:
            give_up(LEFT)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _enter(self, order: Order) -> None:
        if order.way.urgent:
            self._overtake(order)
            self._begin(order)
        else:
            self._waiting[order.way.wire].append(order)
            self._go_on(order.way.wire)

    def withdraw(self, order: Order, reason: str) -> None:
        """Give a write up and answer it, unless it has begun: then it is finished."""
        if not order.answer.done() and order.permit.withdraw(reason):
            self._give_up(order, reason)

    def withdraw_objectionable(self) -> None:
        """Refuse at once whatever has not begun and must not be sent any more."""
        for order in self:
            if (reason := order.objection()) is not None:
                self.withdraw(order, reason)

    def begun(self) -> set[asyncio.Task[None]]:
        """Return the writes of which something has been sent and which are not over."""
        return {order.task for order in self if order.task is not None and order.permit.begun}

    async def close(self, seconds: float, reason: str) -> None:
        """Refuse whatever has not begun, wait for what has, and give up after this long."""
        for order in self:
            self.withdraw(order, reason)
        if begun := self.begun():
            await asyncio.wait(begun, timeout=seconds)
        late = [order.task for order in self if order.task is not None]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _give_up(self, order: Order, reason: str) -> None:
        order.refuse(reason)
        if order in self._waiting[order.way.wire]:
            self._waiting[order.way.wire].remove(order)
            self._go_on(order.way.wire)

    def _overtake(self, urgent: Order) -> None:
        for order in self:
            if order.way.wire == urgent.way.wire and not order.way.urgent and order.same_place(urgent):
                reason = f"{urgent.name} overtook it"
                if order.permit.end(reason):
                    self._give_up(order, f"{reason}; nothing was sent")

    def _go_on(self, wire: str) -> None:
        """Begin what has its turn now; what waits for its place lets others pass."""
        before: list[Order] = []
        for order in list(self._waiting[wire]):
            running = self._running[wire]
            if len(running) >= order.way.room:
                break
            if any(order.same_place(other) for other in (*running, *before)):
                before.append(order)
            else:
                self._waiting[wire].remove(order)
                self._begin(order)

    def _begin(self, order: Order) -> None:
        self._running[order.way.wire].append(order)
        order.task = asyncio.create_task(self._run(order), name=f"put {order.name}", context=order.context)

    async def _run(self, order: Order) -> None:
        try:
            reason = order.objection()
            if reason is not None:
                order.refuse(reason)
                return
            result = await order.work(order.permit)
            if not order.answer.done():
                order.answer.set_result(result)
        except PutRefused as refusal:
            order.refuse(str(refusal))
        except asyncio.CancelledError:
            order.refuse("the server stopped before the device answered, the outcome is unknown")
        except Exception as error:
            log.exception("%s: internal error", order.name)
            order.refuse(f"internal error: {type(error).__name__}: {error}")
        finally:
            self._running[order.way.wire].remove(order)
            self._go_on(order.way.wire)


class PutNotes:
    """Takes the account of each put, and hands on to ``on_applied`` those that may have to be kept over a restart."""

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
        self.refused(self._scanners.get(record.device or ""), self.entry(name, old, value, context), reason)

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
        self._note_applied(entry, f"{entry.old} -> {entry.read_back}", kept=True)

    def entry(self, name: str, old: str, new: str, context: PutContext) -> Entry:
        """Begin the account of a put: the PV, its value before and the new one in words, and who puts."""
        now, began = self._clock.time(), self._clock.monotonic()
        return Entry(now, name, context.user, context.host, context.address[0], old, new, began=began)

    def refused(self, scanner: DeviceScanner | None, entry: Entry, reason: str) -> None:
        """End the account of a put that was not applied, or of which that is not known."""
        owner, text = entry.pv if scanner is None else scanner.name, f"{entry.pv} = {entry.new} by {entry.who}"
        log.warning("refused %s: %s", text, reason, extra={"cause": (owner, cause_of(reason)), **_about(entry)})
        entry.reason, entry.seconds = reason, self._clock.monotonic() - entry.began
        self._keep(self._journal.note, entry)
        if scanner is not None:
            self._keep(scanner.status.note_refusal, f"{reason} [{text}, {local_time(self._clock.time())}]")

    def applied(self, entry: Entry, change: str, kept: bool = False) -> None:
        """End the account of a put that was applied; ``kept`` says that the server keeps the value, not a device."""
        log.info("%s: %s by %s", entry.pv, change, entry.who, extra=_about(entry))
        self._note_applied(entry, change, kept)

    def _note_applied(self, entry: Entry, change: str, kept: bool) -> None:
        entry.outcome, entry.reason, entry.seconds = APPLIED, "", self._clock.monotonic() - entry.began
        self._keep(self._journal.note, entry)
        self._keep(self._statistics.note_put, f"{entry.who} {entry.pv} {change}")
        if kept:
            self._keep(self.on_applied, entry)

    @staticmethod
    def _keep(keep: Callable[[Any], None], what: Any) -> None:
        """Keep a part of an account; that it fails must not change what the client is answered."""
        try:
            keep(what)
        except Exception:
            log.exception("the account of a put is not complete")


def typed(value: Any) -> Typed:
    """Return a value as the journal has it: a number, or else its text."""
    return value if isinstance(value, int | float) else str(value)


def _about(entry: Entry) -> dict[str, str]:
    """Return what a structured log has of a put beside the message."""
    return {"pv": entry.pv, "user": entry.user, "host": entry.host, "address": entry.address}
