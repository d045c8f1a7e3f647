"""Writers: each takes points from the durable log to one server, in a thread of its own, at its own pace.

A block is sent until the server has stored it, and only then the read position moves. What was sent twice, because an
answer was lost, is stored once: a point with the same measurement, tags and time stamp is the same point.

``Delivery`` is the part that does not depend on the kind of server; ``Writer`` is for those that take line protocol.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.api import Outcome, Verdict, authorization, connect, judge, write_request
from archiver.influx.deadletter import DeadLetters
from archiver.influx.fields import ConflictScreen, Fields, FieldsUnknown, fields_of, other_types
from archiver.influx.http import NoAnswer, NotTrusted
from archiver.log.reader import Block, Reader
from archiver.points.lineprotocol import split_lines

log = logging.getLogger("labioc.archiver")

FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
"""Seconds between attempts; doubled each time, with jitter, up to the longest."""

_END_SECONDS = 1.0
"""How long a writer that was interrupted is waited for."""

_LOG_SECONDS = 60.0

_GZIP_LEVEL = 1
"""Line protocol shrinks to a tenth even so; higher levels cost four times the time."""

_COMPARISONS = 2
"""A server that does not tell its fields at the start is asked again once it has taken points, then no more."""

_CONFLICTS_LOGGED = 20
_EQUAL_FAILURES = 4
"""After so many equal server errors to a request another one is tried, to see whether it is about the points."""

_CONTROLS = 8
"""How many points of the batch are tried for that when the server has not stored any yet."""


class State(Enum):
    """How it is with a server."""

    OK = "ok"
    RETRYING = "retrying"  # not reached, or it has no time now
    MISCONFIGURED = "misconfigured"  # it refuses everything until it is configured otherwise


@dataclass(frozen=True, slots=True)
class Progress:
    """What a writer has done; ``since`` (Unix seconds) is when the state began, ``oldest_ns`` what waits longest.

    ``oldest_ns`` is 0 when nothing waits. ``refused`` counts the points that went to the dead letters, ``lost``
    those of them that had to make room there, ``conflicts`` says which fields the database has with another type,
    ``refusal`` why the last point was refused.
    """

    state: State = State.OK
    reason: str = ""
    since: float = 0.0
    points: int = 0
    refused: int = 0
    lost: int = 0
    requests: int = 0
    failures: int = 0
    oldest_ns: int = 0
    conflicts: tuple[str, ...] = ()
    refusal: str = ""


class Stopping(Exception):
    """The writer shall end, and what is under way is not stored yet."""


class Delivery:
    """Delivers to one server until stopped; ``clock`` gives Unix seconds."""

    def __init__(
        self,
        server: ServerConfig,
        source: Reader,
        letters: DeadLetters,
        *,
        clock: Callable[[], float],
        first_delay: float,
    ) -> None:
        self.server = server
        self.progress = Progress(since=clock())
        self._source = source
        self._letters = letters
        self._clock = clock
        self._first_delay = first_delay
        self._finishing = threading.Event()
        self._stop = threading.Event()
        self._logged = 0.0
        self._block: Block | None = None
        self._thread = threading.Thread(target=self._run, name=f"writer {server.name}", daemon=True)

    def begin(self, payload: bytes) -> None:
        """Take a new batch of lines."""
        raise NotImplementedError

    def deliver(self) -> None:
        """Return when every point of the batch is stored or with the dead letters; goes on where it was interrupted.

        Raises Stopping, and OSError when a dead letter cannot be kept.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """End what waits for the server; called from another thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection; called at the end of the thread."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._thread.is_alive()

    def finish(self) -> None:
        """Send what is in the log and end, or end at once when the server gives trouble; returns immediately."""
        self._finishing.set()

    def stop(self, seconds: float) -> None:
        """Finish within so many seconds; what could not be sent is sent after the next start."""
        self.finish()
        self._thread.join(seconds)
        self._stop.set()
        self.interrupt()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():  # nothing can interrupt the search for the address of a host
            log.warning("%s: not waited for any longer, its points are sent after the next start", self.server.name)

    def _run(self) -> None:
        with contextlib.suppress(Stopping):
            while not self._stop.is_set():
                try:
                    self._next_block()
                except OSError as error:
                    self._trouble(State.RETRYING, f"the log cannot be used: {error}")
                    self._pause(LONGEST_DELAY)
                except Stopping:
                    raise
                except Exception as error:
                    log.critical("%s: writer failed, it begins again", self.server.name, exc_info=True)
                    self._trouble(State.RETRYING, f"the writer failed: {error}")
                    self._pause(LONGEST_DELAY)
        self.close()

    def _next_block(self) -> None:
        """Take one block to the server; without one, or behind one that was not full, wait for a batch to gather."""
        if self._block is None and (fresh := self._source.read(self.server.batch_bytes)) is not None:
            self._block = fresh
            self.begin(fresh.payload)
        block = self._block
        if block is None:
            self._note(oldest_ns=0)
            if self._finishing.is_set():
                raise Stopping
        else:
            self._note(oldest_ns=block.oldest_ns)
            self.deliver()
            self._letters.sync()
            self._source.commit(block.position)
            self._block = None
        if block is None or len(block.payload) < self.server.batch_bytes // 2:
            self._finishing.wait(self.server.batch_seconds)

    def _bury(self, line: bytes, reason: str) -> None:
        self._letters.add(line, reason)
        self._note(refused=self.progress.refused + 1, lost=self._letters.lost, refusal=reason)
        if self._time_to_log():
            log.warning("%s: refused a point, kept in %s: %s", self.server.name, self._letters.path.name, reason)

    def _pause(self, seconds: float) -> None:
        """Wait; a writer that shall end does so here, because the server is in trouble."""
        if self._finishing.wait(seconds):
            raise Stopping

    def _trouble(self, state: State, reason: str) -> None:
        before = self.progress
        since = before.since if before.state is state else self._clock()
        self._note(state=state, reason=reason, since=since, failures=before.failures + 1)
        if before.state is not state or self._time_to_log():
            self._logged = time.monotonic()
            log.warning("%s: %s, points wait in the log: %s", self.server.name, state.value, reason)

    def _recovered(self) -> None:
        before = self.progress
        if before.state is not State.OK:
            self._note(state=State.OK, reason="", since=self._clock())
            log.info("%s: takes points again after %.0f s", self.server.name, self._clock() - before.since)

    def _time_to_log(self) -> bool:
        """Whether a message that may come often is due."""
        now = time.monotonic()
        if now - self._logged < _LOG_SECONDS and self._logged:
            return False
        self._logged = now
        return True

    def _note(self, **changes: Any) -> None:
        """Replace the progress as a whole, so that other threads never see half of a change."""
        self.progress = replace(self.progress, **changes)


class Writer(Delivery):
    """Writes to one server over HTTP until stopped; ``clock`` gives Unix seconds.

    ``fields`` are compared with those of the database before the first points are sent.
    """

    def __init__(
        self,
        server: ServerConfig,
        source: Reader,
        letters: DeadLetters,
        *,
        clock: Callable[[], float] = time.time,
        first_delay: float = FIRST_DELAY,
        fields: Fields | None = None,
    ) -> None:
        super().__init__(server, source, letters, clock=clock, first_delay=first_delay)
        self._client = connect(server)
        self._path, self._query = write_request(server)
        self._headers = {"Content-Type": "text/plain; charset=utf-8", **authorization(server)}
        if server.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._fields = fields or {}
        self._comparisons = _COMPARISONS if self._fields else 0
        self._parts: list[bytes] = []
        self._control = b""
        self._poison = ""
        self._screen = ConflictScreen()

    def begin(self, payload: bytes) -> None:
        """Take a new batch."""
        self._parts = self._screen.begin(payload) if self._screen.active else [payload]

    def interrupt(self) -> None:
        """End an exchange that is under way."""
        self._client.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _compare_fields(self) -> None:
        """Say which fields the database has with another type; points of these will be refused."""
        self._comparisons -= 1
        try:
            found = other_types(self._client, self.server, self._fields)
        except (NoAnswer, FieldsUnknown) as error:
            if not self._comparisons:
                log.info("%s: its fields could not be compared: %s", self.server.name, error)
            return
        self._comparisons = 0
        self._screen.compared = found
        self._note_conflicts()
        for conflict in list(found.values())[:_CONFLICTS_LOGGED]:
            log.warning("%s: %s", self.server.name, conflict)
        if len(found) > _CONFLICTS_LOGGED:
            log.warning("%s: and %d more fields like that", self.server.name, len(found) - _CONFLICTS_LOGGED)

    def _note_conflicts(self) -> None:
        self._note(conflicts=tuple(self._screen.conflicts()))

    def deliver(self) -> None:
        """Return when every point of the block is stored or with the dead letters.

        What a full disk interrupts goes on where it was: no letter is written twice.
        """
        if self._comparisons:
            self._compare_fields()
        while self._parts or self._screen.refused:
            if self._screen.refused:
                self._bury(*self._screen.refused[-1])
                self._screen.refused.pop()
                continue
            part = self._parts[-1]
            verdict = self._send(part)
            if verdict.outcome is Outcome.STORED:
                self._parts.pop()
                self._control = part[part.rfind(b"\n", 0, -1) + 1 :]
                held = self._screen.stored(part) if self._screen.active else None
                if held is not None:
                    self._note_conflicts()
                    self._parts += [held] if held else []
                self._note(points=self.progress.points + part.count(b"\n"))
                continue
            # Those of one field together, because what is refused is mostly all of one: few halves have some of both.
            points = sorted(split_lines(part), key=_place)
            pieces = points if len(points) > 1 else fields_of(points[0])
            if len(pieces) == 1:
                self._bury(points[0], verdict.reason)
                self._parts.pop()
                if self._screen.learn(points[0], verdict.reason):
                    self._note_conflicts()
                    self._parts = self._screen.parts(self._parts)
                continue
            middle = len(pieces) // 2
            self._parts[-1:] = [b"\n".join(half) + b"\n" for half in (pieces[middle:], pieces[:middle])]

    def _send(self, payload: bytes) -> Verdict:
        """Send until the outcome for the points is known. Raises Stopping.

        A server error that comes again and again, while another request succeeds, is about the points.
        """
        body = self._body(payload)
        attempt = equal = 0
        repeated = ""
        single = payload.count(b"\n") == 1
        while True:
            verdict = self._ask(body)
            if verdict.outcome in (Outcome.STORED, Outcome.REFUSED):
                self._recovered()
                return verdict
            equal = equal + 1 if verdict.repeated and verdict.repeated == repeated else 1
            repeated = verdict.repeated
            known = 1 + single if repeated == self._poison else _EQUAL_FAILURES
            if repeated and equal >= known and self._other_is_stored(payload):
                if single:  # a dead letter, if it is so: once more, for the server may be well again by now
                    verdict = self._ask(body)
                if verdict.repeated == repeated:
                    self._poison = repeated
                    verdict = Verdict(Outcome.REFUSED, verdict.reason)
                if verdict.outcome in (Outcome.STORED, Outcome.REFUSED):
                    self._recovered()
                    return verdict
                equal = 0
            bad = State.MISCONFIGURED if verdict.outcome is Outcome.MISCONFIGURED else State.RETRYING
            self._trouble(bad, verdict.reason)
            delay = min(self._first_delay * 2.0**attempt, LONGEST_DELAY) * random.uniform(0.5, 1.0)
            self._pause(max(delay, verdict.retry_after or 0.0))
            attempt = min(attempt + 1, 10)

    def _other_is_stored(self, payload: bytes) -> bool:
        """Whether the server stores another request now: a point that it has stored, or else one of the batch."""
        points = split_lines(payload)
        step = max(len(points) // _CONTROLS, 1)
        candidates = [self._control] if self._control else [point + b"\n" for point in points[::step]]
        if candidates == [payload]:
            return False
        for candidate in candidates:
            if self._ask(self._body(candidate)).outcome is Outcome.STORED:
                self._control = candidate
                return True
        return False

    def _body(self, payload: bytes) -> bytes:
        return gzip.compress(payload, _GZIP_LEVEL, mtime=0) if self.server.gzip else payload

    def _ask(self, body: bytes) -> Verdict:
        self._note(requests=self.progress.requests + 1)
        try:
            return judge(self._client.request("POST", self._path, self._query, self._headers, body))
        except NotTrusted as error:
            return Verdict(Outcome.MISCONFIGURED, str(error))
        except NoAnswer as error:
            return Verdict(Outcome.BUSY, str(error))


def _place(line: bytes) -> tuple[bytes, bytes]:
    """Return the field and the series of a point, to sort by; the order of the points of a series stays."""
    series, _, fields = line.partition(b" ")
    return fields.partition(b"=")[0], series
