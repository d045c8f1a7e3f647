"""Monitors of the fields of a record."""

from __future__ import annotations

from typing import Protocol


class Monitor(Protocol):
    """Receives the changes of one field."""

    mask: int

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take the present value; ``shared`` lives for one event and is common to all its monitors."""


class Monitored:
    """Keeps the monitors of each field; without any it costs one empty slot."""

    __slots__ = ("monitors",)

    def __init__(self) -> None:
        self.monitors: dict[str, dict[Monitor, None]] | None = None  # in the order of subscribing

    def subscribe(self, field: str, monitor: Monitor) -> None:
        """Add a monitor of one field."""
        if self.monitors is None:
            self.monitors = {}
        self.monitors.setdefault(field, {})[monitor] = None

    def unsubscribe(self, field: str, monitor: Monitor) -> None:
        """Remove a monitor; nothing happens when it is not there."""
        if self.monitors is None:
            return
        there = self.monitors.get(field, {})
        there.pop(monitor, None)
        if not there:
            self.monitors.pop(field, None)
        if not self.monitors:
            self.monitors = None

    def post_events(self, field: str, mask: int) -> None:
        """Send an event to the monitors of a field whose mask has one of these bits."""
        if self.monitors is None:
            return
        shared: dict[object, bytes] = {}
        for monitor in self.monitors.get(field, ()):
            if monitor.mask & mask:
                monitor.event(mask, shared)

    def post_all(self, mask: int) -> None:
        """Send an event to the monitors of every field whose mask has one of these bits."""
        for field in tuple(self.monitors or ()):
            self.post_events(field, mask)
