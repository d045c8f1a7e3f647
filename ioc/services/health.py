"""How the server is: what is wrong with it and its devices, and its numbers for Prometheus.

The server is *failing* when it does not do its work, so that a restart helps. A device that is lost is a *problem* of
that device: it is shown, and restarts nothing. What an operator has asked for, as a disabled device, is a *note*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ioc.clock import Clock
from ioc.scan.scanner import DeviceScanner
from ioc.services.journal import Journal
from ioc.services.remote import Remote
from ioc.services.statistics import LAG_MAJOR, IocStatistics
from labioc_pages.metrics import Metric, exposition, single

FAILING, PROBLEM, NOTE = "failing", "problem", "note"
"""Kinds of findings, the worst first."""

STUCK = 10.0
"""Seconds after which a scan loop that has not had a turn counts as stuck; it has one each second."""

HUNG = 300.0
"""Seconds without an answer, a failure or a pause after which a scan counts as stuck in its driver.

Every driver gives up after its time-outs, also while it waits for a line that many share.
"""


class Traffic(NamedTuple):
    """Clients that are connected, channels that they have, events that were sent to clients since the start."""

    clients: int
    channels: int
    events: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is to be known: ``FAILING``, ``PROBLEM`` or ``NOTE``, and a sentence."""

    kind: str
    text: str


class Health:
    """Looks at the parts of a server; ``tasks`` are those that must not end while it runs."""

    def __init__(
        self,
        clock: Clock,
        scanners: Mapping[str, DeviceScanner],
        statistics: IocStatistics,
        journal: Journal,
        tasks: Sequence[asyncio.Task[None]],
        traffic: Callable[[], Traffic],
        remotes: Sequence[Remote] = (),
    ) -> None:
        self._clock = clock
        self._scanners = scanners
        self._statistics = statistics
        self._journal = journal
        self._tasks = tasks
        self._traffic = traffic
        self._remotes = remotes
        self._started = clock.time()

    def failing(self) -> list[Finding]:
        """Return why the server does not do its work; nothing when it does."""
        ended = [Finding(FAILING, f"{task.get_name()}: stopped working, see the log") for task in self._tasks
                 if task.done()]  # fmt: skip
        now = self._clock.monotonic()
        stuck = [Finding(FAILING, f"{name}: its scan loop has not had a turn for {now - one.last_turn:.0f} s")
                 for name, one in self._scanners.items() if now - one.last_turn > STUCK]  # fmt: skip
        hung = [Finding(FAILING, f"{name}: its driver has not come back for {now - one.last_progress:.0f} s")
                for name, one in self._scanners.items() if now - one.last_progress > HUNG]  # fmt: skip
        return ended + stuck + hung

    def findings(self) -> list[Finding]:
        """Return everything that is to be known, the worst first."""
        found = [*self.failing(), *self._devices()]
        found += [Finding(PROBLEM, text) for remote in self._remotes for text in remote.problems()]
        if self._journal.failing:
            found.append(Finding(PROBLEM, "the journal of puts cannot be written"))
        if self._statistics.lag > LAG_MAJOR:
            found.append(Finding(PROBLEM, f"the server is slow, the last pause was {self._statistics.lag:.0f} ms"))
        if not self._statistics.armed:
            found.append(Finding(NOTE, f"no write reaches any device ({self._statistics.armed_name} is 0)"))
        order = (FAILING, PROBLEM, NOTE)
        return sorted(found, key=lambda one: order.index(one.kind))

    def _devices(self) -> Iterator[Finding]:
        for name, scanner in self._scanners.items():
            status = scanner.status
            if status.disabled:
                yield Finding(NOTE, f"{name}: disabled for maintenance")
            elif not status.connected:
                yield Finding(PROBLEM, f"{name}: not connected: {status.message or 'no answer yet'}")

    def metrics(self) -> str:
        """Write the metrics in the Prometheus text format."""
        traffic, journal = self._traffic(), self._journal
        server = [
            single("start_time_seconds", "gauge", "Unix time of the start", self._started),
            single("failing", "gauge", "1 when the server does not do its work", int(bool(self.failing()))),
            single("armed", "gauge", "0 when no write reaches any device", int(self._statistics.armed)),
            single("loop_lag_seconds", "gauge", "Longest pause of the server in the last second",
                   self._statistics.lag / 1e3),
            single("memory_bytes", "gauge", "Resident memory", self._statistics.memory * 1e6),
            single("tasks", "gauge", "Tasks of the server", len(asyncio.all_tasks())),
            single("clients", "gauge", "Channel Access clients that are connected", traffic.clients),
            single("channels", "gauge", "Channels that they have", traffic.channels),
            single("events_total", "counter", "Events sent to clients", traffic.events),
            Metric("puts_total", "counter", "Puts by what became of them",
                   [({"outcome": outcome}, count) for outcome, count in journal.puts.items()]),
            single("journal_writable", "gauge", "0 when the journal of puts cannot be written",
                   int(not journal.failing)),
            single("journal_lost_total", "counter", "Puts that the journal has lost", journal.lost),
        ]  # fmt: skip
        return exposition(
            "labioc_ioc", [*server, *self._of_devices(), *(one for remote in self._remotes for one in remote.metrics())]
        )

    def _of_devices(self) -> list[Metric]:
        of_device: tuple[tuple[str, str, str, Callable[[DeviceScanner], float]], ...] = (
            ("device_up", "gauge", "1 when the device answers", lambda one: one.status.connected),
            ("device_disabled", "gauge", "1 while it is not talked to", lambda one: one.status.disabled),
            ("device_age_seconds", "gauge", "Since the last good answer", lambda one: one.status.age),
            ("device_reply_seconds", "gauge", "Time of the last exchange", lambda one: one.driver.stats.rtt),
            ("device_errors_total", "counter", "Exchanges that failed", lambda one: one.driver.stats.errors),
            ("device_losses_total", "counter", "How often it was lost", lambda one: one.status.losses),
            ("device_refused_puts_total", "counter", "Puts that were refused", lambda one: one.status.refused),
            ("scan_seconds", "gauge", "Longest scan in the last second", lambda one: one.status.scan_seconds),
            ("scans_late_total", "counter", "Scans that took longer than their period", lambda one: one.status.late),
        )
        return [
            Metric(name, kind, text, [({"device": name_}, float(get(one))) for name_, one in self._scanners.items()])
            for name, kind, text, get in of_device
        ]
