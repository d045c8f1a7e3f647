"""Simulated iseg modules on one CAN segment, behind any python-can interface or an slcan adapter.

A thread of its own plays the segment, so that blocking clients and asyncio hosts are served alike. Time comes from
an injected clock. With a bit rate the frames take the time they take on a wire; ``faults`` makes the segment
misbehave while the modules behind it stay as they are.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import can

from devices.iseg.edcp.bits import CrateStatus, GeneralStatus
from devices.iseg.edcp.protocol import (
    CRATE,
    Broadcast,
    Data,
    Registration,
    Request,
    Unexplained,
    announcement,
    answer,
    decode,
)
from devices.iseg.simulator.answers import respond
from devices.iseg.simulator.module import SimulatedIsegModule
from devices.iseg.simulator.ports import CanPort, SlcanPort
from devices.iseg.simulator.wire import HOST, Wire
from devices.links.can_frame import Frame

TICK = 0.01
"""Seconds between two steps of the modules."""

REMEMBERED = 100_000
"""Frames of the host kept for inspection."""

REACTION = 0.0005
"""Seconds that a module takes to answer; chosen, the guide gives no number."""

REORDER_DELAY = 0.004
"""Seconds by which a frame falls behind the others; chosen."""

_BUS_OFF = Frame(0x040, bytes(8), error=True)
_ACTIVE = Frame(0x004, bytes((0, 0x40, 0, 0, 0, 0, 0, 0)), error=True)

_CRATE_ANSWER_ID = 0x604
_CRATE_CLASS = 0x2E


@dataclass(slots=True)
class Faults:
    """What is wrong with the segment; everything can be changed at any time.

    silent: addresses of modules that neither hear nor answer. lose: share of frames lost, both ways. duplicate:
    share of answers that come twice. reorder: share of answers that fall behind the next ones. garbage: share of
    answers with random frames of the same module behind them. delay: seconds that an adapter holds answers back.
    flood: frames of foreign nodes per second. bus_off: nothing gets through either way.
    """

    silent: set[int] = field(default_factory=set)
    lose: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    garbage: float = 0.0
    delay: float = 0.0
    flood: float = 0.0
    bus_off: bool = False


class SimulatedCrate:
    """The crate controller on the segment: status, fan, power (EDCP guide, crate items).

    ``power`` and ``fan`` (%) may be set by a test; without power the modules are dead. ``registered``: no
    announcements.
    """

    __slots__ = ("_announce", "fan", "power", "registered")

    def __init__(self) -> None:
        self.power, self.registered, self.fan, self._announce = True, True, 35.0, 0.0

    def step(self, dt: float) -> list[Frame]:
        """Advance by dt seconds and return the announcement when one is due."""
        self._announce -= dt
        if self.registered or self._announce > 0:
            return []
        self._announce = 1.0
        return [announcement(CRATE, GeneralStatus(0), _CRATE_CLASS)]

    def respond(self, frame: Frame) -> list[Frame]:
        """Return the answers to one frame; nothing when it is not for a crate controller."""
        if frame.id not in (0x600, 0x601):
            return []
        values = {
            "CrateStatus": int(CrateStatus.ENABLED | self.power * CrateStatus.POWER_ON),
            "FanSpeed": self.fan,
            "CratePower": int(self.power),
        }
        match decode(frame):
            case Registration(on=on):
                self.registered = on
            case Request(item=item) if item.name in values:
                return [Frame(_CRATE_ANSWER_ID, answer(CRATE, item, values[item.name]).data)]
            case Data(item=item, value=int(value) | float(value)) if item.name == "CratePower":
                self.power = bool(value)
            case Data(item=item, value=int(value) | float(value)) if item.name == "FanSpeed":
                self.fan = float(value)
        return []


class Received(NamedTuple):
    """A frame that the host sent, and when by the segment's clock."""

    time: float
    frame: Frame


class SimulatedIsegBus:
    """Modules on a segment; open it, use it, close it.

    ``interface`` and ``options`` are those of ``can.Bus``; the interface ``slcan`` is a pseudo terminal instead, whose
    path is the ``channel`` to open. ``bit_rate`` (kbit/s) makes frames take their time, 0 none. ``received`` holds
    what hosts sent, oldest first. Hold ``lock`` to change several things of a module at once.
    """

    def __init__(
        self,
        modules: Sequence[SimulatedIsegModule],
        interface: str = "virtual",
        *,
        bit_rate: int = 0,
        reaction: float = REACTION,
        clock: Callable[[], float] = time.monotonic,
        seed: int = 1,
        **options: Any,
    ) -> None:
        self.modules = {module.address: module for module in modules}
        self.crate = SimulatedCrate()
        self.interface, self.options, self.reaction = interface, options, reaction
        self.channel = str(options.get("channel", ""))
        """The ``channel`` option for a host, that of slcan once opened."""
        self.faults, self.wire = Faults(), Wire(bit_rate * 1000)
        self.received: deque[Received] = deque(maxlen=REMEMBERED)
        self.lock = threading.RLock()
        self._clock, self._random = clock, random.Random(seed)
        self._port: CanPort | SlcanPort | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._stepped = self._flooded = 0.0
        self._powered = True
        self._ready: dict[int, float] = {}
        self._late: list[tuple[float, Frame]] = []
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._receiving = threading.Lock()

    @property
    def address(self) -> str:
        """Interface and channel in one word."""
        return f"{self.interface}:{self.channel}"

    def open(self) -> None:
        """Join the bus and let time pass. Raises can.CanError or OSError when the interface is not to be had."""
        if self.interface == "slcan":
            self._folder = tempfile.TemporaryDirectory(prefix="slcan-")
            self.channel = os.path.join(self._folder.name, "adapter")
        self.plug_in()
        self._stepped = self._flooded = self._clock()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._play, name="simulated CAN segment", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Leave the bus; the modules keep their state."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None
        self.unplug()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def start(self) -> None:
        """Like ``open``, but raises OSError for whatever keeps the interface from being had."""
        try:
            self.open()
        except (can.CanError, ValueError) as error:  # python-can says so in many ways
            raise OSError(f"CAN interface {self.interface}: {error}") from error

    async def stop(self) -> None:
        """Like ``close``; takes a hundredth of a second."""
        self.close()

    def plug_in(self) -> None:
        """Give the segment its adapter (back)."""
        with self.lock:
            if self._port is None:
                self._port = SlcanPort(self.channel) if self._folder else CanPort(self.interface, self.options)

    def unplug(self) -> None:
        """Take the adapter away; hosts on a shared bus just hear nothing any more."""
        with self.lock:
            port, self._port = self._port, None
            self.wire.clear()
        if port is not None:
            with self._receiving:  # not under the thread that waits for a frame there
                port.close()

    def add(self, module: SimulatedIsegModule) -> None:
        """Plug a module in, as into a live crate."""
        with self.lock:
            self.modules[module.address] = module

    def remove(self, address: int) -> None:
        """Pull a module out."""
        with self.lock:
            self.modules.pop(address, None)

    def bus_off(self, on: bool) -> None:
        """Cut all traffic and say so with an error frame, as an adapter does; or end that."""
        with self.lock:
            self.faults.bus_off = on
            self.wire.clear()
            if self._port is not None:
                self._port.send(_BUS_OFF if on else _ACTIVE)

    def send_raw(self, data: bytes) -> None:
        """Let the slcan adapter send bytes as they are. Raises ValueError for another interface."""
        with self.lock:
            if not isinstance(self._port, SlcanPort):
                raise ValueError("only an slcan adapter has a line")
            self._port.write_raw(data)

    def written(self) -> list[Frame]:
        """Return the frames of hosts that change something, if only by accident; registrations do not."""
        return [one.frame for one in list(self.received) if _changes(one.frame)]

    def advance(self) -> None:
        """Bring the modules up to the clock's now."""
        with self.lock:
            now = self._clock()
            dt, self._stepped = max(0.0, now - self._stepped), now
            if self.crate.power and not self._powered:
                for module in self.modules.values():
                    module.power_cycle()
            self._powered = self.crate.power
            for address, module in self.modules.items():
                for frame in module.step(dt):
                    if self._reaches(address):
                        self.wire.offer(frame, now, address)
            for frame in self.crate.step(dt):
                self.wire.offer(frame, now, CRATE)

    def _reaches(self, address: int) -> bool:
        """Whether a module and the host hear each other: power, cable and the same bit rate."""
        kbit = self._port.kbit if self._port else 0
        module = self.modules[address]
        return self.crate.power and address not in self.faults.silent and kbit in (0, module.bit_rate)

    def _play(self) -> None:
        while not self._stopping.is_set():
            wait, frame = self._wait(), None
            with self._receiving:
                port = self._port
                if port is not None:
                    frame = port.receive(wait)
            if port is None:
                self._stopping.wait(wait)
            with self.lock:
                if frame is not None:
                    self._hear(frame)
                if self._clock() - self._stepped >= TICK:
                    self.advance()
                self._run()

    def _wait(self) -> float:
        now = self._clock()
        with self.lock:
            times = [self._stepped + TICK, *(due for due, _ in self._late)]
            if (due := self.wire.next_time()) is not None:
                times.append(due)
        return min(max(0.0, min(times) - now), TICK)

    def _hear(self, frame: Frame) -> None:
        now = self._clock()
        self.received.append(Received(now, frame))
        if not (self.faults.bus_off or self._lost()):
            self.wire.offer(frame, now, HOST)

    def _lost(self) -> bool:
        return self._random.random() < self.faults.lose

    def _run(self) -> None:
        """Let pass on the wire what has had the time to."""
        now = self._clock()
        for passed in self.wire.run(now):
            if passed.sender == HOST:
                self._deliver(passed.frame, passed.time)
            elif not (self.faults.bus_off or self._lost()):
                self._answer(passed.frame, now)
        due = [frame for time_due, frame in self._late if time_due <= now]
        self._late = [late for late in self._late if late[0] > now]
        for frame in due:
            self._send(frame)
        self._flood(now)

    def _deliver(self, frame: Frame, when: float) -> None:
        """Hand a frame of the host to the modules; each answers one request after the other."""
        for address, module in self.modules.items():
            if self._reaches(address) and (frames := respond(module, frame)):
                ready = max(when, self._ready.get(address, 0.0)) + self.reaction
                self._ready[address] = ready
                for one in frames:
                    self.wire.offer(one, ready, address)
        for one in self.crate.respond(frame):
            self.wire.offer(one, when + self.reaction, CRATE)

    def _answer(self, frame: Frame, now: float) -> None:
        faults = self.faults
        delay = faults.delay + (REORDER_DELAY if self._random.random() < faults.reorder else 0.0)
        copies = 2 if self._random.random() < faults.duplicate else 1
        for _ in range(copies):
            if delay:
                self._late.append((now + delay, frame))
            else:
                self._send(frame)
        if self._random.random() < faults.garbage:
            self._send(Frame(frame.id, self._random.randbytes(self._random.randrange(9))))

    def _send(self, frame: Frame) -> None:
        if self._port is not None:
            self._port.send(frame)

    def _flood(self, now: float) -> None:
        """Send what other nodes say: identifiers outside the protocol, of absent modules, and extended ones."""
        count = int((now - self._flooded) * self.faults.flood)
        if not self.faults.flood or self.faults.bus_off:
            self._flooded = now
        if not count:
            return
        self._flooded += count / self.faults.flood
        absent = [address for address in range(64) if address not in self.modules]
        for _ in range(count):
            identifier = self._random.choice(
                (0x700 | self._random.randrange(256), 0x200 | self._random.choice(absent) << 3)
            )
            extended = self._random.random() < 0.2
            self._send(Frame(identifier << 18 if extended else identifier, self._random.randbytes(8), extended))


def _changes(frame: Frame) -> bool:
    message = decode(frame)
    return isinstance(message, Data | Broadcast) or (isinstance(message, Unexplained) and not frame.id & 1)


@contextmanager
def simulated_bus(
    *modules: SimulatedIsegModule, interface: str = "virtual", **options: Any
) -> Iterator[SimulatedIsegBus]:
    """Run modules on a bus for as long as the block lasts; arguments as of ``SimulatedIsegBus``."""
    with closing(SimulatedIsegBus(modules, interface, **options)) as bus:
        bus.open()
        yield bus
