"""Which network addresses are those of this computer."""

from __future__ import annotations

import socket
import time
from functools import lru_cache

import psutil


def is_own_address(address: str) -> bool:
    """Whether an address, the far end of a connection, is one of this computer."""
    return address.startswith("127.") or address in _own_addresses(int(time.monotonic()))


@lru_cache(maxsize=1)
def _own_addresses(_second: int) -> frozenset[str]:
    """Return the addresses of the network cards; they are asked for once a second."""
    cards = psutil.net_if_addrs().values()
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(one.address.partition("%")[0] for card in cards for one in card if one.family in families)
