"""What the circuits of a server have in common, and all that they know of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ioc.access import Policy
from ioc.records import RecordSet
from ioc.server.channel import resolve

if TYPE_CHECKING:
    from ioc.server.circuit import Circuit
    from ioc.server.guests import Guests


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
    guests: Guests | None = None
    circuits: set[Circuit] = field(default_factory=set)
    past_events: int = 0
    _sids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def knows(self, name: str) -> bool:
        """Whether a channel of this name can be made."""
        if name in self.records or resolve(self.records, name) is not None:
            return True
        return self.guests is not None and self.guests.find(name) is not None

    @property
    def channel_count(self) -> int:
        """Channels that all clients have open."""
        return sum(circuit.channel_count for circuit in self.circuits)

    def forget(self, client: Circuit) -> None:
        """Take note of a connection that has ended."""
        if client in self.circuits:
            self.circuits.discard(client)
            self.past_events += client.events

    @property
    def events(self) -> int:
        """Events for clients since the start."""
        return self.past_events + sum(circuit.events for circuit in self.circuits)

    def new_sid(self) -> int:
        """Return a channel number that no circuit uses."""
        return next(self._sids) & 0xFFFFFFFF
