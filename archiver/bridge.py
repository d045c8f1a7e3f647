"""The bridge as a whole: monitor events become points, points go through the durable log, the log to each server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from archiver.config import ArchiverConfig, PvSpec
from archiver.history.samples import combined
from archiver.history.web import ArchivePages, ArchiveServer
from archiver.influx.deadletter import DeadLetters
from archiver.influx.writers import Delivery, State, Writer
from archiver.kafka.writer import KafkaWriter
from archiver.log.reader import Reader
from archiver.log.segments import SegmentLog
from archiver.points.builder import PointBuilder
from archiver.points.catalogue import catalogue, load
from archiver.points.occurrences import MAJOR, occurrence
from archiver.points.series import channel_name, field_types
from archiver.status import BridgeState, ServerStatus, Snapshot, missing, prometheus, status_pages
from labioc_ca.client import Subscriber

log = logging.getLogger("labioc.archiver")

FINISH_SECONDS = 2.5
"""How long the writers may go on sending when the bridge ends; what is left waits in the log."""

_STATUS_SECONDS = 1.0
_SPOOLING_LAG = 10.0
_SEARCH_SECONDS = 30.0
"""How long after its start the bridge may be without any PV before that is shown."""
_LOSING_SECONDS = 60.0
"""ARCH:STATE stays LOSING for so long after the last loss, so that operators see it."""

_LONGEST_MESSAGE = 1000
_PACE_SECONDS = 10.0
_SHORTEST_PACE = 3.0
_TOO_LARGE = "array larger than EPICS_CA_MAX_ARRAY_BYTES"
_PROGRESS_SECONDS = 10.0


class Pace:
    """How fast a server takes points, over the last ten seconds in which it took some."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, points: int, good: bool) -> float:
        """Return points per second; 0 while the server is in trouble and until there is enough to tell."""
        if not good:
            self._seen.clear()
            return 0.0
        self._seen.append((now, points))
        while now - self._seen[0][0] > _PACE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (points - before) / (now - since) if now - since >= _SHORTEST_PACE else 0.0


class StatusSink(Protocol):
    """What shows to others how the bridge is."""

    async def start(self) -> None:
        """Begin. Raises OSError."""

    async def stop(self) -> None:
        """End."""

    def show(self, snapshot: Snapshot) -> None:
        """Show it; called once a second."""


class Bridge:
    """One bridge; ``env`` replaces the EPICS_CA_* environment variables, ``clock`` gives Unix seconds.

    ``sink`` gets the state of the bridge once a second.

    Raises ConfigError, LogInUse, ValueError for settings of Channel Access that are wrong, and OSError.
    """

    def __init__(
        self,
        config: ArchiverConfig,
        pvs: Iterable[PvSpec],
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        sink: StatusSink | None = None,
    ) -> None:
        self.config = config
        pvs = list(pvs)
        self._clock = clock
        self._started = clock()
        self.log = SegmentLog(config.directory, max_bytes=config.max_bytes, max_age=config.max_age)
        self._archived_until = max((segment.newest_ns for segment in self.log.segments[:-1]), default=0)
        self._catalogue = catalogue(pvs, config.schema)
        self._catalogue_saved = self._catalogue_reported = False
        try:
            self.builder = PointBuilder(pvs, config.schema, append=self.log.append)
            self.subscriber = Subscriber((channel_name(pv) for pv in pvs), self.builder.take, _environment(config, env))
            self._save_catalogue()
            self.readers = [Reader(self.log, server.name) for server in config.servers]
        except BaseException:
            self.log.close()
            raise
        fields = field_types(pvs, config.schema)
        self.writers: list[Delivery] = []
        for server, reader in zip(config.servers, self.readers, strict=True):
            letters = DeadLetters(config.directory, server.name)
            if server.version == "kafka":
                self.writers.append(KafkaWriter(server, reader, letters, clock=clock))
            else:
                self.writers.append(Writer(server, reader, letters, clock=clock, fields=fields))
        self.page = status_pages(config.directory, self._full_status, lambda: prometheus(self.snapshot))
        self._sink = sink
        self.archive: ArchiveServer | None = None
        self._count = len(pvs)
        self._seen = (time.monotonic(), 0, 0)
        self._paces = {server.name: Pace() for server in config.servers}
        self._last_loss = self._last_refusal = float("-inf")
        self._refused_points = 0
        self._progress_logged = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self.snapshot = self._look()

    async def start(self) -> None:
        """Subscribe and write. Raises OSError when a port cannot be had."""
        self._tasks.append(asyncio.create_task(self.log.run(), name="durable log"))
        await asyncio.sleep(0)  # the log learns its loop
        for reader in self.readers:
            if not reader.counted:
                self._tasks.append(asyncio.create_task(asyncio.to_thread(reader.count), name="count what waits"))
        self.log.append(*self.builder.bridge(True))
        self.log.append(*self.builder.gap(self._archived_until))
        for writer in self.writers:
            writer.start()
        await self.page.start(*self.config.status)
        self._serve_archive()
        if self._sink is not None:
            await self._sink.start()
        await self.subscriber.start()
        due = self.builder.run(self.subscriber.last_received)
        self._tasks.append(asyncio.create_task(due, name="points that are due"))
        self._tasks.append(asyncio.create_task(self._watch(), name="bridge status"))
        where = ", ".join(server.url for server in self.config.servers) or "the log alone"
        log.info("archiving %d PVs to %s, log in %s", self._count, where, self.config.directory)

    async def stop(self) -> None:
        """Take no more events, put what there is on the disk and, as far as time allows, to the servers; within 5 s."""
        await self.subscriber.stop()
        self.log.append(*self.builder.finish())
        self.log.append(*self.builder.bridge(False))
        self.log.flush()
        for writer in self.writers:
            writer.finish()
        alive = [writer for writer in self.writers if writer.alive]
        await asyncio.gather(*(asyncio.to_thread(writer.stop, FINISH_SECONDS) for writer in alive))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.snapshot = self._look()
        await self.page.stop()
        if self.archive is not None:
            await asyncio.to_thread(self.archive.stop)
        if self._sink is not None:
            await self._sink.stop()
        for reader in self.readers:
            reader.close()
        self.log.close()
        log.info("%d points in the log, %d wait for a server", self.snapshot.points, self.snapshot.queue)

    def _serve_archive(self) -> None:
        """Serve the archive over HTTP; that its port is taken is no reason not to archive."""
        if self.config.archive_http is None:
            return
        known = self._catalogue
        with contextlib.suppress(FileNotFoundError, ValueError):  # PVs of earlier runs are known, too
            known = load(self.config.directory)
        server = next((one for one in self.config.servers if one.version in (1, 2, 3)), None)
        history = partial(combined, self.config.directory, server, known)
        try:
            pages = ArchivePages(known, history, self.config.prefix, time.time_ns)
            self.archive = ArchiveServer(pages, *self.config.archive_http)
        except OSError as error:
            log.error("the archive is not served over HTTP at %s:%d: %s", *self.config.archive_http, error)
            return
        self.archive.start()
        log.info("archive for json:http://%s:%d", *self.archive.address)

    async def _watch(self) -> None:
        """Show how the bridge is, once a second."""
        while True:
            await asyncio.sleep(_STATUS_SECONDS)
            try:
                self.snapshot = self._look()
                self._log_progress()
                if self._sink is not None:
                    self._sink.show(self.snapshot)
                self._save_catalogue()
                self.page.announce()
            except Exception:
                log.critical("the status of the bridge failed, the bridge goes on", exc_info=True)

    def _save_catalogue(self) -> None:
        """Leave beside the log what its PVs are; on a full disk, which is no reason not to archive, later."""
        if self._catalogue_saved:
            return
        try:
            self._catalogue.save(self.config.directory)
            self._catalogue_saved = True
        except OSError as error:
            if not self._catalogue_reported:
                self._catalogue_reported = True
                log.error("%s: what its PVs are could not be written yet (%s)", self.config.directory, error)

    def _look(self) -> Snapshot:
        now, monotonic = self._clock(), time.monotonic()
        before, events, losses = self._seen
        passed = monotonic - before
        servers = tuple(
            self._server(writer, reader, now, monotonic)
            for writer, reader in zip(self.writers, self.readers, strict=True)
        )
        refused = self._refused()
        refused_points = sum(server.refused for server in servers) + sum(missing(refused).values())
        if refused_points > self._refused_points:
            self._refused_points, self._last_refusal = refused_points, monotonic
        refusing = monotonic - self._last_refusal < _LOSING_SECONDS
        lost = self.log.lost + sum(server.lost for server in servers)
        self._last_loss = max(self._last_loss, self.builder.failed_ns / 1e9)
        if lost > losses:
            if monotonic - self._last_loss >= _LOSING_SECONDS:
                text = f"{lost - losses} points so far: {self.log.error or 'the log is as large as it may be'}"
                line = occurrence("archiver", "points are being lost", text, MAJOR, round(now * 1e9))
                self.log.append(line.encode(), 1)
            self._last_loss = monotonic
        self._seen = (monotonic, self.subscriber.events, lost)
        lag = max((server.lag for server in servers), default=0.0)
        return Snapshot(
            state=self._state(servers, lag, monotonic),
            time=now,
            started=self._started,
            pvs=self._count,
            connected=self.subscriber.connected,
            events=self.subscriber.events,
            points=self.log.written,
            rate=(self.subscriber.events - events) / passed if passed > 0 else 0.0,
            queue=max((server.queued for server in servers), default=0),
            spool=self.log.size,
            lost=lost,
            lag=lag,
            log_error=self.log.error,
            expired=self.log.expired,
            refused=refused,
            servers=servers,
            refusing=refusing or any(server.conflicts for server in servers),
            cut_off=self._cut_off(now),
            message=self._message(servers, lost, missing(refused) if refusing else {}, now, monotonic),
        )

    def _cut_off(self, now: float) -> bool:
        """Whether nothing is archived, since no PV is connected although the search had time."""
        return self._count > 0 and not self.subscriber.connected and now - self._started > _SEARCH_SECONDS

    def _message(
        self, servers: tuple[ServerStatus, ...], lost: int, refused: Mapping[str, int], now: float, monotonic: float
    ) -> str:
        """Say what is wrong, the worst first; nothing when nothing is."""
        parts = []
        if self.log.error:
            parts.append(f"the log cannot be written: {self.log.error}")
        if monotonic - self._last_loss < _LOSING_SECONDS:
            parts.append(f"{lost} points lost since the start")
        if self._cut_off(now):
            parts.append(f"none of {self._count} PVs is connected")
        for server in servers:
            if server.reason:
                parts.append(f"{server.name} {server.state}: {server.reason}")
            if server.conflicts:
                more = f" and {len(server.conflicts) - 1} more" if len(server.conflicts) > 1 else ""
                parts.append(f"{server.name}: {server.conflicts[0]}{more}")
            elif server.refused and server.refusal:
                parts.append(f"{server.name} refused {server.refused} points, the last: {server.refusal}")
        parts += [f"{count} events refused: {reason}" for reason, count in refused.items()]
        return "; ".join(parts)[:_LONGEST_MESSAGE]

    def _refused(self) -> dict[str, int]:
        refused = {reason.value: count for reason, count in self.builder.refused.items()}
        return {**refused, _TOO_LARGE: self.subscriber.left_out} if self.subscriber.left_out else refused

    def _state(self, servers: tuple[ServerStatus, ...], lag: float, monotonic: float) -> BridgeState:
        if self.log.error or monotonic - self._last_loss < _LOSING_SECONDS:
            return BridgeState.LOSING
        if lag > _SPOOLING_LAG or any(server.state != State.OK.value for server in servers):
            return BridgeState.SPOOLING
        return BridgeState.OK

    def _server(self, writer: Delivery, reader: Reader, now: float, monotonic: float) -> ServerStatus:
        progress, name = writer.progress, writer.server.name
        rate = self._paces[name].rate(monotonic, progress.points, progress.state is State.OK)
        return ServerStatus(
            name=name,
            url=writer.server.url,
            state=progress.state.value,
            reason=progress.reason,
            since=progress.since,
            points=progress.points,
            refused=progress.refused,
            requests=progress.requests,
            failures=progress.failures,
            queued=reader.queued,
            lost=reader.lost + progress.lost,
            lag=max(now - progress.oldest_ns / 1e9, 0.0) if progress.oldest_ns else 0.0,
            rate=rate,
            conflicts=progress.conflicts,
            refusal=progress.refusal,
        )

    def _log_progress(self) -> None:
        """Say while the log drains how far it is."""
        if time.monotonic() - self._progress_logged < _PROGRESS_SECONDS:
            return
        for server in self.snapshot.servers:
            if server.state == State.OK.value and server.lag > _SPOOLING_LAG and server.rate > 0:
                self._progress_logged = time.monotonic()
                left = server.queued / server.rate
                log.info(
                    "%s: %d points wait, %.0f/s, about %.0f s to go", server.name, server.queued, server.rate, left
                )

    def _full_status(self) -> dict[str, Any]:
        return self.snapshot.as_json(self.builder.states())


def _environment(config: ArchiverConfig, env: Mapping[str, str] | None) -> dict[str, str]:
    """Add the addresses of the site file to those of the environment."""
    values = dict(os.environ if env is None else env)
    if config.addresses:
        values["EPICS_CA_ADDR_LIST"] = " ".join((values.get("EPICS_CA_ADDR_LIST", ""), *config.addresses)).strip()
    return values
