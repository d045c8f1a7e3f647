"""Puts for a log server of the EPICS world, as the module caPutLog of a C IOC sends them.

Lines over TCP, in one of its two forms (caPutLog 4.1, ``docs/index.rst``; caPutLogTask.c, caPutJsonLogTask.cpp)::

    27-Nov-26 17:56:15 desk1 anna LAB:A new=500 old=100
    {"date":"2026-11-27","time":"17:56:15.428","host":"desk1","user":"anna","pv":"LAB:A","new":500.0,"old":100.0}

Every put that was begun is sent, without the filters of caPutLog; one that was refused is not, as there. Puts never
wait for the server. While it is not there, lines wait in memory; what had not reached its computer is sent once more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import termios
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from fcntl import ioctl
from struct import unpack
from typing import Final

from ioc.clock import Clock
from ioc.services.journal import LONGEST, Entry, Typed
from ioc.services.remote import Remote
from ioc.site.config import PutLogSettings
from labioc_pages.metrics import Metric, single

log = logging.getLogger("labioc.putlog")

MOST_WAITING: Final = 1000
"""Lines that wait for the server, as many as in caPutLog; the oldest are dropped beyond, and counted."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two attempts to connect, doubled after each."""

PATIENCE: Final = 10.0
"""Seconds that a connection may take to come about, and a server to take what is sent."""

CHECK: Final = 5.0
"""Seconds between two looks whether the connection is still there, when there is nothing to send."""

_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_CLOSED: Final = 7  # TCP_CLOSE of linux/tcp.h, first byte of TCP_INFO

_LOOK: Final = 0.1
"""Seconds between two looks whether everything has arrived."""

_ESCAPES: Final = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
                   "\\": "\\\\", "'": "\\'", '"': '\\"', "\0": "\\0"}  # fmt: skip


def as_line(entry: Entry) -> str:
    """Return a put in the original form of caPutLog; the time is local."""
    old, new = entry.typed
    stamp = datetime.fromtimestamp(entry.time).strftime("%d-%b-%y %H:%M:%S")
    return f"{stamp} {entry.host} {entry.user} {entry.pv} new={_plain(new)} old={_plain(old)}\n"


def as_json(entry: Entry) -> str:
    """Return a put in the JSON form of caPutLog; the time is local."""
    old, new = entry.typed
    stamp = datetime.fromtimestamp(entry.time)
    texts = {
        "date": stamp.strftime("%Y-%m-%d"),
        "time": stamp.isoformat(timespec="milliseconds").partition("T")[2],
        "host": entry.host,
        "user": entry.user,
        "pv": entry.pv,
    }
    head = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    return f'{head[:-1]},"new":{_in_json(new)},"old":{_in_json(old)}}}\n'


def _plain(value: Typed) -> str:
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value[:LONGEST]))}"'
    return f"{value:g}" if isinstance(value, float) else str(int(value))


def _escaped(letter: str) -> str:
    """Write a letter as ``epicsStrnEscapedFromRaw`` of libCom does."""
    if letter.isascii() and letter.isprintable() and letter not in _ESCAPES:
        return letter
    return _ESCAPES.get(letter) or "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def _in_json(value: Typed) -> str:
    if isinstance(value, str):
        return json.dumps(value[:LONGEST], ensure_ascii=False)
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        return '"Nan"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    text = f"{value:.17g}"
    return f"{text}.0" if text.lstrip("-").isdecimal() else text


class PutLog(Remote):
    """Sends puts to one server."""

    def __init__(self, settings: PutLogSettings, clock: Clock) -> None:
        self.connected = False
        self.sent = 0
        self.dropped = 0
        self._settings = settings
        self._clock = clock
        self._form = as_json if settings.form == "json" else as_line
        self._waiting: deque[str] = deque()
        self._on_the_way: list[str] = []
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._reason = "no attempt yet"

    def add(self, entry: Entry) -> None:
        """Have a put sent."""
        self._waiting.append(self._form(entry))
        self._bound()
        self._empty.clear()
        self._wake.set()

    async def close(self) -> None:
        """Send what waits, if the server is there, and end; cancelling ends it at once."""
        try:
            if self.connected and (self._waiting or self._on_the_way):
                await self._empty.wait()
        finally:
            await super().close()

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, in words."""
        if not self.connected:
            yield f"the log server of puts, {self._server}, is not connected: {self._reason}"

    def metrics(self) -> Iterator[Metric]:
        """Yield the numbers for Prometheus."""
        yield single("putlog_connected", "gauge", "1 when the log server of puts is connected", int(self.connected))
        yield single("putlog_sent_total", "counter", "Puts sent to the log server", self.sent)
        yield single("putlog_dropped_total", "counter", "Puts that it did not get", self.dropped)

    @property
    def _server(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    _, writer = await asyncio.open_connection(self._settings.host, self._settings.port)
            except (OSError, TimeoutError) as error:
                self._lost(error)
            else:
                pause = FIRST_PAUSE
                try:
                    await self._serve(writer)
                except (OSError, TimeoutError) as error:
                    self._lost(error)
                finally:
                    writer.transport.abort()
                    self._send_again()
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _serve(self, writer: asyncio.StreamWriter) -> None:
        """Send until the server goes away. Raises OSError or TimeoutError then.

        That the server sends no more says nothing: the one of EPICS base ends its own side of a connection at once.
        """
        self.connected = True
        log.info("puts are sent to %s", self._server)
        writer.transport.set_write_buffer_limits(high=0)  # so that drain waits until the system has it all
        sock = writer.get_extra_info("socket")
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), CHECK)
            self._wake.clear()
            self._on_the_way = list(self._waiting)
            self._waiting.clear()
            async with asyncio.timeout(PATIENCE):
                writer.write("".join(self._on_the_way).encode(errors="backslashreplace"))
                await writer.drain()
                while _unacknowledged(sock):  # noqa: ASYNC110  nothing tells when it is over
                    await asyncio.sleep(_LOOK)
            self.sent += len(self._on_the_way)
            self._on_the_way = []
            if not self._waiting:
                self._empty.set()

    def _lost(self, error: Exception) -> None:
        reason = str(error) or f"no answer in {PATIENCE:g} s"
        if self.connected or reason != self._reason:
            log.warning("the log server of puts, %s, is not connected: %s; puts go on, their lines wait", self._server,
                        reason)  # fmt: skip
        self.connected, self._reason = False, reason

    def _send_again(self) -> None:
        self._waiting.extendleft(reversed(self._on_the_way))
        self._on_the_way = []
        self._bound()
        if self._waiting:
            self._wake.set()

    def _bound(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1


def _unacknowledged(sock: socket.socket) -> int:
    """Return the bytes that the other computer has not acknowledged yet.

    Raises ConnectionResetError when there is no connection any more; what was on its way is then uncertain.
    """
    if sock.fileno() < 0 or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSED:
        raise ConnectionResetError("it has ended the connection")
    return int(unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
