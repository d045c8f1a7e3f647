"""Name searches by UDP: answered for names that are served here, with silence for all others.

Datagram layout: Channel Access Protocol Specification, "CA_PROTO_SEARCH" and "CA_PROTO_VERSION".
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable, Collection
from typing import Final, cast

from ioc.access.policy import is_own_address
from ioc.server.wire import HEADER, PROTOCOL_VERSION, Command, pack

log = logging.getLogger("labioc.server")

_SEQUENCE_VALID: Final = 1
_SENDER: Final = 0xFFFFFFFF
_REPLY_SIZE: Final = 24
_MAX_DATAGRAM: Final = 1024


def answer(datagram: bytes, known: Callable[[str], bool], port: int) -> list[bytes]:
    """Return the datagrams that answer one; none when it asks for nothing that is known, or is no search.

    The sequence number of the request comes back, which lets libca raise its search rate.
    """
    sequence: int | None = None
    replies: list[bytes] = []
    position = 0
    while len(datagram) - position >= HEADER.size:
        command, size, data_type, _count, cid, _ = HEADER.unpack_from(datagram, position)
        position += HEADER.size
        payload = datagram[position : position + size]
        if len(payload) < size:
            break
        position += size
        if command == Command.VERSION:
            sequence = cid if data_type & _SEQUENCE_VALID else None
        elif command == Command.SEARCH and known(payload.split(b"\0", 1)[0].decode("latin-1")):
            version = struct.pack(">H6x", PROTOCOL_VERSION)
            replies.append(pack(Command.SEARCH, port, 0, _SENDER, cid, version))
    if not replies:
        return []
    valid = _SEQUENCE_VALID if sequence is not None else 0
    head = pack(Command.VERSION, valid, PROTOCOL_VERSION, sequence or 0, 0)
    room = (_MAX_DATAGRAM - len(head)) // _REPLY_SIZE
    return [head + b"".join(replies[i : i + room]) for i in range(0, len(replies), room)]


class SearchResponder(asyncio.DatagramProtocol):
    """Answers the searches that arrive at one UDP socket, but for those of hosts that are ``ignored``.

    With ``local_only`` it answers this computer alone.
    """

    def __init__(
        self, known: Callable[[str], bool], port: int, local_only: bool = False, ignored: Collection[str] = ()
    ) -> None:
        self._known = known
        self._port = port
        self._local_only = local_only
        self._ignored = frozenset(ignored)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to send."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one datagram."""
        if addr[0] in self._ignored or (self._local_only and not is_own_address(addr[0])):
            return
        for reply in answer(data, self._known, self._port):
            if self._transport is not None:
                self._transport.sendto(reply, addr)

    def error_received(self, exc: Exception) -> None:
        """Ignore that an earlier answer was not received: the client has gone."""
        log.debug("search socket: %s", exc)


def search_socket(address: str, port: int) -> socket.socket:
    """Bind a UDP socket that several servers of one machine can share."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT") and address not in ("127.0.0.1",):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
