"""What the servers of PVs ask before they serve a client, and who may write by the ``[access]`` section of a site file.

The address is that of the connection. User and host are what the client says about itself; Channel Access has no proof
of either. Names keep honest people from mistakes and are no protection against others.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from ioc.records import PutContext, Record

EVERYBODY: Final = "everybody"
LOCAL: Final = "local"

_ACKNOWLEDGE = frozenset({"ACKS", "ACKT", "PROC"})
"""Fields that an operator may write on every record: acknowledging an alarm, reading now."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may write: the names that clients give, and the addresses that they write from.

    ``operators`` and ``experts`` are ``user`` or ``user@host`` each; experts may do what operators may, and None for
    both asks for no name. ``hosts`` are IPv4 addresses and networks beside this computer. ``write`` stands in place of
    them: ``local`` is this computer alone, ``everybody`` any address and any name. With neither, names may write from
    any address, and without names this computer alone.

    ``acf`` is an access security file, which stands in place of all that; ``macros`` are for it, and with ``client_ip``
    its hosts are compared with the address of a client, not with the name that the client gives.
    """

    operators: tuple[str, ...] | None = None
    experts: tuple[str, ...] | None = None
    hosts: tuple[str, ...] | None = None
    write: str | None = None
    acf: Path | None = None
    macros: Mapping[str, str] = field(default_factory=dict)
    client_ip: bool = False

    @property
    def by_name(self) -> bool:
        """Whether only those may write that are named."""
        return self.operators is not None or self.experts is not None

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network, ...] | None:
        """The networks that may write beside this computer; None is all."""
        if self.hosts is None and (self.write == EVERYBODY or (self.write is None and self.by_name)):
            return None
        return tuple(ipaddress.IPv4Network(host) for host in self.hosts or ())


class Policy:
    """Every client that reaches the server may read and write; the base of stricter rules.

    ``on_change`` is called when rights may have changed.
    """

    summary = "writing is possible from every computer"
    """The rule in one line for the log."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[], object]] = []

    def may_read(self, record: Record, field: str, client: PutContext) -> bool:
        """Whether this client may read this field."""
        return True

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        """Return why this client may not write this field, or None when it may."""
        return None

    def may_acknowledge(self, record: Record, client: PutContext) -> str | None:
        """Return why this client may not acknowledge the alarm of a record, or None when it may."""
        return self.may_put(record, "ACKS", client)

    def may_read_group(self, field: str, client: PutContext) -> bool:
        """Whether this client may read a PV of a caproto group, or a field of its record."""
        return True

    def may_put_group(self, field: str, client: PutContext) -> str | None:
        """Return why this client may not write a PV of a caproto group, or a field of its record; None when it may."""
        return None

    def may_write_raw(self, client: PutContext) -> str | None:
        """Return why this client may not write past the PVs, None when it may."""
        return None

    def changed(self) -> None:
        """Have the rights of all clients judged anew."""
        for call in self.on_change:
            call()

    async def start(self) -> None:
        """Begin to follow what the rights depend on. Raises OSError or ValueError when that is not possible."""

    async def stop(self) -> None:
        """Follow it no more."""

    async def reload(self) -> str:
        """Read the access security file anew and return in a sentence what came of it; a bad one changes nothing."""
        return "there is no access security file, acf of [access] names one"


class AccessPolicy(Policy):
    """Judges each put by the address that it comes from and by the names of its client; reading is free."""

    def __init__(self, access: Access | None = None) -> None:
        super().__init__()
        self._access = access = access or Access()
        self._networks = access.networks
        self._experts = frozenset(_normal(name) for name in access.experts or ())
        self._operators = self._experts | {_normal(name) for name in access.operators or ()}
        self.summary = self._in_one_line()

    def _in_one_line(self) -> str:
        who = " by operators and experts" if self._access.by_name else ""
        if self._networks is None:
            return f"writing is possible{who} from every computer"
        if self._networks:
            places = ", ".join(map(str, self._networks))
            return f"writing is possible{who} from this computer and {places}; every computer may read"
        return (
            f"writing is possible{who} from this computer only, every computer may read"
            " (hosts and write in [access] of the site file)"
        )

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        """Return why this client may not write this field, or None when it may.

        A record with access ``R`` takes no value from any client; ``O`` takes one from operators and experts,
        ``E`` from experts. Every other field (alarm limits, SCAN, DISP...) is for experts, acknowledging
        for operators.
        """
        if field == "PROC" and record.is_output:
            field = "VAL"  # processing an output sends its value once more
        if field == "VAL" and not _writable(record):
            return f"{record.name} is a read-only PV"
        return self._lacks_right(field not in _ACKNOWLEDGE and (field != "VAL" or record.access != "O"), client)

    def may_put_group(self, field: str, client: PutContext) -> str | None:
        """Return why this client may not write a PV of a caproto group, None when it may.

        The value is for operators, like a setting; the fields of a record (alarm limits, SCAN) are for experts.
        """
        return self._lacks_right(field not in ("", "VAL", *_ACKNOWLEDGE), client)

    def may_write_raw(self, client: PutContext) -> str | None:
        """Return why this user may not write past the PVs, None when nothing speaks against it: it takes an expert."""
        return self._lacks_right(True, client)

    def _lacks_right(self, needs_expert: bool, client: PutContext) -> str | None:
        return self._wrong_address(client.address[0]) or self._lacks_role(needs_expert, client.user, client.host)

    def _wrong_address(self, address: str) -> str | None:
        address = address.removeprefix("::ffff:")  # IPv4 to a socket for both kinds
        if self._networks is None or is_own_address(address) or _within(address, self._networks):
            return None
        if self._access.hosts is None:
            return f"only this computer may write, not {address}; {_remedy(address, self._access.by_name)}"
        return f"{address} is not in hosts of the [access] section of the site file"

    def _lacks_role(self, needs_expert: bool, user: str, host: str) -> str | None:
        if not self._access.by_name:
            return None
        allowed = self._experts if needs_expert else self._operators
        if allowed & {_normal(user), _normal(f"{user}@{host}")}:
            return None
        role = "an expert" if needs_expert else "an operator"
        return f"{user}@{host} is not {role} in the [access] section of the site file"


def is_own_address(address: str) -> bool:
    """Whether an address, the far end of a connection, is one of this computer."""
    return address.startswith("127.") or address in _own_addresses(int(time.monotonic()))


@lru_cache(maxsize=1)
def _own_addresses(_second: int) -> frozenset[str]:
    """Return the addresses of the network cards; they are asked for once a second."""
    import psutil  # noqa: PLC0415  takes a while, and a check of a site file asks for no address

    cards = psutil.net_if_addrs().values()
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(one.address.partition("%")[0] for card in cards for one in card if one.family in families)


@lru_cache(maxsize=1024)  # asked for each of the thousands of PVs that a client connects to
def _within(address: str, networks: tuple[ipaddress.IPv4Network, ...]) -> bool:
    try:
        found = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


@lru_cache(maxsize=1024)
def _remedy(address: str, by_name: bool) -> str:
    """Say what in the site file would let a client at this address write."""
    try:
        network = str(ipaddress.IPv4Network((address, 24), strict=False))
    except ValueError:
        network = "192.168.1.0/24"
    everybody = "" if by_name else f' or write = "{EVERYBODY}"'
    return f'set hosts = ["{network}"]{everybody} in [access] of the site file'


def _writable(record: Record) -> bool:
    """Return whether any client may set the value; a record without access tag goes by its direction."""
    return record.access in ("O", "E") or (record.access == "" and record.is_output)


def _normal(name: str) -> str:
    """Host names do not care about case, user names do."""
    user, at, host = name.partition("@")
    return f"{user}{at}{host.lower()}"


def host_mistake(text: str) -> str | None:
    """Say what is wrong with an entry of ``hosts``; None when it is an IPv4 address or network."""
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        pass
    else:
        return None
    try:
        meant = f'; "{ipaddress.IPv4Network(text, strict=False)}" is the network of this address'
    except ValueError:
        meant = ""
    return f'allowed: an IPv4 address or network, such as "192.168.1.0/24"{meant}'
