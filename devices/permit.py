"""Leave to change a device, asked for by the link immediately before the first byte of each exchange that changes it.

Also whose exchange a line carries next: one at a time, urgent writes before everything else that waits.

A put may be withdrawn at any time until its first byte goes out: its client has left, writing was forbidden, it has
waited for too long, or the output was switched off meanwhile. Only the link knows that moment, after it has got its
line. So each write runs in a context with a permit of its own, and a link calls ``changing()`` before it sends what
changes something. Tasks that a write starts inherit its permit. The scan runs under ``NOTHING``, so that no scan and no
reconnection can change a device, whatever a driver does. Without a context everything is permitted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context

from devices.errors import Withdrawn


class Permit:
    """Leave for one write; ``objection`` returns why nothing may be sent at the moment, None when it may.

    An ``urgent`` write gets its line before others. ``begun`` says whether the link has been let send something. May
    be asked from the thread of a link: what it has let through before ``withdraw`` or ``end`` returns is begun, and
    nothing is let through after.
    """

    __slots__ = ("_lock", "_objection", "begun", "ended", "urgent")

    def __init__(self, objection: Callable[[], str | None] = lambda: None, urgent: bool = False) -> None:
        self.urgent = urgent
        self.begun = False
        self.ended = ""
        self._objection = objection
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Let one exchange that changes the device be sent, now. Raises Withdrawn with the reason when it must not."""
        with self._lock:
            reason = self.ended or self._objection()
            if reason:
                raise Withdrawn(reason)
            self.begun = True

    def withdraw(self, reason: str) -> bool:
        """Let nothing be sent any more, unless the write has begun; return whether it is withdrawn."""
        with self._lock:
            if self.begun:
                return False
            self.ended = self.ended or reason
            return True

    def end(self, reason: str) -> bool:
        """Let nothing more be sent, whether the write has begun or not; return whether nothing had been."""
        with self._lock:
            self.ended = self.ended or reason
            return not self.begun

    def use(self) -> None:
        """Have this permit hold from now on in the present context, and in the tasks that are started from it."""
        _PERMIT.set(self)

    def context(self) -> Context:
        """Return a copy of the present context in which this permit holds."""
        context = copy_context()
        context.run(self.use)
        return context


NOTHING = Permit()
"""The permit under which nothing that changes a device is sent."""

NOTHING.end("a scan does not write")

_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)


def current() -> Permit:
    """Return the permit of the present context, for a link that sends from another thread."""
    return _PERMIT.get() or Permit()


def changing() -> None:
    """Ask whether an exchange that changes the device may be sent now. Raises Withdrawn when not."""
    current().begin()


class Precedence:
    """A lock, to be used with ``async with``; those that wait get it in their order, urgent writes first."""

    def __init__(self) -> None:
        self._held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        if self._held:
            turn = asyncio.get_running_loop().create_future()
            (self._urgent if current().urgent else self._others).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # it had just been given the line
                    self._pass_on()
                raise
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        for waiting in (self._urgent, self._others):
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._held = False
