"""What others learn of a running server: the service manager, and the clients of its pages over HTTP."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from ioc.clock import Clock
from ioc.services.health import FAILING, Health
from ioc.services.notify import ServiceManager
from ioc.site.config import Site
from labioc_pages.page import JSON, METRICS, TEXT, Answer, StatusPages

log = logging.getLogger("labioc")

_LOOK = 1.0
"""Seconds between two looks at the server; half the period of the watchdog when that is less."""


def address_file(site: Site, folder: Path) -> Path:
    """Return where an IOC of a site says at which address its pages are."""
    return folder / f"{site.prefix.replace(':', '.')}.{site.ioc}-status-address"


class Supervision:
    """Reports to the service manager, feeds its watchdog, and serves ``/healthz``, ``/status`` and ``/metrics``.

    The watchdog is fed as long as every scan loop has its turns, whatever its device does. ``folder`` is where the
    address of the pages is left; None serves none.
    """

    def __init__(
        self, site: Site, folder: Path | None, health: Health, clock: Clock, manager: ServiceManager | None = None
    ) -> None:
        self._listen = site.server.status
        self._health = health
        self._clock = clock
        self._manager = manager or ServiceManager()
        self._pages: StatusPages | None = None
        self._failing = False
        self._served = f"serves {len(site.devices) + len(site.pvgroups)} devices as {site.prefix}"
        if folder is not None and self._listen is not None:
            pages = {"/healthz": self._healthz, "/status": self._status, "/metrics": self._metrics}
            self._pages = StatusPages(pages, address_file(site, folder))

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the pages are, once started; None when there are none."""
        return self._pages.address if self._pages is not None else None

    async def start(self) -> None:
        """Serve the pages, and report that the server is ready."""
        if self._pages is not None and self._listen is not None:
            self._pages = await self._serve(self._pages, *self._listen)
        self._manager.ready(self._served)

    async def run(self) -> None:
        """Look at the server until cancelled."""
        watchdog = self._manager.watchdog_seconds
        while True:
            self.look()
            await self._clock.sleep(min(_LOOK, watchdog / 2) if watchdog else _LOOK)

    def look(self) -> None:
        """Feed the watchdog, unless a part of the server is stuck."""
        found = self._health.failing()
        if found and not self._failing:
            text = "; ".join(one.text for one in found)
            log.critical("%s%s", text, ": the watchdog restarts the service" if self._manager.watchdog_seconds else "")
            self._manager.status(text)
        self._failing = bool(found)
        if not found and self._manager.watchdog_seconds:
            self._manager.works()
        if self._pages is not None:
            self._pages.announce()

    def reloading(self) -> None:
        """Report that settings are read anew; ``reloaded`` is the end of that."""
        self._manager.reloading()

    def reloaded(self) -> None:
        """Report that the server is ready again."""
        self._manager.ready(self._served)

    async def stop(self) -> None:
        """Report the end, and serve no more pages."""
        self._manager.stopping()
        if self._pages is not None:
            await self._pages.stop()

    async def _serve(self, pages: StatusPages, host: str, port: int) -> StatusPages | None:
        """Serve the pages; at another port when theirs is taken, as nothing depends on them."""
        for number in (port, 0):
            try:
                await pages.start(host, number)
            except OSError as error:
                log.error("status pages: %s port %d: %s", host, number, error.strerror or error)
                continue
            log.info("status pages at http://%s:%d: /healthz, /metrics", *pages.address)
            return pages
        return None

    def _healthz(self) -> Answer:
        found = self._health.findings()
        failing = any(one.kind == FAILING for one in found)
        text = "".join(f"{one.kind} {one.text}\n" for one in found) or "ok\n"
        return Answer(TEXT, text, 503 if failing else 200)

    def _status(self) -> Answer:
        return Answer(JSON, json.dumps([asdict(one) for one in self._health.findings()]))

    def _metrics(self) -> Answer:
        return Answer(METRICS, self._health.metrics())
