"""Registers what a server has with a RecSync receiver, as RecCaster does in a C IOC, for ChannelFinder and others.

It waits for the announcement of a receiver, connects, sends records, aliases, info tags, descriptions and some
variables of the environment, and answers pings. When the connection is lost it waits for the next announcement. Times
are those of RecCaster (recsync, ``client/castApp/src/caster.c``). Whatever a receiver does, the server goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from ioc.clock import Clock
from ioc.database.dbfile import RecordDef
from ioc.services import recsync
from ioc.services.recsync import Announcement, FromServer
from ioc.services.remote import Remote
from ioc.site.config import RecSyncSettings
from labioc_pages.metrics import Metric, single

log = logging.getLogger("labioc.recsync")

TIMEOUT: Final = 20.0
"""Seconds for one step of the conversation; a ping has four times as many, because it comes every 15 s."""

HOLDOFF: Final = 10.0
"""A random part of these seconds passes before connecting: all IOCs get the same announcement."""

ERROR_PAUSE, MOST_ERRORS = 5.0, 10
"""Seconds to wait after a failure, times the number of failures in a row, up to ten of them."""

_SLICE: Final = 50
"""Records that are sent in one go; between two of them everybody else has a turn."""

_SLICE_PAUSE: Final = 0.002

_MESSAGE_PAUSE: Final = 0.01
"""Seconds between two datagrams or messages that are looked at, however many are sent."""

ENVIRONMENT: Final = (
    *("HOSTNAME", "EPICS_BASE", "TOP", "ARCH", "IOC", "EPICS_CA_ADDR_LIST", "EPICS_CA_AUTO_ADDR_LIST"),
    *("EPICS_CA_MAX_ARRAY_BYTES", "RSRV_SERVER_PORT", "PVAS_SERVER_PORT", "PWD", "EPICS_HOST_ARCH", "IOCNAME"),
    *("ENGINEER", "LOCATION"),
)
"""Variables that RecCaster sends."""


class RecCaster(Remote):
    """Registers with one receiver at a time.

    ``records`` returns what is registered, when a receiver is there; ``own`` returns values that this server knows
    better than its environment.
    """

    def __init__(
        self,
        settings: RecSyncSettings,
        records: Callable[[], Iterable[RecordDef]],
        own: Callable[[], Mapping[str, str]],
        clock: Clock,
        holdoff: Callable[[], float] = lambda: random.uniform(0, HOLDOFF),
    ) -> None:
        self.port = settings.port
        """UDP port of the announcements; when it was 0 that which the system has given, once started."""
        self.registered = 0
        """Records that the receiver has; 0 while there is none."""
        self._settings = settings
        self._records = records
        self._own = own
        self._clock = clock
        self._holdoff = holdoff
        self._errors = 0
        self._reason = "no receiver has announced itself yet"

    def problems(self) -> Iterator[str]:
        """Yield what is wrong, in words."""
        if not self.registered:
            yield f"its records are not registered by RecSync: {self._reason}"

    def metrics(self) -> Iterator[Metric]:
        """Yield the numbers for Prometheus."""
        yield single("recsync_records", "gauge", "Records that the RecSync receiver has", self.registered)

    async def _work(self) -> None:
        while True:
            try:
                await self._clock.sleep(min(self._errors, MOST_ERRORS) * ERROR_PAUSE)
                self._errors += 1
                found = await self._announced()
                await self._clock.sleep(self._holdoff())
                await self._converse(found)
                self._errors = 0
                self._lost("the receiver has ended the connection")
            except (OSError, EOFError, ValueError) as error:
                self._lost(str(error) or f"no answer in {TIMEOUT:g} s")
            except Exception:
                self._lost("internal error")
                log.exception("RecSync: internal error")

    async def _announced(self) -> Announcement:
        """Wait for a receiver. Raises OSError when the port cannot be had."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # every IOC of a computer listens there
            sock.bind(("", self.port))
            self.port = sock.getsockname()[1]
            while True:
                data, sender = await loop.sock_recvfrom(sock, 1024)
                found = recsync.announcement(data, sender[0])
                if found is not None:
                    return found
                await self._clock.sleep(_MESSAGE_PAUSE)

    async def _converse(self, found: Announcement) -> None:
        """Send everything, then answer pings until the receiver ends the connection.

        Raises OSError or EOFError when it is lost, ValueError for an answer that makes no sense.
        """
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(found.host, found.port)
        try:
            writer.write(recsync.greeting(found.key))
            message, _ = await _receive(reader, TIMEOUT)
            if message != FromServer.GREETING:
                raise ValueError(f"the receiver greets with message {message:#06x}")
            count = await self._send_all(writer)
            log.info("RecSync: %d records are registered with %s:%d", count, found.host, found.port)
            self.registered = count
            await self._answer_pings(reader, writer)
        finally:
            self.registered = 0
            writer.transport.abort()

    async def _send_all(self, writer: asyncio.StreamWriter) -> int:
        """Send variables and records; returns the number of records."""
        writer.write(b"".join(recsync.add_info(0, name, value) for name, value in self._variables()))
        count = 0
        for record in self._records():
            if any(fnmatchcase(record.name, pattern) for pattern in self._settings.exclude):
                continue
            count += 1
            writer.write(b"".join(_messages(count, record)))
            if count % _SLICE == 0:
                async with asyncio.timeout(TIMEOUT):
                    await writer.drain()
                await self._clock.sleep(_SLICE_PAUSE)
        writer.write(recsync.done())
        async with asyncio.timeout(TIMEOUT):
            await writer.drain()
        return count

    async def _answer_pings(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the receiver ends the connection."""
        while True:
            try:
                message, body = await _receive(reader, 4 * TIMEOUT)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                return
            if message == FromServer.PING:
                writer.write(recsync.pong(body))
                async with asyncio.timeout(TIMEOUT):
                    await writer.drain()
            await self._clock.sleep(_MESSAGE_PAUSE)

    def _variables(self) -> Iterator[tuple[str, str]]:
        own = self._own()
        for name in dict.fromkeys((*own, *ENVIRONMENT, *self._settings.environment)):
            if value := own.get(name) or os.environ.get(name, ""):
                yield name, value

    def _lost(self, reason: str) -> None:
        log.warning("RecSync: %s; waiting for a receiver", reason, extra={"cause": "RecSync"})
        self._reason = reason


def _messages(number: int, record: RecordDef) -> Iterator[bytes]:
    """Yield what a receiver is sent about a record."""
    yield recsync.add_record(number, record.rtyp, record.name)
    for alias in record.aliases:
        yield recsync.add_alias(number, alias)
    for key, value in (*record.info.items(), ("recordDesc", record.fields.get("DESC", ""))):
        if key and value:
            yield recsync.add_info(number, key, value)


async def _receive(reader: asyncio.StreamReader, seconds: float) -> tuple[int, bytes]:
    """Return the next message: which one, and its body. Raises OSError, EOFError or ValueError."""
    async with asyncio.timeout(seconds):
        message, length = recsync.body_length(await reader.readexactly(recsync.HEADER.size))
        return message, await reader.readexactly(length)
