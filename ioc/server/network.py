"""Where the server listens and announces itself: site file, environment and network cards, as a C IOC reads them.

Names and meaning of the variables: Channel Access Reference Manual, "Configuring a CA server". As in base, a port
behind an address of EPICS_CAS_INTF_ADDR_LIST is not used: one server has one port.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

ANY: Final = "0.0.0.0"
LOOPBACK: Final = "127.0.0.1"
LOOPBACK_BROADCAST: Final = "127.255.255.255"
_SERVER_PORT: Final = 5064
_REPEATER_PORT: Final = 5065
_BEACON_SECONDS: Final = 15.0
_MAX_ARRAY_BYTES: Final = 16_000_000
_LOWEST_PORT: Final = 5001  # base takes no port that is reserved for the system


class NetworkError(ValueError):
    """A setting of the network that can't be used; the text names it, what was found and what is allowed."""


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses and ports of one server.

    ``interfaces`` are IPv4 addresses of this computer, or ``0.0.0.0`` alone; ``port`` is that of searches and the
    first choice for TCP, 0 for any. ``beacons`` are addresses and ports beside those of the network cards, which are
    used when ``auto_beacons`` is set. ``beacon_period`` is in seconds.
    """

    interfaces: tuple[str, ...]
    port: int
    beacons: tuple[tuple[str, int], ...]
    auto_beacons: bool
    beacon_port: int
    beacon_period: float
    ignored: frozenset[str]
    max_array_bytes: int

    def beacon_addresses(self) -> list[tuple[str, int]]:
        """Return where beacons go now: a card that comes up after the start is announced to as well."""
        found = dict.fromkeys(self.beacons)
        if self.auto_beacons:
            for interface in self.interfaces:
                found |= dict.fromkeys((address, self.beacon_port) for address in broadcasts_of(interface))
        return list(found)


def network(
    environ: Mapping[str, str], interfaces: Sequence[str] = (), port: int | None = None, local_only: bool = False
) -> Network:
    """Return the network settings; ``interfaces`` and ``port`` of the site file overrule the environment.

    With ``local_only`` beacons go to this computer only. Raises NetworkError for the first value that can't be used: a
    restriction that is not understood must not open the server to everybody.
    """
    if interfaces:
        where, words = "interfaces", list(interfaces)
    else:
        where, words = "EPICS_CAS_INTF_ADDR_LIST", environ.get("EPICS_CAS_INTF_ADDR_LIST", "").split()
    listed = list(dict.fromkeys(interface_address(where, word) for word in words)) or [ANY]
    if ANY in listed and len(listed) > 1:
        raise NetworkError(f"{where}: found {ANY} beside other addresses, allowed: {ANY} alone, or none of it")
    beacon_port = _first_port(environ, ("EPICS_CAS_BEACON_PORT", "EPICS_CA_REPEATER_PORT"), _REPEATER_PORT)
    return Network(
        tuple(listed),
        _first_port(environ, ("EPICS_CAS_SERVER_PORT", "EPICS_CA_SERVER_PORT"), _SERVER_PORT) if port is None else port,
        ((LOOPBACK, beacon_port),) if local_only else _address_list(environ, "EPICS_CAS_BEACON_ADDR_LIST", beacon_port),
        _yes_or_no(environ, "EPICS_CAS_AUTO_BEACON_ADDR_LIST") and not local_only,
        beacon_port,
        _number(environ, ("EPICS_CAS_BEACON_PERIOD", "EPICS_CA_BEACON_PERIOD"), _BEACON_SECONDS),
        frozenset(address for address, _ in _address_list(environ, "EPICS_CAS_IGNORE_ADDR_LIST", 0)),
        max(int(_number(environ, ("EPICS_CA_MAX_ARRAY_BYTES",), _MAX_ARRAY_BYTES)), _MAX_ARRAY_BYTES),
    )


def interface_address(where: str, word: str) -> str:
    """Return the address to listen at for an address or host name, with or without a port behind it.

    Raises NetworkError when it is not an IPv4 address. ``where`` names the setting. Whether this computer has it shows
    when the server starts, since a network card may come up late.
    """
    return _resolve(where, _without_port(where, word))


def broadcasts_of(interface: str) -> list[str]:
    """Return the broadcast addresses of the cards that have this address, of all cards that are up for ``0.0.0.0``.

    The loopback address stands for itself: it has no broadcast address, and clients of this computer listen there.
    """
    if interface == LOOPBACK:
        return [LOOPBACK]
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return [
        target
        for name, addresses in psutil.net_if_addrs().items()
        if name in up
        for card in addresses
        if card.family == socket.AF_INET and interface in (ANY, card.address)
        if (target := card.broadcast or card.ptp) and target != card.address and not card.address.startswith("127.")
    ]


def _without_port(where: str, word: str) -> str:
    host, colon, port = word.partition(":")
    if colon and not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise NetworkError(f"{where}: found {word!r}, allowed: an IPv4 address or host name of this computer")
    return host


def _resolve(where: str, host: str) -> str:
    try:
        found = socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise NetworkError(f"{where}: found {host!r}, which is no IPv4 address and no known host name") from error
    if ipaddress.IPv4Address(found).is_multicast:
        raise NetworkError(f"{where}: found {host!r}, a multicast address, which is not supported")
    return found


def _address_list(environ: Mapping[str, str], name: str, port: int) -> tuple[tuple[str, int], ...]:
    """Return the addresses and ports of a list in the environment."""
    found = []
    for word in environ.get(name, "").split():
        host, colon, own = word.partition(":")
        if colon and not (own.isdecimal() and 0 < int(own) < 65536):
            raise NetworkError(f"{name}: found {word!r}, allowed: HOST or HOST:PORT")
        found.append((_resolve(name, host), int(own) if colon else port))
    return tuple(found)


def _first_port(environ: Mapping[str, str], names: Sequence[str], default: int) -> int:
    for name in names:
        if text := environ.get(name, "").strip():
            if not (text.isdecimal() and _LOWEST_PORT <= int(text) < 65536):
                raise NetworkError(f"{name}: found {text!r}, allowed: a port from {_LOWEST_PORT} to 65535")
            return int(text)
    return default


def _number(environ: Mapping[str, str], names: Sequence[str], default: float) -> float:
    for name in names:
        if text := environ.get(name, "").strip():
            try:
                number = float(text)
            except ValueError:
                number = 0.0
            if not 0 < number < 1e9:
                raise NetworkError(f"{name}: found {text!r}, allowed: a number above 0")
            return number
    return default


def _yes_or_no(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in ("", "yes", "no"):
        raise NetworkError(f"{name}: found {text!r}, allowed: YES or NO")
    return text != "no"
