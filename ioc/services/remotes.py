"""Programs elsewhere that a server reports to, when the site file names them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ioc.clock import Clock
from ioc.services.journal import Journal
from ioc.services.putlog import PutLog
from ioc.site.config import Site
from labioc_pages.metrics import Metric


class Remote(Protocol):
    """One of them. Whatever it does, or does not, the server goes on."""

    def start(self) -> None:
        """Begin, on the running loop."""

    async def close(self) -> None:
        """End; cancelling ends it at once."""

    def problems(self) -> Iterable[str]:
        """Return what is wrong, in words."""

    def metrics(self) -> Iterable[Metric]:
        """Return the numbers for Prometheus."""


def remotes(site: Site, journal: Journal, clock: Clock) -> list[Remote]:
    """Return those that a site wants."""
    found: list[Remote] = []
    if site.putlog is not None:
        putlog = PutLog(site.putlog, clock)
        journal.on_put = putlog.add
        found.append(putlog)
    return found
