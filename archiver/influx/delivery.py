"""Delivery: points go from the durable log to one server, in a thread of their own, at their own pace.

A block is delivered until the server has stored it, and only then the read position moves. What is sent is for the
classes that know a kind of server.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from archiver.config import ServerConfig
from archiver.influx.deadletter import DeadLetters
from archiver.log.reader import Block, Reader

log = logging.getLogger("labioc.archiver")

FIRST_DELAY = 0.5
LONGEST_DELAY = 15.0
"""Seconds between attempts; doubled each time, with jitter, up to the longest."""

_END_SECONDS = 1.0
"""How long a writer that was interrupted is waited for."""

_LOG_SECONDS = 60.0


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
    bytes_sent: int = 0
    last_stored: float = 0.0
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
