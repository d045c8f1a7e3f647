"""What the circuits of a server have in common, and all that they know of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ioc.records import RecordSet
from ioc.server.channel import Policy


class Client(Protocol):
    """A connection, as the server sees it."""

    async def finish_puts(self) -> None:
        """Wait for the puts under way."""

    def close(self) -> None:
        """End the connection at once."""


@dataclass(slots=True)
class Service:
    """The records that are served, who may write them, and the connections that are open.

    ``port`` is the TCP port, ``max_array_bytes`` the longest message that is taken. With ``local_only`` other computers
    are not answered.
    """

    records: RecordSet
    policy: Policy
    max_array_bytes: int
    local_only: bool = False
    port: int = 0
    circuits: set[Client] = field(default_factory=set)
    _sids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new_sid(self) -> int:
        """Return a channel number that no circuit uses."""
        return next(self._sids) & 0xFFFFFFFF
