"""One CAN adapter, shared by all modules behind it.

python-can blocks, so each adapter has two threads of its own: one opens it and receives, one sends. Frames of other
nodes are counted and dropped in the receiving thread; only those of modules that somebody listens to reach the
event loop. A lost adapter is closed at once, everybody who listens is told, and whoever joins next opens it anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from queue import SimpleQueue
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import can

from devices.errors import LinkDown
from devices.iseg.edcp.messages import BusError, Frame, Message, Request
from devices.iseg.edcp.protocol import decode
from devices.links.can_options import option_mistakes

log = logging.getLogger("labioc.can")

RECEIVE_SECONDS = 0.1  # how long the receiving thread waits before it looks whether it is to end
SEND_SECONDS = 0.5  # how long a frame may wait for its turn and for room in the adapter, unless said otherwise
OPEN_SECONDS = 5.0  # serial adapters sleep 2 s while they are opened
CLOSE_SECONDS = 2.0  # after which a hung adapter is left to itself
STRIKES = 25  # failures in a row, without a good frame, that end an adapter
STRIKE_PAUSE = 0.02  # s between them, so that an adapter that is gone is noticed after half a second
RESTING = 0.5  # s before an adapter that failed is opened again
SILENCE = 3.0  # s of requests without any frame on the bus that make the adapter suspect
ECHO_SECONDS = 0.5  # how long a frame may take to come back to its sender
REMEMBERED = 1000  # different frames sent, before those that can no longer come back are forgotten
BACKLOG = 20_000  # frames kept while the event loop is busy

_NOT_A_MODULE = 0x406  # crate, broadcast and reply bits, 0 in all traffic of modules


class ControllerState(IntEnum):
    """State of the CAN controller."""

    ACTIVE = 0
    PASSIVE = 1
    OFF = 2


@dataclass(slots=True)
class BusCounters:
    """Frames since the adapter was opened; ``foreign`` are those of other nodes, which nobody here listens to."""

    received: int = 0
    sent: int = 0
    foreign: int = 0
    errors: int = 0
    last_error: str = ""


class Listener(Protocol):
    """Whoever wants the frames of one module."""

    @property
    def address(self) -> int:
        """Address of the module, 0 to 63."""

    def heard(self, message: Message, stamp: float) -> None:
        """Take a message of the module; ``stamp`` is the Unix time at which it arrived."""

    def bus_lost(self, error: LinkDown) -> None:
        """Learn that the adapter is gone; nothing will be heard any more."""


class CanBus:
    """One adapter. Made by ``join``; all methods but the threads' own run on the event loop that made it."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.counters = BusCounters()
        self.state = ControllerState.ACTIVE
        self.failure: LinkDown | None = None
        self.failed_at = 0.0
        self.outstanding = 0
        """Answers that all modules together still owe; whoever asks adds and takes away."""
        self._options = dict(options)
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int, list[Listener]] = {}
        self._opening: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self._stop = threading.Event()
        self._outbox: SimpleQueue[tuple[Frame, float, float] | None] = SimpleQueue()
        """Frames, the monotonic time at which they were queued, and the seconds that they may wait."""
        self._inbox: deque[tuple[Frame, float, float]] = deque(maxlen=BACKLOG)
        """Frames and when they arrived, Unix and monotonic time."""
        self._delivering = False  # somebody is on the way to the inbox
        self._wanted: frozenset[int] = frozenset()  # addresses; replaced as a whole, read by the thread
        self._sent: dict[tuple[int, bytes], tuple[int, float]] = {}
        self._echoes = False
        self._asking_since: float | None = None

    def __str__(self) -> str:
        channel = self._options.get("channel", "")
        return f"CAN adapter {self.name} ({self._options.get('interface')}{f' {channel}' if channel else ''})"

    # On the event loop

    def add(self, listener: Listener) -> None:
        """Hand the frames of a module to somebody from now on."""
        self._listeners.setdefault(listener.address, []).append(listener)
        self._wanted = frozenset(self._listeners)

    async def open(self) -> None:
        """Open the adapter, or wait until somebody else has. Raises LinkDown saying why it cannot be used."""
        if self._opening is None:
            self._opening = self._loop.create_future()
            threading.Thread(target=self._receive, name=f"can {self.name} receive", daemon=True).start()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await asyncio.shield(self._opening)
        except TimeoutError:
            self._fail("cannot be opened, it does not react")
        if self.failure is not None:
            raise self.failure

    async def leave(self, listener: Listener) -> None:
        """Stop listening; the last one closes the adapter."""
        listeners = self._listeners.get(listener.address, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[listener.address]
            self._wanted = frozenset(self._listeners)
        if not self._listeners:
            await self.close()

    async def close(self) -> None:
        """Close the adapter and wait until it is free again."""
        if self.failure is None:
            self.failure = LinkDown(f"{self}: closed")
        self._stop.set()
        if self._opening is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ended.wait()
        except TimeoutError:
            log.warning("%s: does not close", self)

    def send(self, frame: Frame, within: float = SEND_SECONDS) -> None:
        """Queue a frame; it is dropped when the adapter has not taken it ``within`` seconds.

        A put that its client was told has failed must not come true when an adapter that was held up goes on. Raises
        LinkDown when the adapter is gone.
        """
        if self.failure is not None:
            raise self.failure
        now = time.monotonic()
        if self._asking_since is None:
            self._asking_since = now
        elif now - self._asking_since > SILENCE:
            self._fail(f"nothing received for {SILENCE:g} s, although modules are being asked")
        if self.failure is not None:
            raise self.failure
        count, last = self._sent.get((frame.id, frame.data), (0, 0.0))
        self._sent[frame.id, frame.data] = (count + 1 if now - last < ECHO_SECONDS else 1, now)
        if len(self._sent) > REMEMBERED:
            self._sent = {key: entry for key, entry in self._sent.items() if now - entry[1] < ECHO_SECONDS}
        self._outbox.put((frame, now, within))

    def _fail(self, reason: str) -> None:
        self._stop.set()
        if self.failure is not None:
            return
        self.failure, self.failed_at = LinkDown(f"{self}: {reason}"), time.monotonic()
        self.counters.last_error = reason
        for listeners in list(self._listeners.values()):
            for listener in list(listeners):
                listener.bus_lost(self.failure)

    def _opened(self, reason: str) -> None:
        if reason:
            self._fail(reason)
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)

    def _finished(self) -> None:
        self._opened("closed while it was being opened" if self.failure is None else "")
        self._ended.set()

    def _deliver(self) -> None:
        """Hand out what the thread has put into the inbox."""
        self._delivering = False  # before looking, or a frame that comes meanwhile would wait for the next one
        while self._inbox:
            frame, stamp, arrived = self._inbox.popleft()
            message = decode(frame)
            if self._is_echo(frame, message, arrived):
                continue
            self._asking_since = None
            for listener in list(self._listeners.get(frame.id >> 3 & 0x3F, ())):
                listener.heard(message, stamp)

    def _is_echo(self, frame: Frame, message: Message, arrived: float) -> bool:
        """Tell whether this frame was sent from here: some interfaces return everything to its sender.

        A write that comes back looks like the module's answer. Requests tell which interfaces do this, because a
        module never sends any; on the others, an answer equal to a write is never taken for its echo.
        """
        key = (frame.id, frame.data)
        count, sent = self._sent.get(key, (0, 0.0))
        if not count or arrived - sent > ECHO_SECONDS:
            return False
        if isinstance(message, Request):
            self._echoes = True
        elif not self._echoes:
            return False
        self._sent[key] = (count - 1, sent)
        return True

    # In the threads

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done on the event loop; nothing is left to do when that has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            self._stop.set()

    def _receive(self) -> None:
        """Open the adapter, receive until told to stop or it fails, close it."""
        sender: threading.Thread | None = None
        adapter: can.BusABC | None = None
        try:
            adapter = self._make()
            sender = threading.Thread(target=self._transmit, args=(adapter,), name=f"can {self.name} send", daemon=True)
            sender.start()
            self._call(self._opened, "")
            reason = self._listen(adapter)
            if reason:
                self._call(self._fail, reason)
        except Exception as error:  # a back end may raise anything
            self._call(self._opened, _why(error))
        finally:
            self._stop.set()
            self._outbox.put(None)
            if sender is not None:
                sender.join(CLOSE_SECONDS)
            if adapter is not None:
                _shut(adapter)
            self._call(self._finished)

    def _make(self) -> can.BusABC:
        mistakes = [f"option {name}: {reason}" for name, reason in option_mistakes(self._options)]
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return can.Bus(ignore_config=True, **self._options)

    def _listen(self, adapter: can.BusABC) -> str:
        """Receive; return why that came to an end, empty when it was asked to."""
        strikes = 0
        tells_state = type(adapter).state is not can.BusABC.state
        looked = time.monotonic()
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                message = adapter.recv(RECEIVE_SECONDS)
                if tells_state and begun - looked > RECEIVE_SECONDS:
                    looked = begun
                    self._note_state(adapter.state)
            except Exception as error:  # a back end may raise anything, also for one malformed frame
                strikes += 1
                self._count_error(f"receiving: {_why(error)}")
                if strikes >= STRIKES:
                    return _why(error)
                _flush(adapter)
                self._stop.wait(STRIKE_PAUSE)
                continue
            if self.state is ControllerState.OFF:
                return "bus off"
            if message is not None:
                strikes = 0
                self._take(message)
            elif time.monotonic() - begun < RECEIVE_SECONDS / 10:
                # Some back ends say "nothing" without waiting when their peer has gone.
                strikes += 1
                if strikes >= STRIKES:
                    return "receives nothing without waiting for it: its other end is gone"
                self._stop.wait(STRIKE_PAUSE)
            else:
                strikes = 0
        return ""

    def _take(self, message: can.Message) -> None:
        frame = frame_of(message)
        if frame.error:
            error = decode(frame)
            if isinstance(error, BusError):
                self._count_error(error.reason)
                if error.state:
                    self.state = ControllerState[error.state]
            return
        self.counters.received += 1
        of_a_module = not (frame.extended or frame.remote or frame.id & _NOT_A_MODULE)
        if not of_a_module or frame.id >> 3 & 0x3F not in self._wanted:
            self.counters.foreign += 1
            return
        self._inbox.append((frame, time.time(), time.monotonic()))
        if not self._delivering:
            self._delivering = True
            self._call(self._deliver)

    def _note_state(self, state: can.BusState) -> None:
        names = {can.BusState.ACTIVE: "ACTIVE", can.BusState.PASSIVE: "PASSIVE", can.BusState.ERROR: "OFF"}
        self.state = ControllerState[names[state]]

    def _count_error(self, reason: str) -> None:
        self.counters.errors += 1
        self.counters.last_error = reason

    def _transmit(self, adapter: can.BusABC) -> None:
        strikes = 0
        while (entry := self._outbox.get()) is not None:
            frame, queued, within = entry
            if self._stop.is_set():
                continue
            if time.monotonic() - queued > within:
                self._count_error("sending: held up for too long")
                continue
            message = can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False)
            try:
                adapter.send(message, timeout=within)  # not what is left: serial ports dislike changes
            except Exception as error:  # a back end may raise anything
                strikes += 1
                self._count_error(f"sending: {_why(error)}")
                if strikes >= STRIKES or isinstance(error, OSError):
                    self._call(self._fail, _why(error))
                    return
            else:
                strikes = 0
                self.counters.sent += 1


def frame_of(message: can.Message) -> Frame:
    """Return a message of python-can as a frame of EDCP."""
    return Frame(
        message.arbitration_id,
        bytes(message.data),
        message.is_extended_id,
        message.is_remote_frame,
        message.is_error_frame,
    )


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _flush(adapter: can.BusABC) -> None:
    """Drop half a line that a serial adapter cannot get over by itself."""
    flush = getattr(adapter, "flush", None)
    if flush is not None:
        try:
            flush()
        except Exception as error:  # the next receive tells what is wrong
            log.debug("flush: %s", error)


def _shut(adapter: can.BusABC) -> None:
    try:
        adapter.shutdown()
    except Exception as error:  # it is gone already, perhaps with its cable
        log.debug("shutdown: %s", error)


_buses: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CanBus]] = WeakKeyDictionary()


async def join(name: str, options: Mapping[str, Any], listener: Listener) -> CanBus:
    """Return the adapter of this name, opened, with ``listener`` added; ``leave`` it when done.

    Raises LinkDown saying why it cannot be used; one that has just failed is left alone for half a second.
    """
    buses = _buses.setdefault(asyncio.get_running_loop(), {})
    bus = buses.get(name)
    if bus is not None and bus.failure is not None:
        if time.monotonic() - bus.failed_at < RESTING:
            raise bus.failure
        await bus.close()  # waits until the old one has let go of its hardware
        if buses.get(name) is bus:
            del buses[name]
    bus = buses.get(name)
    if bus is None:
        bus = buses[name] = CanBus(name, options)
    bus.add(listener)
    try:
        await bus.open()
    except BaseException:
        await bus.leave(listener)
        raise
    return bus
