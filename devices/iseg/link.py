"""Requests to one Iseg module over the shared bus: several under way at once, matched to answers by item and channel.

The reaction time of a module is documented nowhere; isegcan waits 0.3 s and drvAsynCan 0.5 s. Here a try is given up
when nothing has come from the module for a fifth of the device's timeout, and made three times.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from devices import permit
from devices.clock import DriverClock
from devices.errors import LinkDown, ReplyTimeout
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import (
    BASE,
    Announcement,
    Data,
    General,
    Registration,
    Unexplained,
    decode,
    general_request,
    read,
    registration,
)
from devices.iseg.question import Answer, Batch, Question, one
from devices.links.can_bus import CanBus, join
from devices.links.can_frame import Frame
from devices.model import LinkStats

log = logging.getLogger("labioc.iseg")

WINDOW = 4  # requests under way to one module
WINDOW_ANSWERS = 32  # answers under way from one module: two requests for 16 channels
TRIES = 3
PATIENCE = 0.2  # share of the device's timeout that a try waits while the module is silent
ANSWER_SECONDS = 0.002  # what each answer that the whole bus still owes adds, two frames at 125 kbit/s
OVERTAKEN = 0.03  # s without an answer after which a question is over when a later one has been answered
REGISTERED_GRACE = 2.0  # s after registering in which an announcement may still be an old one
LATEST = 10.0  # s after which an answer that is late does not come any more
PROOFS = ("ModuleStatus", "ModuleEventStatus", "ModuleControl", "SerialNumber")
"""What every module answers with one frame."""

RECOVERY = 32  # answered requests after which one more may be under way again


class ModuleLink:
    """One module on the bus named ``can``; ``address`` is 0 to 63, ``timeout`` in seconds.

    ``on_event`` is called when the module reports an event, ``on_loss`` when it or the bus is lost
    without anybody asking.
    """

    def __init__(self, can: str, options: Mapping[str, Any], address: int, timeout: float, clock: DriverClock) -> None:
        self.address = address
        self.stats = LinkStats()
        self.base = BASE
        self.announced: Announcement | None = None
        self.bus: CanBus | None = None
        self.on_event: Callable[[], None] = lambda: None
        self.on_loss: Callable[[], None] = lambda: None
        self._can, self._options = can, options
        self._patience = PATIENCE * timeout
        self._clock = clock
        self._failure: LinkDown | None = None
        self._dcp = False  # it answers the older protocol
        self._edcp = False  # it has answered EDCP in this connection
        self._registered = 0.0
        self._last_received = 0.0
        self._waiting: deque[tuple[Question, Batch]] = deque()
        self._flying: dict[Question, Batch] = {}
        self._window = WINDOW
        self._recovered = 0
        self._late: dict[int, float] = {}  # DATA_IDs of which an answer may be on its way, and the monotonic time

    def __str__(self) -> str:
        return f"module {self.address} on {self.bus or f'CAN adapter {self._can}'}"

    @property
    def connected(self) -> bool:
        """Whether questions can be asked."""
        return self.bus is not None and self._failure is None

    async def connect(self) -> None:
        """Join the bus and register the module; nothing confirms that. Raises LinkDown."""
        await self.close()
        self._failure, self.announced, self._window = None, None, WINDOW
        self._dcp = self._edcp = False
        try:
            self.bus = await join(self._can, self._options, self, self._clock)
            self._register()
        except LinkDown as error:
            self._count(str(error))
            raise

    async def close(self) -> None:
        """Leave the bus. The module stays registered for a minute, its outputs stay as they are."""
        self._abandon(LinkDown(f"{self}: closed"))
        bus, self.bus = self.bus, None
        if bus is not None:
            await bus.leave(self)

    def _register(self) -> None:
        self._registered = self._clock.monotonic()
        self.send(registration(self.address, True, base=self.base))

    def send(self, frame: Frame, changes: bool = False) -> None:
        """Send a frame, within the time after which a try is given up, or never.

        Leave is asked for before what ``changes`` the module. Raises LinkDown or Withdrawn.
        """
        if self.bus is None or self._failure is not None:
            raise self._failure or LinkDown(f"{self}: not connected, nothing was sent")
        if changes:
            permit.changing()
        self.bus.send(frame, self._patience, unique=bool(frame.id & 1))  # requests are sent by hosts only

    def _try_to_send(self, *frames: Frame) -> bool:
        """Send frames; return whether the bus is there, and take the module for lost when it is not."""
        try:
            for frame in frames:
                self.send(frame)
        except LinkDown as error:
            self.bus_lost(error)
            return False
        return True

    # Asking

    async def ask(self, questions: Sequence[Question]) -> None:
        """Send these and wait until each is answered or given up; what came is then in the questions.

        Raises ReplyTimeout when one was given up and nothing at all has come from the module meanwhile, and LinkDown.
        """
        if not questions:
            return
        if self.bus is None or self._failure is not None:
            raise self._failure or LinkDown(f"{self}: not connected")
        batch = Batch(questions, asyncio.get_running_loop().create_future())
        self._waiting.extend((question, batch) for question in questions)
        try:
            self._pump()
            await batch.over
        finally:
            self._forget(batch)

    async def get_in_step(self, items: Collection[int]) -> None:
        """Make sure that no answer to an older request for one of these DATA_IDs can be taken for that to a new one.

        Boards answer in order, so another item is asked for: once that is answered, nothing older comes any more. When
        answers to all that can be asked for are late, nothing is proven: off must not wait for that. Raises as ``ask``.
        """
        now = self._clock.monotonic()
        self._late = {item: since for item, since in self._late.items() if now - since < LATEST}
        for item in (BY_NAME[name] for name in PROOFS):
            if self._late.keys().isdisjoint(items):
                return
            if item.id not in self._late:
                before, question = self._late.copy(), one(self, item)
                await self.ask([question])
                if question.answers:
                    self._late = {id_: since for id_, since in self._late.items() if before.get(id_) != since}

    def _pump(self) -> None:
        while self._waiting and self._has_room():
            question, batch = self._waiting.popleft()
            self._flying[question] = batch
            self._owe(len(question.wanted))
            question.begun = self._clock.monotonic()
            self._try(question)

    def _has_room(self) -> bool:
        if not self._flying:
            return True
        owed = sum(len(question.missing) for question in self._flying)
        coming = len(self._waiting[0][0].wanted)
        return len(self._flying) < self._window and owed + coming <= WINDOW_ANSWERS

    def _owe(self, answers: int) -> None:
        if self.bus is not None:
            self.bus.outstanding = max(0, self.bus.outstanding + answers)

    def _try(self, question: Question) -> None:
        question.tries += 1
        question.sent, question.overtaken = self._clock.monotonic(), False
        if self._try_to_send(question.frame):
            self._wait(question, self._due(question))

    def _due(self, question: Question) -> float:
        """When a try is over: some time after the module's last frame, but not for ever.

        Boards answer in order, so that what comes late after a later question has been answered is lost, most likely.
        """
        if question.overtaken:
            return max(question.sent, question.received) + OVERTAKEN
        owed = self.bus.outstanding if self.bus is not None else 0
        patience = self._patience + owed * ANSWER_SECONDS
        return min(max(question.sent, self._last_received) + patience, question.sent + 3 * patience)

    def _wait(self, question: Question, due: float) -> None:
        delay = max(0.001, due - self._clock.monotonic())
        question.timer = asyncio.get_running_loop().call_later(delay, self._check, question)

    def _check(self, question: Question) -> None:
        if question not in self._flying:
            return
        due = self._due(question)
        if due > self._clock.monotonic():
            self._wait(question, due)
            return
        self._late[question.data_id] = self._clock.monotonic()
        if not question.probe:
            self._window, self._recovered = max(1, self._window // 2), 0
            self._count(f"{self}: no answer to {question.data_id:#06x} within {self._patience:g} s")
        if question.tries < TRIES and not question.answers:
            self._try(question)
            if question.tries == TRIES and self.connected:
                # What every module answers tells one that does not know this item from one that is not there,
                # or that was switched to the older protocol.
                self._try_to_send(
                    read(self.address, BY_NAME["ModuleStatus"], base=self.base),
                    general_request(self.address, base=self.base),
                )
            return
        if question.answers or self._last_received > question.begun:
            self._settle(question)  # it lives, so this item, or this frame, is the trouble
            return
        seconds = self._clock.monotonic() - question.begun
        if question.probe and seconds < self._patience / PATIENCE:
            self._wait(question, question.begun + self._patience / PATIENCE)  # silence alone proves less here
            return
        text = f"{self}: no answer for {seconds:.1f} s, asked {question.tries} times for {question.data_id:#06x}"
        if not self._edcp and (self._dcp or self.announced is not None):
            text += "; it is there but does not answer EDCP, is it switched to the older protocol (DCP)?"
        self._count(text)
        self._flying[question].fail(ReplyTimeout(text))
        if self.bus is not None:
            self.bus.discard()

    def _settle(self, question: Question) -> None:
        batch = self._remove(question)
        if batch is not None:
            batch.settle(question)
        self._pump()

    def _remove(self, question: Question) -> Batch | None:
        batch = self._flying.pop(question, None)
        if batch is None:
            return None
        if question.timer is not None:
            question.timer.cancel()
        self._owe(-len(question.wanted) + len(question.answers.keys() & question.wanted))
        return batch

    def _forget(self, batch: Batch) -> None:
        """Drop what is left of a batch whose caller has gone, and go on with the others."""
        if batch.open:
            self._waiting = deque(entry for entry in self._waiting if entry[1] is not batch)
            for question in batch.open:
                self._remove(question)
        if batch.over.done() and not batch.over.cancelled():
            batch.over.exception()  # the caller has it
        if self.connected:
            self._pump()

    # Receiving

    @property
    def identifiers(self) -> frozenset[int]:
        """Those of the module, with the priority bit and, in the message configuration 2, without it."""
        return frozenset(base | self.address << 3 | read for base in (0, BASE) for read in (0, 1))

    def received(self, frame: Frame, stamp: float) -> None:
        """Take a frame of the module; ``stamp`` is the Unix time at which it arrived."""
        message = decode(frame)
        match message:
            case Data():
                self._answered(message, stamp)
            case Announcement():
                self._announces(message)
            case Registration(on=False):
                self._logged_off()
            case General() if message.active:
                self._last_received = self._clock.monotonic()
                log.info("%s: reports an event (%s)", self, message.detail.name or "no detail")
                self.on_event()
            case General():
                self._dcp = True
            case Unexplained(reason, key):
                self._count(f"{self}: {reason}")
                if key is not None:
                    self._nonsense(key.data_id, key.index)

    def _answered(self, data: Data, stamp: float) -> None:
        now = self._last_received = self._clock.monotonic()
        self._edcp = True
        index = data.index
        for question in self._flying:
            if question.data_id != data.data_id:
                continue
            if question.complete is None and (index not in question.wanted or index in question.answers):
                continue
            question.answers[index] = Answer(data.value, stamp, now)
            question.received = now
            question.bad.discard(index)
            self._owe(-1 if index in question.wanted else 0)
            if question.done:
                self._finished(question, now)
            elif question.complete is None and index == max(n or 0 for n in question.wanted):
                self._overtake(question)
            return

    def _overtake(self, question: Question) -> None:
        # An item that has never been answered gets all the time, or it would be given up for ever on a guess.
        if not (question.overtaken or question.probe) and question.timer is not None:
            question.overtaken = True
            question.timer.cancel()
            self._wait(question, self._clock.monotonic() + OVERTAKEN)

    def _finished(self, question: Question, now: float) -> None:
        self.stats.rtt = now - question.sent
        for other in [other for other in self._flying if other.sent < question.sent]:
            self._overtake(other)
        self._recovered += 1
        if self._recovered >= RECOVERY and self._window < WINDOW:
            self._window, self._recovered = self._window + 1, 0
        self._settle(question)

    def _nonsense(self, data_id: int, index: int | None) -> None:
        self._last_received = self._clock.monotonic()
        for question in self._flying:
            if question.data_id == data_id and index in question.wanted and index not in question.answers:
                question.bad.add(index)
                if question.done:
                    self._settle(question)
                return

    def _announces(self, message: Announcement) -> None:
        """Register a module that is not, or no longer; one that was has lost its power or was reset."""
        self.announced = message
        if message.base != self.base:
            log.info("%s: uses identifiers from %#05x on", self, message.base)
            self.base = message.base
        if self.bus is None or self._failure is not None:
            return
        if self._clock.monotonic() - self._registered < REGISTERED_GRACE:
            # Perhaps the registration was lost. The time runs on: a module that goes on for ever is a lost one.
            self._try_to_send(registration(self.address, True, base=self.base))
            return
        self.bus_lost(LinkDown(f"{self}: announces itself: it lost its power, was reset or unplugged"))

    def _logged_off(self) -> None:
        """Register again at once: another program has released the module, which loses nothing by it."""
        if self.connected:
            self._count(f"{self}: another program on the bus has logged it off, registered again")
            log.warning("%s", self.stats.last_error)
            if self._try_to_send(registration(self.address, True, base=self.base)):
                self._registered = self._clock.monotonic()  # an announcement may be on its way

    def bus_lost(self, error: LinkDown) -> None:
        """Take the module, or the whole adapter, for lost."""
        if self._failure is not None:
            return
        self._count(str(error))
        self._abandon(error)
        self.on_loss()

    def _abandon(self, error: LinkDown) -> None:
        self._failure = error
        for batch in [*self._flying.values(), *(batch for _, batch in self._waiting)]:
            batch.fail(error)
        self._waiting.clear()
        for question in list(self._flying):
            self._remove(question)  # or the bus, which other modules still use, would be owed answers for ever

    def _count(self, text: str) -> None:
        self.stats.errors += 1
        self.stats.last_error = text
