"""Channel Access settings of a client: the EPICS_CA_* environment variables that every client knows.

Variables and defaults: EPICS Channel Access Reference Manual, "Configuring EPICS for Channel Access".
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psutil

Address = tuple[str, int]

SERVER_PORT: Final = 5064
REPEATER_PORT: Final = 5065
CONNECT_TIMEOUT: Final = 5.0
ECHO_TIMEOUT: Final = 5.0
"""Seconds that a server may take to accept a connection, and to answer an echo or end a message."""

LARGEST_AUTOMATIC: Final = 64 << 20
"""Bytes of an array that a client takes when EPICS_CA_AUTO_ARRAY_BYTES leaves the size open."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to search, how long a silent server is waited for (in seconds), how large an event may be (in bytes).

    ``addresses`` are searched by UDP, ``name_servers`` by TCP.
    """

    addresses: tuple[Address, ...]
    repeater_port: int = REPEATER_PORT
    connection_timeout: float = 30.0
    max_search_period: float = 10.0
    max_message: int = LARGEST_AUTOMATIC
    name_servers: tuple[Address, ...] = ()

    @classmethod
    def read(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the environment (or a mapping in its place); raises ValueError that names the variable."""
        values = os.environ if env is None else env
        port = _integer(values, "EPICS_CA_SERVER_PORT", SERVER_PORT)
        addresses = _addresses(values, "EPICS_CA_ADDR_LIST", port)
        if values.get("EPICS_CA_AUTO_ADDR_LIST", "YES").upper() != "NO":
            addresses += [(address, port) for address in broadcast_addresses()]
        limit = LARGEST_AUTOMATIC
        if values.get("EPICS_CA_AUTO_ARRAY_BYTES", "YES").upper() == "NO":
            # As in the C library: 16 kB at least, and some room for the structure around the array.
            limit = max(_integer(values, "EPICS_CA_MAX_ARRAY_BYTES", 16384), 16384) + 128
        return cls(
            tuple(dict.fromkeys(addresses)),
            _integer(values, "EPICS_CA_REPEATER_PORT", REPEATER_PORT),
            _seconds(values, "EPICS_CA_CONN_TMO", 30.0),
            _seconds(values, "EPICS_CA_MAX_SEARCH_PERIOD", 10.0),
            limit,
            tuple(dict.fromkeys(_addresses(values, "EPICS_CA_NAME_SERVERS", port))),
        )


def _integer(values: Mapping[str, str], name: str, default: int) -> int:
    word = values.get(name, "").strip()
    if not word:
        return default
    if not word.isdecimal() or int(word) == 0:
        raise ValueError(f"{name}: {word!r} is no positive number")
    return int(word)


def _seconds(values: Mapping[str, str], name: str, default: float) -> float:
    word = values.get(name, "").strip()
    try:
        seconds = float(word) if word else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ValueError(f"{name}: {word!r} is no positive number of seconds")
    return seconds


def _addresses(values: Mapping[str, str], name: str, port: int) -> list[Address]:
    return [_address(word, name, port) for word in values.get(name, "").split()]


def _address(word: str, name: str, port: int) -> Address:
    host, _, own = word.partition(":")
    if own and not (own.isdecimal() and 0 < int(own) < 0x10000):
        raise ValueError(f"{name}: {word!r} has no port between 1 and 65535")
    try:
        return socket.gethostbyname(host), int(own) if own else port
    except OSError:
        raise ValueError(f"{name}: {host!r} is no host that can be found") from None


def broadcast_addresses() -> list[str]:
    """Return the broadcast addresses of each interface that is up, also of one that has no cable at the moment.

    A further address of an interface may have a label of its own, as ``eth0:1``. On a machine without a network it is
    the loopback address.
    """
    up = {name for name, state in psutil.net_if_stats().items() if "up" in state.flags.split(",")}
    cards = [card for name, card in psutil.net_if_addrs().items() if name.partition(":")[0] in up]
    found = [one.broadcast for card in cards for one in card if one.family == socket.AF_INET and one.broadcast]
    return found or ["127.0.0.1"]
