"""The queues in which puts wait for their wire, and the end of their waiting.

One rule for all devices. A wire carries as many writes at a time as it has room for, one for most. Writes wait in the
order in which they came; those to one place go one after the other. An urgent write begins at once and ends whatever
waits for its place or is being done to it. Until its first byte goes out a write can be withdrawn, and its client is
answered at that moment, also while the driver is still looking at the device or waits for the line.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from devices.model import Way
from devices.permit import Permit
from ioc.records import PutRefused

log = logging.getLogger("labioc.puts")


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

    def applied(self, result: Any) -> None:
        """Answer that it is done."""
        if not self.answer.done():
            self.answer.set_result(result)

    def refuse(self, reason: str) -> None:
        """Answer that it was not applied, unless it is answered already."""
        if not self.answer.done():
            self.note(reason)
            self.answer.set_exception(PutRefused(reason))
            self.answer.exception()  # so that an answer without a waiting client is not reported as lost


class PutQueue:
    """The queues of all wires."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Order]] = defaultdict(list)
        self._running: defaultdict[str, list[Order]] = defaultdict(list)

    def __iter__(self) -> Iterator[Order]:
        """Every order that waits or runs at the moment."""
        return iter([order for wires in (self._waiting, self._running) for wire in wires.values() for order in wire])

    def enter(self, order: Order) -> None:
        """Queue a write, or begin it."""
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

    def begun(self) -> set[asyncio.Task[None]]:
        """Return the writes of which something has been sent and which are not over."""
        return {order.task for order in self if order.task is not None and order.permit.begun}

    def running(self) -> set[asyncio.Task[None]]:
        """Return the writes that have had their turn and are not over."""
        return {order.task for order in self if order.task is not None}

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
            if _any_at(order, running) or _any_at(order, before):
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
            else:
                order.applied(await order.work(order.permit))
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


def _any_at(order: Order, others: Iterable[Order]) -> bool:
    return any(order.same_place(other) for other in others)
