"""What others learn of a running server: the service manager, and the clients of its pages over HTTP."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ioc.clock import Clock
from ioc.services.health import FAILING, Health
from ioc.site.config import Site
from labioc_pages.page import JSON, METRICS, TEXT, Answer, StatusPages

log = logging.getLogger("labioc")

_LOOK = 1.0
"""Seconds between two looks at the server; half the period of the watchdog when that is less."""


def address_file(site: Site, folder: Path) -> Path:
    """Return where an IOC of a site says at which address its pages are."""
    return folder / f"{site.prefix.replace(':', '.')}.{site.ioc}-status-address"


class ServiceManager:
    """What this process reports to systemd: ready, reloading, stopping, still working (sd_notify(3), Type=notify).

    The socket is in a variable of the environment; without systemd, or in a service of another type, nothing is sent.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog(environment) if self._address else 0.0
        """Seconds within which the process has to report that it works; 0 without a watchdog."""

    def ready(self, status: str) -> None:
        """Report that the service is up, also after ``reloading``."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that settings are being read anew."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report the end."""
        self._send("STOPPING=1")

    def works(self) -> None:
        """Keep the watchdog from restarting the service."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a line in ``systemctl status``."""
        self._send(f"STATUS={text}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(0.2)  # a manager that is busy must not stop the loop for long
            sock.sendto(state.encode(), address)


def _watchdog(environment: Mapping[str, str]) -> float:
    """Return the period of the watchdog in seconds (sd_watchdog_enabled(3)); 0 when it is not for this process."""
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        wanted = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return 0.0
    return seconds if wanted == os.getpid() else 0.0


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
