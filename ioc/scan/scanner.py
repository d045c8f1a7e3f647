"""The scan engine: one task per device keeps it connected, reads it at the rates of its records, and posts.

A device that is lost makes its records INVALID and is tried again until it comes back; nothing that a
driver does disturbs another device or ends the server. The engine only reads; what a user writes goes
through ``write``.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from devices.errors import DeviceError, Garbled, LinkDown, ReplyTimeout
from devices.model import Announcing, Cause, Driver, Latching, Portioned, RawRequest, Reading, Value
from devices.permit import NOTHING
from ioc.clock import Clock
from ioc.database.support import STATUS_SIGNALS, is_of_server
from ioc.records import Record, Source
from ioc.scan.device_records import ALARM_STATUS, DeviceRecords, DeviceStatus, is_command
from ioc.scan.schedule import FIRST_PAUSE, LONGEST_PAUSE, SHORTEST_PAUSE, Backlog, Schedule, Sleeper, Turns

log = logging.getLogger("labioc.scan")

BETWEEN_LOOKS = 8
"""Readings that are posted between two looks at the clock, a tenth of a millisecond."""

_ANSWERS = (LinkDown, ReplyTimeout, Garbled)


class DeviceScanner(Source):
    """One device: its driver, its records, and the task that `run` is.

    All devices of a server share their ``turns``; ``phase``, from 0 to 1, is where in the period its scans begin.
    """

    def __init__(
        self, driver: Driver, records: Iterable[Record], clock: Clock, turns: Turns | None = None, phase: float = 0.0
    ) -> None:
        mine = [record for record in records if record.signal]
        self.name = driver.settings.name
        self.status = DeviceStatus(driver, [record for record in mine if record.signal in STATUS_SIGNALS], clock)
        self.driver = driver
        """For what it knows without talking to the device; talking is for this engine alone."""
        self._clock = clock
        self._turns = turns or Turns(clock)
        self._phase = phase
        own = (record for record in mine if not is_of_server(record.signal or ""))
        self._records = DeviceRecords(driver, own, self.status.note_change)
        self.shown = self._records.shown
        """What makes of a reading the one that the records of its signal show, by signal; empty at first."""
        self._schedule = Schedule(phase, driver.settings.period)
        self._backlog = Backlog(driver)
        self._asked: dict[str, None] = {}
        self._written: dict[str, float] = {}
        self._seen = False
        self._all_read = False
        self._invalid_by: Cause | None = None
        self._fault: DeviceError | None = None
        self._writing = 0
        self._sleeper = Sleeper(clock)
        self._resting = asyncio.Event()
        self._logged: set[object] = set()
        self.last_turn = clock.monotonic()
        """When the loop of this device last had a turn, in monotonic time; it has one each second."""
        self.last_progress = self.last_turn
        """When the scan last got on, in monotonic time."""
        self._exchanges: tuple[float, ...] = ()
        self.on_loss: Callable[[], None] = lambda: None
        """Called each time when the device has been lost, or disabled."""
        self.on_posted: list[Callable[[], None]] = []
        """Each called when readings of the device have been posted, or when its records have become INVALID."""
        for record in mine:
            record.source = self
        if isinstance(driver, Announcing):
            driver.notify(self._look_at)

    @property
    def ready(self) -> bool:
        """True when the device has been read since the link came up and may be written."""
        return self.status.connected and not self.status.disabled and self._fault is None

    @property
    def all_read(self) -> bool:
        """True when everything has been read since the link came up, constants included."""
        return self.ready and self._all_read

    async def run(self) -> None:
        """Scan until cancelled; then close the link. Nothing that the scan has a driver do can change the device."""
        NOTHING.use()
        for record in self._records:
            self.rescan(record)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._report(), name=f"{self.name} status")
                group.create_task(self._stay_connected(), name=f"{self.name} scan")
        finally:
            await self._close()

    async def write(self, signal: str, value: Value) -> Mapping[str, Reading]:
        """Have the driver apply a setting or command, and post everything learnt on the way.

        Raises DeviceError, and nothing else, when it was refused or its outcome is unknown.
        """
        self._writing += 1
        try:
            readings = await self.driver.write(signal, value)
            self.status.answered()
            self._invalid_by = None
            self._show(readings)
            return readings
        except DeviceError as error:
            if self.status.connected:  # what a lost device had makes nothing valid
                self._show(error.readings)
            if isinstance(error, LinkDown | ReplyTimeout):
                self._fault = error
            raise
        except Exception as error:
            self._fault = LinkDown(self._unexpected(error))
            raise self._fault from error
        finally:
            self._writing -= 1
            if self._fault is not None or not self.status.connected:
                self._sleeper.wake()  # the link is to be closed, as soon as nothing is written any more

    async def raw(self, request: RawRequest) -> Sequence[str]:
        """Perform an access past the PVs; after a write everything is read anew. Raises DeviceError only.

        That nothing answers says little about the link: many devices are silent when asked for what they do not have.
        """
        self._writing += 1
        try:
            return await request.perform()
        except DeviceError:
            raise
        except Exception as error:
            raise LinkDown(self._unexpected(error)) from error
        finally:
            self._writing -= 1
            if request.value is not None and self.status.connected:
                self._backlog.add(self._records.readable)
            self._sleeper.wake()

    async def disable(self, off: bool) -> None:
        """Stop talking to the device, or start again; returns when no byte of a write can leave any more."""
        self.status.disable(off)
        if off:
            self.on_loss()
        self._sleeper.wake()
        self.status.post("DISABLE")
        if off:
            await self._resting.wait()

    def _show(self, readings: Mapping[str, Reading]) -> None:
        """Post what a write has learnt, whether it succeeded or not."""
        if not readings:
            return
        for name, reading in readings.items():
            self._written[name] = reading.time
            if not is_command(name):
                self._records.post(name, reading)
        self._records.refresh(self._clock.monotonic(), anew=not self.status.connected)
        self._posted()

    # ---- the task

    async def _report(self) -> None:
        pause = 1.0 - self._phase / 2  # so that not all devices go on at one moment
        while True:
            async with self._turns:
                try:
                    self.status.report()
                except Exception as error:
                    self._unexpected(error)
            self.last_turn = self._clock.monotonic()
            self._note_progress()
            await self._clock.sleep(pause)
            pause = 1.0

    def _note_progress(self) -> None:
        """Note whether the scan got on: it waits for its next turn, or something was answered.

        An exchange that fails is progress, too: a device that is lost keeps no other from going on.
        """
        stats = self.driver.stats
        seen = self._sleeper.sleeps, stats.rtt, stats.errors, stats.reconnects
        if self._sleeper.sleeping or seen != self._exchanges:
            self._exchanges, self.last_progress = seen, self._clock.monotonic()

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if self.status.disabled:
                await self._rest()
                pause = FIRST_PAUSE
            begun = self._clock.monotonic()
            try:
                await self._session()
            except Exception as error:
                if self.status.connected:
                    pause, begun = FIRST_PAUSE, self._clock.monotonic()
                    if isinstance(error, ReplyTimeout):
                        begun -= FIRST_PAUSE  # an attempt that waited for an answer has been a pause already
                await self._lose(error)
                await self._back_off(max(self._clock.monotonic() + SHORTEST_PAUSE, begun + pause))
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _session(self) -> None:
        """Connect, read the fast signals, then scan; return when the device is disabled, raise when it is lost.

        After a reconnection, or whenever the driver can divide its batches, what is not fast is read behind: the values
        that an operator watches wait for no other.
        """
        self._fault = None
        self._all_read = False
        await self.driver.connect()
        started = self._clock.monotonic()
        fast = self._schedule.fast() if self._seen or isinstance(self.driver, Portioned) else []
        fast = fast or list(self._records.readable)
        await self._poll(fast)
        self._found(self._clock.monotonic() - started, len(fast))
        self._schedule.start(started)
        self._backlog.clear()
        first = set(fast)
        self._backlog.add(name for name in self._records.readable if name not in first)
        self._all_read = not self._backlog
        while not self.status.disabled:
            if self._fault is not None:
                raise self._fault
            await self._turns.start()
            due, others = self._schedule.take(self._clock.monotonic())
            self._backlog.add(others)
            self._backlog.recall(self._clock.monotonic())
            due = list(dict.fromkeys(due + list(self._asked)))
            self._asked.clear()
            if due:
                await self._poll(due)
                if self._schedule.is_due(self._clock.monotonic()):
                    self.status.late += 1
            if self._backlog and not self.status.disabled and self._fault is None:
                portion = self._backlog.take()
                read = await self._poll(portion)
                self._backlog.ask_again(name for name in portion if name not in read)
                if not self._backlog:  # by now the device may have reported more of itself
                    self._all_read = True
                    self._records.refresh(self._clock.monotonic(), anew=True)
            await self._idle()

    async def _idle(self) -> None:
        """Wait for the next tick, or for something that cannot wait."""
        if not (self._asked or self._backlog or self._fault or self.status.disabled):
            due = self._schedule.next_due()
            await self._sleeper.sleep(None if due is None else due - self._clock.monotonic())

    async def _back_off(self, until: float) -> None:
        """Wait until this monotonic time for the next attempt, whatever else wakes the task; disabling ends it."""
        while not self.status.disabled and (left := until - self._clock.monotonic()) > 0:
            await self._sleeper.sleep(left)

    async def _rest(self) -> None:
        """Keep silent until the device is enabled again; a put that has begun is finished first."""
        self.status.connected = False
        await self._finish_writes()
        await self._close()
        await self._invalidate(Cause.DISABLE)
        self.status.explain("disabled")
        self.status.post()
        log.info("%s: disabled, link closed", self.name)
        self._resting.set()
        while self.status.disabled:
            await self._sleeper.sleep()
        self._resting.clear()
        log.info("%s: enabled again, connecting", self.name)

    # ---- found and lost

    def _found(self, seconds: float, signals: int) -> None:
        what = "connected again" if self._seen else "connected"
        self._seen = True
        self.status.found()
        self._invalid_by = None
        log.info("%s: %s, %d of %d signals read in %.2f s", self.name, what, signals, len(self._records.readable),
                 seconds)  # fmt: skip
        self.status.post()

    async def _lose(self, error: Exception) -> None:
        """Mark everything INVALID, close the link and log it once per kind of trouble."""
        text = str(error) if isinstance(error, _ANSWERS) else self._unexpected(error)
        cause = Cause.TIMEOUT if isinstance(error, ReplyTimeout) else Cause.COMM
        if isinstance(error, Garbled):
            cause = Cause.READ
        was_connected, self.status.connected = self.status.connected, False
        self._fault = None
        if was_connected:
            self.status.reconnects += 1
            self.on_loss()
        self.status.explain(text)
        self.status.post()
        if self._invalid_by is not cause:
            log.warning("%s: %s (%s); its PVs are INVALID, trying to reconnect", self.name,
                        "lost" if was_connected else "no connection", text)  # fmt: skip
            await self._invalidate(cause)
        await self._finish_writes()
        if self._invalid_by is None:  # one of them has read something back
            await self._invalidate(cause)
        await self._close()

    async def _invalidate(self, cause: Cause) -> None:
        self._invalid_by = cause
        status = ALARM_STATUS[cause]
        kept = self.driver.latched() if isinstance(self.driver, Latching) else {}
        async with self._turns:
            for name, reading in kept.items():  # the scan that latched it may be the one that has failed
                self._records.post(name, reading)
            for record in self._records:
                if record.signal not in kept:
                    record.lose(status)
                if self._turns.over():
                    await self._turns.yield_to_loop()
        self._posted()

    async def _finish_writes(self) -> None:
        """Let writes that have begun find out what became of them, before the link is closed under them."""
        while self._writing:
            await self._sleeper.sleep()

    async def _close(self) -> None:
        try:
            await self.driver.close()
        except Exception as error:
            self._unexpected(error)

    def _unexpected(self, error: Exception) -> str:
        """Describe an error that no driver should raise; its traceback is logged the first time."""
        frames = list(traceback.walk_tb(error.__traceback__))
        place = type(error), *((frame.f_code, line) for frame, line in frames[-1:])
        text = f"internal error: {type(error).__name__}: {error}"
        if place not in self._logged:
            self._logged.add(place)
            log.error("%s: %s", self.name, text, exc_info=error)
        return text

    # ---- reading and posting

    async def _poll(self, names: Collection[str]) -> Collection[str]:
        """Read a batch and post it; return the signals that there were readings of."""
        begun = self._clock.monotonic()
        self._written.clear()
        readings = await self.driver.read(names)
        if readings:
            self.status.answered()
        post, written = self._records.post, self._written
        async with self._turns:
            for number, (name, reading) in enumerate(readings.items()):
                # what a put has read back while this batch was on its way is newer than what the batch says
                if not written or reading.time >= written.get(name, reading.time):
                    post(name, reading)
                if number % BETWEEN_LOOKS == 0 and self._turns.over():
                    await self._turns.yield_to_loop()
        self._records.refresh(self._clock.monotonic(), anew=not self.status.connected)
        if not self.status.connected:
            self._records.settle_commands(self._clock.time())
        self._posted()
        self.status.cycle(self._clock.monotonic() - begun)
        return readings.keys()

    def _posted(self) -> None:
        for listener in self.on_posted:
            try:
                listener()
            except Exception as error:
                self._unexpected(error)

    # ---- hooks of the records

    def rescan(self, record: Record) -> None:
        """Scan a record at the rate that its SCAN field now says."""
        if record.signal in self._records.readable:
            scan = "Passive" if record.is_output else record.scan
            self._schedule.place(record.name, record.signal, scan, self._clock.monotonic())
            self._sleeper.wake()

    def _look_at(self, signals: Collection[str]) -> None:
        """Read signals of which the device itself says that they have news."""
        if self.status.connected:
            self._asked |= dict.fromkeys(signal for signal in signals if signal in self._records)
            self._sleeper.wake()

    def read(self, record: Record) -> None:
        """Read a record's signal now, together with whatever else has been asked for."""
        signal = record.signal or ""
        if signal in STATUS_SIGNALS:
            self.status.post(signal)
        elif self.status.connected and signal in self._records.readable:
            self._asked[signal] = None
            self._sleeper.wake()
