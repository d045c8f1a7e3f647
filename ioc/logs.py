"""The log: one line per event, as text or JSON, and what repeats itself as a number.

Of one cause there is one line in ten seconds: the first at once, those that follow within the period as the last of
them with their number. Warnings and errors that differ by a number only have one cause, other messages when they are
the same. A message that knows better says what its cause is: ``log.warning(..., extra={"cause": ...})``.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, Final, Protocol

PERIOD: Final = 10.0
"""Seconds in which a cause is logged once."""

MOST_CAUSES: Final = 200
"""Causes that are kept apart at a time; more come only of clients that send anything."""

TEXT, JSON = "text", "json"
"""Forms of a line."""

_NUMBER: Final = re.compile(r"(?<![\w:.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w|\.\d)")
"""A number that stands alone; not one in a name, an address or a version."""

_DETAIL: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[-+]?\d[\d.]*(?:e[-+]?\d+)?")
_DEVICE_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_CONTROLS: Final = {number: f"\\x{number:02x}" for number in (*range(32), 127)}
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_OWN_ATTRIBUTES: Final = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "cause", "repeated"))


class _Timer(Protocol):
    def cancel(self) -> None: ...


Later = Callable[[float, Callable[[], object]], _Timer]
"""Calls a function once after so many seconds."""


def cause_of(reason: str) -> str:
    """Return a reason without what differs between those of one cause: numbers, and quoted words."""
    return _DETAIL.sub("#", reason)


def printable(text: str) -> str:
    """Return a text on one line, in which nothing acts on a terminal."""
    return text.translate(_CONTROLS)


@dataclass(slots=True)
class _Counted:
    until: float
    more: int = 0
    last: logging.LogRecord | None = None


def _later(seconds: float, callback: Callable[[], object]) -> _Timer:
    timer = threading.Timer(seconds, callback)
    timer.daemon = True
    timer.start()
    return timer


class OncePerCause(logging.Handler):
    """Hands on to another handler what is not a repetition; ``close`` hands on what has been counted."""

    def __init__(
        self, target: logging.Handler, now: Callable[[], float] = time.monotonic, later: Later = _later
    ) -> None:
        super().__init__()
        self.target = target
        self._now = now
        self._later = later
        self._causes: dict[object, _Counted] = {}
        self._timer: _Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record, or count it."""
        cause = _cause(record)
        if cause not in self._causes and len(self._causes) >= MOST_CAUSES:
            self._forget()
            if len(self._causes) >= MOST_CAUSES:
                cause = record.name, record.levelno, "other causes"
        counted = self._causes.get(cause)
        if counted is None or counted.until <= self._now():
            if counted is not None:
                self._hand_on(counted)  # no timer has come about
            self._causes[cause] = _Counted(self._now() + PERIOD)
            self.target.handle(record)
            return
        counted.more += 1
        counted.last = record
        self._look_at(counted.until)

    def close(self) -> None:
        """Hand on what has been counted."""
        with self._held():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for counted in self._causes.values():
                self._hand_on(counted)
            self._causes.clear()
        self.target.close()
        super().close()

    def _held(self) -> threading.RLock:
        assert self.lock is not None
        return self.lock

    def _report(self) -> None:
        """Log the causes whose period is over; each begins another one."""
        with self._held():
            self._timer = None
            for counted in self._causes.values():
                if counted.until <= self._now():
                    self._hand_on(counted)
            waiting = [counted.until for counted in self._causes.values() if counted.more]
            if waiting:
                self._look_at(min(waiting))

    def _look_at(self, moment: float) -> None:
        """Have what was counted reported then; that there is no thread for it must not keep anybody from logging."""
        if self._timer is None:
            with suppress(RuntimeError):
                self._timer = self._later(max(0.0, moment - self._now()), self._report)

    def _hand_on(self, counted: _Counted) -> None:
        if counted.last is None:
            return
        record = copy.copy(counted.last)
        record.repeated = counted.more
        counted.until, counted.more, counted.last = self._now() + PERIOD, 0, None
        self.target.handle(record)

    def _forget(self) -> None:
        now = self._now()
        for cause in [one for one, counted in self._causes.items() if counted.until <= now and not counted.more]:
            del self._causes[cause]


def _cause(record: logging.LogRecord) -> object:
    known = getattr(record, "cause", None)
    if known is not None:
        return record.name, known
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:  # one message may stand for any error inside
        text += f" {record.exc_info[0].__name__}: {record.exc_info[1]}"
    return record.name, record.levelno, _NUMBER.sub("#", text) if record.levelno >= logging.WARNING else text


class TextFormatter(logging.Formatter):
    """A line for people; ``priority`` puts the number in front that journald takes for the priority of a line."""

    def __init__(self, priority: bool = False) -> None:
        super().__init__("%(levelname)s %(message)s" if priority else "%(asctime)s %(levelname)s %(message)s")
        self._priority = priority

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is that of logging
        """Return the line without a traceback; nothing that a client has put begins a line or acts on a terminal."""
        return printable(super().formatMessage(record).rstrip("\n"))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and those of a traceback."""
        text = super().format(record)
        if more := getattr(record, "repeated", 0):
            text += f" [{more} of this kind in {PERIOD:g} s, this is the last]"
        if not self._priority:
            return text
        number = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{number}>{line}" for line in text.split("\n"))


class JsonFormatter(logging.Formatter):
    """A JSON object a line: ``time`` in UTC, ``level``, ``logger``, ``message``, and what else the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": stamp, "level": record.levelname, "logger": record.name}
        line["message"] = record.getMessage()
        if (device := _device(record)) is not None:
            line["device"] = device
        line |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        if more := getattr(record, "repeated", 0):
            line["repeated"] = more
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _device(record: logging.LogRecord) -> str | None:
    """Return the device that a message is about: its name stands first, with a colon behind it."""
    if isinstance(record.msg, str) and record.msg.startswith("%s: ") and isinstance(record.args, tuple):
        name = str(record.args[0])
        return name if _DEVICE_NAME.fullmatch(name) else None
    return None


class _File(WatchedFileHandler):
    """A file that is opened anew when another program has put it aside; trouble with it ends no call that logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


def set_up_logging(form: str = TEXT, path: Path | None = None) -> None:
    """Log to standard error, or to a file; what caproto has to say without tracebacks, and only if it matters.

    Raises OSError when the file cannot be opened.
    """
    target: logging.Handler = (
        logging.StreamHandler(sys.stderr)
        if path is None
        else _File(path, encoding="utf-8", errors="backslashreplace")  # texts of clients may be in any encoding
    )
    target.setFormatter(JsonFormatter() if form == JSON else TextFormatter(path is None and _to_journald()))
    handler = OncePerCause(target)
    handler.addFilter(_brief)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("caproto").setLevel(logging.ERROR)


def _to_journald() -> bool:
    """Whether standard error is the journal of systemd (systemd.exec(5), ``JOURNAL_STREAM``)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(sys.stderr.fileno())
        return (found.st_dev, found.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


def _brief(record: logging.LogRecord) -> bool:
    """Drop tracebacks of caproto: they report clients that went away."""
    if record.name.startswith("caproto"):
        record.exc_info = record.exc_text = None
    return True
