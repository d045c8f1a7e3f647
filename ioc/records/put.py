"""A put on its way from a client to a record."""

from __future__ import annotations

from dataclasses import dataclass, field


class PutRefused(Exception):
    """The put changed nothing; the text goes to the client that asked for it."""


class AccessDenied(PutRefused):
    """The put is not for this client, or for nobody."""


@dataclass(slots=True)
class Cancelled:
    """Set when nobody waits for the put any more."""

    _set: bool = False

    def set(self) -> None:
        """Tell whoever holds the put that its client has gone."""
        self._set = True

    def is_set(self) -> bool:
        """Whether the client has gone."""
        return self._set


@dataclass(slots=True)
class PutContext:
    """Who puts: user and host as the client says, address as the socket says.

    ``callback`` tells a put with completion from a plain one. ``cancelled`` is set when the client went away while
    its put with completion was still waiting: such a put must not reach a device any more.
    """

    user: str = ""
    host: str = ""
    address: tuple[str, int] = ("", 0)
    callback: bool = False
    cancelled: Cancelled = field(default_factory=Cancelled)
