"""The driver of a device that cannot be served: it says why, for as long as the server runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NoReturn

from devices.errors import LinkDown
from devices.model import DeviceSettings, Limits, LinkStats, Reading, Signal, Value, Way


class Unavailable:
    """A device without a link; every attempt to reach it raises LinkDown with the reason."""

    def __init__(self, settings: DeviceSettings, reason: str) -> None:
        self.settings: Final = settings
        self.stats: Final = LinkStats(last_error=reason)
        self._reason = reason

    def signals(self) -> Mapping[str, Signal]:
        """Return nothing."""
        return {}

    async def connect(self) -> None:
        """Raise LinkDown."""
        self._fail()

    async def close(self) -> None:
        """Do nothing."""

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Raise LinkDown."""
        self._fail()

    def way(self, name: str, value: Value) -> Way:
        """Return a way on a wire of its own."""
        return Way(self.settings.name)

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Raise LinkDown."""
        self._fail()

    def limits(self, name: str) -> Limits | None:
        """Return None."""

    def precision(self, name: str) -> int | None:
        """Return None."""

    def _fail(self) -> NoReturn:
        raise LinkDown(self._reason)
