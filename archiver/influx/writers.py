"""Writers: each takes points from the durable log to one server, in a thread of its own, at its own pace.

A block is sent until the server has stored it, and only then the read position moves. What was sent twice, because an
answer was lost, is stored once: a point with the same measurement, tags and time stamp is the same point.
"""

from __future__ import annotations

import gzip
import logging
import random
import time
from collections.abc import Callable

from archiver.config import ServerConfig
from archiver.influx.api import Outcome, Verdict, authorization, connect, judge, write_request
from archiver.influx.conflicts import ConflictScreen, fields_of
from archiver.influx.deadletter import DeadLetters
from archiver.influx.delivery import FIRST_DELAY, LONGEST_DELAY, Delivery, State
from archiver.influx.fields import Fields, FieldsUnknown, other_types
from archiver.influx.http import NoAnswer, NotTrusted
from archiver.log.reader import Reader
from archiver.points.lineprotocol import split_lines

log = logging.getLogger("labioc.archiver")

_GZIP_LEVEL = 1
"""Line protocol shrinks to a tenth even so; higher levels cost four times the time."""

_COMPARISONS = 2
"""A server that does not tell its fields at the start is asked again once it has taken points, then no more."""

_CONFLICTS_LOGGED = 20
_EQUAL_FAILURES = 4
"""After so many equal server errors to a request another one is tried, to see whether it is about the points."""

_CONTROLS = 8
"""How many points of the batch are tried for that when the server has not stored any yet."""


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
        self._parts = self._screen.begin(payload)

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
                held = self._screen.stored(part)
                if held is not None:
                    self._note_conflicts()
                    self._parts += [held] if held else []
                self._note(points=self.progress.points + part.count(b"\n"), last_stored=self._clock())
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
        self._note(requests=self.progress.requests + 1, bytes_sent=self.progress.bytes_sent + len(body))
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
