"""The ``[access]`` section of the site file."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

EVERYBODY: Final = "everybody"
LOCAL: Final = "local"


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
