"""The application: a site file becomes records, drivers, scanners and a Channel Access server, and ends again.

Nothing here knows a device family or a record type; this is the place where the rooms are joined.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import resource
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from devices.model import DeviceSettings, Driver
from devices.registry import FAMILIES
from devices.unavailable import Unavailable
from ioc.access import Policy, make_policy
from ioc.access.acf import AcfError
from ioc.automation.automation import Automation
from ioc.automation.trip_memory import TripMemory
from ioc.clock import Clock, SystemClock
from ioc.database.support import OFF_TAG, SERVER
from ioc.inputs import Inputs
from ioc.puts import PutPath
from ioc.records import Record, RecordSet
from ioc.scan.scanner import DeviceScanner
from ioc.scan.schedule import Turns, phase
from ioc.server import Network, NetworkError, Server
from ioc.services.health import Health, Traffic
from ioc.services.journal import Journal, journal_files
from ioc.services.remotes import remotes
from ioc.services.sole_master import sole_master
from ioc.services.state import StateStore, state_folder
from ioc.services.statistics import IocStatistics, about
from ioc.services.supervision import Supervision
from ioc.services.textserver import RegisterDevice, TextServer
from ioc.site.config import Site, SiteError
from ioc.site.expansion import expand

if TYPE_CHECKING:
    from devices.simulation.simulation import Simulator
    from ioc.server.guests import Guests

log = logging.getLogger("labioc")

_PUTS_SECONDS = 1.0
"""How long puts that have begun may take to finish when the server ends."""

_CLOSE_SECONDS = 0.7
"""How long the links may take to close after that."""

_DISK_SECONDS = 0.2
"""How long what clients tuned, trips and puts may take to get to disk or log server; all less than the promised 2 s."""

MOST_FILES = 65536
"""Open files and sockets that one server asks the system for."""


class App:
    """One running site; ``port`` overrules the site file, 0 is any.

    Raises DatabaseError for bad records, and SiteError for addresses that can't be listened at.

    With ``local_only`` no other computer is answered. ``folder`` is where what clients tune is kept, and the journal of
    puts; None keeps nothing.
    """

    def __init__(
        self,
        site: Site,
        port: int | None = None,
        clock: Clock | None = None,
        local_only: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.site = site
        self._clock = clock or SystemClock()
        database = expand(site)
        definitions = database.records
        self.records = RecordSet.build(definitions.values(), time=self._clock.time)
        self.state = StateStore(site, self.records, folder, self._clock)
        self._outputs = [self.records[name] for name, found in definitions.items() if OFF_TAG in found.info]
        self.simulators: dict[str, Simulator] = {}
        self.scanners: dict[str, DeviceScanner] = {}
        self._of_device: defaultdict[str, list[Record]] = defaultdict(list)
        for record in self.records.values():
            self._of_device[record.device or ""].append(record)
        self.journal = Journal(self._clock, *(journal_files(site, folder) if folder is not None else ()))
        self.statistics = IocStatistics(self._of_device[SERVER], self._clock, about(site), self.journal, self._clients)
        self.puts = PutPath(self.scanners, self.statistics, self._clock, journal=self.journal)
        self.puts.notes.on_applied = self.state.note
        self.trips = TripMemory(site, self.records, self._clock, folder)
        self.text: TextServer | None = None
        try:
            self.policy = make_policy(site.access, lambda: Inputs(self.records, self._clock, site.prefix))
            wanted = site.server.port if port is None else port
            self._server = Server(self.records, self.policy, site.server.interfaces, wanted, local_only)
        except AcfError as error:
            raise SiteError(error.errors) from error
        except NetworkError as error:
            raise SiteError([str(error)]) from error
        self._guests = self._server.service.guests = _guests(site, self.policy, self.puts)
        self.automation: Automation | None = None
        self._reloading: asyncio.Task[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._remotes = remotes(site, database.served, self.records, self.journal, self._clock, lambda: self.tcp_port)
        health = Health(self._clock, self.scanners, self.statistics, self.journal, self._tasks,
                        lambda: Traffic(*self._clients(), self._server.service.events), self._remotes)  # fmt: skip
        self.supervision = Supervision(site, folder, health, self._clock)

    @property
    def network(self) -> Network:
        """Where the server listens, as site file and environment say."""
        return self._server.network

    @property
    def tcp_port(self) -> int:
        """The port of the circuits, once started."""
        return self._server.port

    @property
    def search_port(self) -> int:
        """The UDP port that answers searches, once started."""
        return self._server.udp_port

    async def start(self) -> None:
        """Serve and scan. Raises OSError, saying what could not be had, when the server can't listen."""
        turns = Turns(self._clock)
        for number, settings in enumerate(self.site.devices):
            driver = await self._make_driver(settings)
            scanner = DeviceScanner(driver, self._of_device[settings.name], self._clock, turns, phase(number))
            self.scanners[settings.name] = scanner
            wanted = self.site.textserver is not None and self.site.textserver.device == settings.name
            if self.site.textserver is not None and wanted and isinstance(driver, RegisterDevice):
                by_signal = {record.signal or "": record for record in self._of_device[settings.name]}
                self.text = TextServer(self.site.textserver, driver, by_signal, self.policy, scanner)
        for record in self.records.values():
            self.puts.attach(record)
        self.state.start()
        await self.trips.start(self.scanners)
        if not self.statistics.armed:
            await self.puts.pass_on_arming()
        self.automation = Automation(self.site, self.records, self._outputs, self.puts, self._clock, self.scanners)
        try:
            await self._server.start()
        except OSError as error:
            raise OSError(f"can't serve Channel Access: {error.strerror or error}") from error
        if self.text is not None:
            try:
                await self.text.start()
            except OSError as error:
                raise OSError(f"can't serve the text interface: {error.strerror or error}") from error
        log.info("%s", self.policy.summary)
        await self.policy.start()
        self._spawn(self.statistics.run, "statistics")
        if self._guests is not None:
            self._guests.start()
        for name, scanner in self.scanners.items():
            self._spawn(scanner.run, name)
        for remote in self._remotes:
            remote.start()
        await self.supervision.start()
        self._spawn(self.supervision.run, "supervision")
        await self.automation.start()
        for name, work in self.automation.work():
            self._spawn(work, name)
        gc.collect()
        gc.freeze()  # records live for ever: walking over them again and again would pause everything

    async def wait_until_read(self, seconds: float) -> bool:
        """Wait until every device has been read, at most this long; return whether that came true."""
        until = self._clock.monotonic() + seconds
        while not all(scanner.all_read for scanner in self.scanners.values()):
            if self._clock.monotonic() > until:
                return False
            await self._clock.sleep(0.02)
        return True

    def reload(self) -> None:
        """Read anew what may change while the server runs: files that have been put aside, and who may write."""
        self.supervision.reloading()
        self.journal.reopen()
        self._reloading = asyncio.get_running_loop().create_task(self.policy.reload(), name="access rules")
        self._reloading.add_done_callback(lambda _: self.supervision.reloaded())

    async def stop(self) -> None:
        """Take no more puts, finish those that have begun, close every link, end every task; within 2 s."""
        await self.supervision.stop()
        await self.puts.close(_PUTS_SECONDS)
        if self.automation is not None:
            await self.automation.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
        self._tasks.clear()
        if self._guests is not None:
            await self._guests.stop()
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait({self._reloading})
        await self.policy.stop()
        await self._server.stop()
        if self.text is not None:
            await self.text.stop()
        with suppress(TimeoutError):
            sent = (remote.close() for remote in self._remotes)
            kept = asyncio.gather(self.state.close(), self.trips.close(), self.journal.close(), *sent)
            await asyncio.wait_for(kept, _DISK_SECONDS)
        for simulator in self.simulators.values():
            await simulator.stop()

    def _clients(self) -> tuple[int, int]:
        """Return how many clients are connected, and the number of their channels."""
        return len(self._server.service.circuits), self._server.service.channel_count

    async def _make_driver(self, settings: DeviceSettings) -> Driver:
        """Return the driver of a device; one that cannot be made does not keep the others from being served."""
        try:
            return FAMILIES[settings.type].make_driver(await self._simulated(settings))
        except Exception as error:
            reason = f"the device cannot be served: {error or type(error).__name__}"
            log.exception("%s: %s", settings.name, reason)
            return Unavailable(settings, reason)

    async def _simulated(self, settings: DeviceSettings) -> DeviceSettings:
        """Start the simulator of a device that is to be simulated, and point its driver there."""
        if not settings.simulated:
            return settings
        simulator = FAMILIES[settings.type].make_simulator(settings, 0)
        await simulator.start()
        self.simulators[settings.name] = simulator
        log.info("%s: simulated at %s", settings.name, simulator.address)
        return replace(settings, address=simulator.address)

    def _spawn(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async def watched() -> None:
            try:
                await work()
            except Exception:
                log.critical("%s: stopped working, the rest goes on", name, exc_info=True)

        self._tasks.append(asyncio.create_task(watched(), name=name))


def _guests(site: Site, policy: Policy, puts: PutPath) -> Guests | None:
    """Return the PVs of the caproto groups of a site, None when it has none. Raises SiteError."""
    if not site.pvgroups:
        return None
    from ioc.pvgroups.load import make_group  # noqa: PLC0415
    from ioc.server.guests import Guests  # noqa: PLC0415  the server of caproto takes long to import

    try:
        return Guests([make_group(one) for one in site.pvgroups], policy, puts.put_group)
    except ValueError as error:
        raise SiteError([str(error)]) from error


Beside = Callable[["App", Path, asyncio.Event], AbstractAsyncContextManager[None]]
"""What goes on beside a server that runs, with its state folder and the event that ends it."""


async def run(site: Site, port: int | None = None, beside: Beside | None = None, force: bool = False) -> None:
    """Serve a site until SIGINT or SIGTERM, as the only server of its PVs and devices unless ``force`` is set.

    Raises OSError or DatabaseError when it can't be started.
    """
    faulthandler.enable()  # the watchdog of systemd ends a server that is stuck with SIGABRT: say where it was
    allow_many_files()
    stop = stop_signal()
    app = App(site, port, folder=state_folder(site))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reload)
    async with sole_master(site, app.network.port, app.network.interfaces, force):
        try:
            await app.start()
            async with beside(app, state_folder(site), stop) if beside is not None else nullcontext():
                await stop.wait()
                log.info("asked to stop")
        finally:
            await app.stop()


def allow_many_files() -> None:
    """Have as many sockets as the system permits, up to ``MOST_FILES``.

    The usual limit of 1024 is a thousand connections away: then no client gets in, and no device that was lost back.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    permitted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < permitted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (permitted, hard))


def stop_signal() -> asyncio.Event:
    """Return an event that the first SIGINT or SIGTERM sets; a second one ends the process as usual."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        event.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, stop)
    return event
