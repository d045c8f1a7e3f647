"""One CAN adapter, shared by all modules behind it.

python-can blocks, so each adapter has two threads of its own: one opens it and receives, one sends. Frames that no
listener wants are counted and dropped in the receiving thread. A lost adapter is closed at once, its listeners are
informed, and the next one that joins opens it anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import can

from devices.clock import DriverClock
from devices.errors import LinkDown
from devices.links.can_frame import ControllerState, Frame, controller_error
from devices.links.can_options import option_mistakes

log = logging.getLogger("labioc.can")

RECEIVE_SECONDS = 0.1  # how long the receiving thread waits before it looks whether it is to end
SEND_SECONDS = 0.5  # how long a frame may wait for its turn and for room in the adapter, unless a call sets it
OPEN_SECONDS = 5.0  # serial adapters sleep 2 s while they are opened
CLOSE_SECONDS = 2.0  # after which a hung adapter is left to itself
STRIKES = 25  # failures in a row, without a good frame, that end an adapter
STRIKE_PAUSE = 0.02  # s between them, so that an adapter that is gone is noticed after half a second
RESTING = 0.5  # s before an adapter that failed is opened again
SILENCE = 3.0  # s of requests without any frame on the bus that make the adapter suspect
ECHO_SECONDS = 0.5  # how long a frame may take to come back to its sender
REMEMBERED = 1000  # different frames sent, before those that can no longer come back are forgotten
BACKLOG = 20_000  # frames kept while the event loop is busy

OWN_CLOCK = frozenset({"socketcan", "udp_multicast", "virtual"})
"""Interfaces that stamp frames with the time of this computer. Others count from some start, or drift."""

STAMP_SECONDS = 60.0  # age above which a stamp of theirs is not believed, nor one in the future


@dataclass(slots=True)
class BusCounters:
    """Frames since the adapter was opened; ``foreign`` are those that no listener wants."""

    received: int = 0
    sent: int = 0
    foreign: int = 0
    errors: int = 0
    last_error: str = ""


class Listener(Protocol):
    """Takes the frames of one node."""

    @property
    def identifiers(self) -> frozenset[int]:
        """The 11-bit identifiers of the frames that it takes."""

    def received(self, frame: Frame, stamp: float) -> None:
        """Take a frame; ``stamp`` is the Unix time at which it arrived."""

    def bus_lost(self, error: LinkDown) -> None:
        """Learn that the adapter is gone; no frame will come any more."""


class CanBus:
    """One adapter. Made by ``join``; all methods but the threads' own run on the event loop that made it."""

    def __init__(self, name: str, options: Mapping[str, Any], clock: DriverClock) -> None:
        self.name = name
        self._clock = clock
        self.counters = BusCounters()
        self.state = ControllerState.ACTIVE
        self.failure: LinkDown | None = None
        self.failed_at = 0.0
        self.outstanding = 0
        """Answers that all nodes together still owe; those who ask add and take away."""
        self._options = dict(options)
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int, list[Listener]] = {}
        self._opening: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()
        self._stop = threading.Event()
        self._outbox: SimpleQueue[tuple[Frame | None, float, float] | None] = SimpleQueue()
        """Frames (None: discard what the adapter keeps), the monotonic time at which they were queued, and the seconds
        that they may wait."""
        self._inbox: deque[tuple[Frame, float, float]] = deque(maxlen=BACKLOG)
        """Frames and when they arrived, Unix and monotonic time."""
        self._delivering = False  # a call to empty the inbox is under way
        self._sent: dict[tuple[int, bytes], tuple[int, float, bool]] = {}
        self._echoes = False
        self._asking_since: float | None = None

    def __str__(self) -> str:
        channel = self._options.get("channel", "")
        return f"CAN adapter {self.name} ({self._options.get('interface')}{f' {channel}' if channel else ''})"

    # On the event loop

    def add(self, listener: Listener) -> None:
        """Hand frames to a listener from now on."""
        new = {key: [*self._listeners.get(key, ()), listener] for key in listener.identifiers}
        self._listeners = self._listeners | new  # as a whole: the thread reads it

    async def open(self) -> None:
        """Open the adapter, or wait for the task that does. Raises LinkDown saying why it cannot be used."""
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
        left = {key: [one for one in those if one is not listener] for key, those in self._listeners.items()}
        self._listeners = {key: those for key, those in left.items() if those}
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

    def send(self, frame: Frame, within: float = SEND_SECONDS, unique: bool = False) -> None:
        """Queue a frame; it is dropped when the adapter has not taken it ``within`` seconds.

        A put that has been answered as failed must not be applied when an adapter that was held up goes on. ``unique``
        are frames that no other node would ever send. Raises LinkDown when the adapter is gone.
        """
        if self.failure is not None:
            raise self.failure
        now = self._clock.monotonic()
        if self._asking_since is None:
            self._asking_since = now
        elif now - self._asking_since > SILENCE:
            self._fail(f"nothing received for {SILENCE:g} s, although requests are sent")
        if self.failure is not None:
            raise self.failure
        count, last, _ = self._sent.get((frame.id, frame.data), (0, 0.0, False))
        self._sent[frame.id, frame.data] = (count + 1 if now - last < ECHO_SECONDS else 1, now, unique)
        if len(self._sent) > REMEMBERED:
            self._sent = {key: entry for key, entry in self._sent.items() if now - entry[1] < ECHO_SECONDS}
        self._outbox.put((frame, now, within))

    def discard(self) -> None:
        """Have the adapter forget the frames that it keeps because no node has acknowledged them, where it can.

        They would go out as soon as a node is there again. Nothing is kept while frames arrive from any node.
        """
        if self._asking_since is not None:
            self._outbox.put((None, 0.0, 0.0))

    def _fail(self, reason: str) -> None:
        self._stop.set()
        if self.failure is not None:
            return
        self.failure, self.failed_at = LinkDown(f"{self}: {reason}"), self._clock.monotonic()
        self.counters.last_error = reason
        for listener in {id(one): one for those in self._listeners.values() for one in those}.values():
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
            if self._is_echo(frame, arrived):
                continue
            self._asking_since = None
            for listener in self._listeners.get(frame.id, ()):
                listener.received(frame, stamp)

    def _is_echo(self, frame: Frame, arrived: float) -> bool:
        """Tell whether this frame was sent from here: some interfaces return everything to its sender.

        A write that comes back looks like the answer of a node. Frames that no node ever sends reveal which interfaces
        do this; on the others, an answer equal to a write is never taken for its echo.
        """
        key = (frame.id, frame.data)
        count, sent, unique = self._sent.get(key, (0, 0.0, False))
        if not count or arrived - sent > ECHO_SECONDS:
            return False
        self._echoes |= unique
        if not self._echoes:
            return False
        self._sent[key] = (count - 1, sent, unique)
        return True

    # In the threads

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        """Have something done on the event loop; nothing is left to do when that has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            self._stop.set()

    def _receive(self) -> None:
        """Open the adapter, receive until it is asked to stop or it fails, close it."""
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
                _try(adapter, "flush_tx_buffer")
                _try(adapter, "shutdown")
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
        looked = self._clock.monotonic()
        while not self._stop.is_set():
            begun = self._clock.monotonic()
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
                _try(adapter, "flush")  # half a line that a serial adapter cannot get over by itself
                self._stop.wait(STRIKE_PAUSE)
                continue
            if self.state is ControllerState.OFF:
                return "bus off"
            if message is not None:
                strikes = 0
                self._take(message)
            elif self._clock.monotonic() - begun < RECEIVE_SECONDS / 10:
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
            error = controller_error(frame)
            self._count_error(error.reason)
            if error.state is not None:
                self.state = error.state
            return
        self.counters.received += 1
        if frame.extended or frame.remote or frame.id not in self._listeners:
            self.counters.foreign += 1
            return
        now, stamp = self._clock.time(), message.timestamp
        believed = self._options.get("interface") in OWN_CLOCK and 0 <= now - stamp < STAMP_SECONDS
        self._inbox.append((frame, stamp if believed else now, self._clock.monotonic()))
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
            if frame is None:
                _try(adapter, "flush_tx_buffer")  # those that cannot do so are rid of it by being closed
                continue
            if self._clock.monotonic() - queued > within:
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
    """Return a message of python-can as a frame."""
    extended, remote, error = message.is_extended_id, message.is_remote_frame, message.is_error_frame
    return Frame(message.arbitration_id, bytes(message.data), extended, remote, error)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


def _try(adapter: can.BusABC, method: str) -> None:
    """Have an adapter do what not every back end can, or no longer can because it is gone, perhaps with its cable."""
    try:
        getattr(adapter, method, lambda: None)()
    except Exception as error:  # the next receive tells what is wrong
        log.debug("%s: %r", method, error)


_buses: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, CanBus]] = WeakKeyDictionary()


async def join(name: str, options: Mapping[str, Any], listener: Listener, clock: DriverClock | None = None) -> CanBus:
    """Return the adapter of this name, opened, with ``listener`` added; ``leave`` it when done.

    Raises LinkDown saying why it cannot be used; one that has just failed is left alone for half a second.
    """
    clock = clock or DriverClock()
    buses = _buses.setdefault(asyncio.get_running_loop(), {})
    bus = buses.get(name)
    if bus is not None and bus.failure is not None:
        if clock.monotonic() - bus.failed_at < RESTING:
            raise bus.failure
        await bus.close()  # waits until the old one has let go of its hardware
        if buses.get(name) is bus:
            del buses[name]
    bus = buses.get(name)
    if bus is None:
        bus = buses[name] = CanBus(name, options, clock)
    bus.add(listener)
    try:
        await bus.open()
    except BaseException:
        await bus.leave(listener)
        raise
    return bus
