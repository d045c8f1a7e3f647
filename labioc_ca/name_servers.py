"""Searches by TCP at the servers of EPICS_CA_NAME_SERVERS: name servers, gateways, IOCs that no broadcast reaches.

Messages: Channel Access Protocol Specification, "CA_PROTO_SEARCH"; a server answers it on a circuit since protocol
version 4.12, with the port of the IOC in the place of the data type and its address, or all ones for its own, in the
place of the first parameter.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Final

import caproto

from labioc_ca.environment import CONNECT_TIMEOUT, ECHO_TIMEOUT, Address

log = logging.getLogger("labioc.ca")

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 15.0
"""Seconds between attempts to connect; doubled each time, up to the longest."""

LARGEST_BACKLOG: Final = 1 << 20
"""Bytes that wait for a name server that does not read; what is searched meanwhile is searched again later."""

_SINCE: Final = 12
_HEADER: Final = struct.Struct(">HHHHII")
_ITS_OWN: Final = (0xFFFFFFFF, 0)
_LARGEST_PAYLOAD: Final = 0x4000
_HELLO: Final = bytes(caproto.VersionRequest(0, 13))
_ECHO: Final = bytes(caproto.EchoRequest())


class NameServer:
    """One name server; ``found`` gets the number of a name and who serves it.

    ``ready`` is called when it takes searches, at first and after each loss. ``timeout`` is how long a silent one is
    waited for, in seconds, before it is asked whether it lives.
    """

    def __init__(
        self,
        address: Address,
        timeout: float,
        found: Callable[[int, Address], None],
        ready: Callable[[NameServer], None],
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._found = found
        self._ready = ready
        self._writer: asyncio.StreamWriter | None = None
        self._trouble = ""

    def search(self, requests: bytes) -> None:
        """Send search requests, if it takes any now."""
        if self._writer is not None and self._writer.transport.get_write_buffer_size() < LARGEST_BACKLOG:
            self._writer.write(requests)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    reader, writer = await asyncio.open_connection(*self.address)
                try:
                    await self._talk(reader, writer)
                finally:
                    pause = FIRST_PAUSE if self._writer is not None else pause
                    self._writer = None
                    writer.transport.abort()
            except TimeoutError:
                self._report("no answer")
            except EOFError:
                self._report("closed by the server")
            except (OSError, ValueError) as error:
                self._report(str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take answers. Raises TimeoutError, EOFError, OSError, ValueError."""
        writer.write(_HELLO)
        while True:
            command, size, kind, count, address, number = _HEADER.unpack(await self._read(reader, writer))
            if size > _LARGEST_PAYLOAD:
                raise ValueError(f"message {command} with {size} bytes is no answer to a search")
            async with asyncio.timeout(ECHO_TIMEOUT):
                await reader.readexactly(size)
            if command == caproto.VersionResponse.ID and self._writer is None:
                if count < _SINCE:
                    raise ValueError(f"takes no searches by TCP (protocol version 4.{count})")
                self._writer = writer
                self._report("")
                self._ready(self)
            elif command == caproto.SearchResponse.ID and kind:
                host = self.address[0] if address in _ITS_OWN else socket.inet_ntoa(address.to_bytes(4, "big"))
                self._found(number, (host, kind))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """Wait for a header; ask a server that is silent for long, and give it up when it stays so."""
        try:
            async with asyncio.timeout(self._timeout):
                return await reader.readexactly(_HEADER.size)
        except TimeoutError:
            writer.write(_ECHO)
        async with asyncio.timeout(ECHO_TIMEOUT):
            return await reader.readexactly(_HEADER.size)

    def _report(self, trouble: str) -> None:
        """Log a change for the worse or for the better, once."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            log.warning("name server %s:%d: %s, trying again", *self.address, trouble)
        else:
            log.info("name server %s:%d takes searches", *self.address)
