"""What the service manager and the pages show of a server: ready, working, stuck."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ioc.scan.scanner import DeviceScanner
from ioc.services.health import HUNG, STUCK, Health, Traffic
from ioc.services.journal import APPLIED, Entry, Journal
from ioc.services.statistics import IocStatistics
from ioc.services.supervision import ServiceManager, Supervision, address_file
from ioc.site.config import Site, parse_site
from labioc_pages.page import MOST_CLIENTS, Answer, NotRunning, StatusPages, fetch
from tests.fair_time import until
from tests.ioc.fakes import FakeClock, FakeDriver, hv_records, hv_values, settle

SITE = {
    "site": {"prefix": "LAB"},
    "device": [{"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}],
}
WATCHDOG = 20.0


class Manager:
    """A service manager: the socket, and what came."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}

    def received(self) -> list[str]:
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(4096).decode())
        return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.socket.close()


class Rig:
    """A server of one device, on a clock that the test moves."""

    def __init__(self, manager: Manager | None = None, folder: Path | None = None, site: Site | None = None) -> None:
        self.clock = FakeClock()
        self.driver = FakeDriver(self.clock, hv_values())
        self.scanner = DeviceScanner(self.driver, hv_records().values(), self.clock)
        self.statistics = IocStatistics([], self.clock, {})
        self.journal = Journal(self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.health = Health(
            self.clock, {"HV1": self.scanner}, self.statistics, self.journal, self.tasks, lambda: Traffic(2, 30, 400)
        )
        self.site = site or parse_site(SITE)
        self.supervision = Supervision(
            self.site, folder, self.health, self.clock, ServiceManager(manager.environment if manager else {})
        )

    async def start(self) -> None:
        await self.supervision.start()
        for work, name in ((self.scanner.run, "HV1"), (self.supervision.run, "supervision")):
            self.tasks.append(asyncio.create_task(work(), name=name))
        await self.clock.advance(1.0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.supervision.stop()


async def test_GIVEN_a_lost_device_WHEN_the_watchdog_looks_THEN_it_is_fed(manager: Manager) -> None:
    rig = Rig(manager)
    await rig.start()
    assert manager.received()[0] == "READY=1\nSTATUS=serves 1 devices as LAB"
    rig.driver.trouble = ConnectionError("gone")
    fed = 0
    for _ in range(60):
        manager.received()
        await rig.clock.advance(1.0)
        fed += manager.received().count("WATCHDOG=1")
    assert fed == 60
    assert [one.kind for one in rig.health.findings()] == ["problem"]
    await rig.stop()
    assert manager.received() == ["STOPPING=1"]


async def test_GIVEN_a_scan_loop_that_is_stuck_WHEN_the_watchdog_looks_THEN_it_is_not_fed(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(manager)
    await rig.start()
    async with rig.scanner._turns:  # held by another task, and every scan needs it
        for _ in range(int(STUCK) + 2):
            await rig.clock.advance(1.0)
            manager.received()
        await rig.clock.advance(5.0)
        assert [text for text in manager.received() if "WATCHDOG" in text] == []
        assert [one.kind for one in rig.health.findings()] == ["failing"]
        assert sum("had a turn" in message for message in caplog.messages) == 1
        assert "the watchdog restarts the service" in caplog.text
    await rig.clock.advance(3.0)
    assert "WATCHDOG=1" in manager.received()
    await rig.stop()


async def test_GIVEN_a_driver_that_never_comes_back_WHEN_the_watchdog_looks_THEN_it_is_not_fed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(manager)
    await rig.start()
    never = asyncio.Event()
    with monkeypatch.context() as changed:
        changed.setattr(rig.driver, "_work", never.wait)
        for _ in range(int(HUNG) - 5):
            await rig.clock.advance(1.0)
            assert "WATCHDOG=1" in manager.received()
        for _ in range(10):
            await rig.clock.advance(1.0)
        assert [one.text.partition(" for ")[0] for one in rig.health.findings()] == [
            "HV1: its driver has not come back"
        ]
        manager.received()
        await rig.clock.advance(3.0)
        assert "WATCHDOG=1" not in manager.received()
    never.set()
    await rig.clock.advance(3.0)
    assert "WATCHDOG=1" in manager.received()
    await rig.stop()


async def test_GIVEN_a_device_that_is_disabled_or_silent_for_long_WHEN_the_watchdog_looks_THEN_it_is_fed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    await rig.start()
    over = asyncio.Event()
    monkeypatch.setattr(rig.driver, "_work", over.wait)
    for _ in range(int(HUNG) + 20):
        rig.driver.stats.errors += 1  # each exchange of a long batch times out
        await rig.clock.advance(1.0)
    assert rig.health.failing() == []
    over.set()
    await rig.scanner.disable(True)
    await rig.clock.advance(HUNG)
    await rig.clock.advance(20.0)
    assert rig.health.failing() == []
    await rig.stop()


async def test_GIVEN_a_task_of_the_server_WHEN_it_ends_THEN_the_watchdog_is_not_fed(manager: Manager) -> None:
    rig = Rig(manager)
    await rig.start()
    rig.tasks[0].cancel()
    await settle()
    manager.received()
    await rig.clock.advance(3.0)
    assert manager.received() == ["STATUS=HV1: stopped working, see the log"]
    await rig.stop()


def test_without_a_service_manager_nothing_is_sent_and_nobody_watches(tmp_path: Path) -> None:
    for environment in ({}, {"WATCHDOG_USEC": "1000000"}, {"NOTIFY_SOCKET": str(tmp_path / "none")}):
        manager = ServiceManager(environment)
        manager.ready("x")
        manager.works()
        assert manager.watchdog_seconds == 0


def test_a_watchdog_that_is_for_another_process_is_not_fed() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert ServiceManager(environment).watchdog_seconds == 0
    assert ServiceManager(environment | {"WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 5.0
    assert ServiceManager(environment | {"WATCHDOG_USEC": "soon"}).watchdog_seconds == 0


def test_an_abstract_socket_begins_with_a_zero() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"labioc-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(5.0)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).works()
        assert sock.recv(100) == b"WATCHDOG=1"


async def test_the_pages_show_problems_and_only_a_failing_server_is_unavailable(tmp_path: Path) -> None:
    rig = Rig(folder=tmp_path)
    file = address_file(rig.site, tmp_path)
    await rig.start()

    async def page(path: str) -> tuple[int, str]:
        status, body = await asyncio.to_thread(fetch, file, path, "IOC")
        return status, body.decode()

    assert await page("/healthz") == (200, "ok\n")
    rig.driver.trouble = ConnectionError("gone")
    rig.statistics.armed = False
    await rig.clock.advance(3.0)
    status, text = await page("/healthz")
    assert status == 200
    assert [line.split()[0] for line in text.splitlines()] == ["problem", "note"]
    assert "problem HV1: not connected: " in text
    await rig.scanner.disable(True)
    assert [one["kind"] for one in json.loads((await page("/status"))[1])] == ["note", "note"]
    rig.tasks[0].cancel()
    await settle()
    assert (await page("/healthz"))[0] == 503
    await rig.stop()
    with pytest.raises(NotRunning):
        await page("/healthz")


async def test_the_metrics_have_the_numbers_of_server_and_devices(tmp_path: Path) -> None:
    rig = Rig(folder=tmp_path)
    await rig.start()
    rig.statistics.lag = 250.0
    rig.journal.note(Entry(0.0, "LAB:X", "anna", "desk1", "127.0.0.1", "0", "1", outcome=APPLIED))
    rig.journal.note(Entry(0.0, "LAB:X", "anna", "desk1", "127.0.0.1", "0", "1"))
    lines = rig.health.metrics().splitlines()
    await rig.stop()
    for line in (
        "labioc_ioc_clients 2", "labioc_ioc_channels 30", "labioc_ioc_events_total 400",
        "labioc_ioc_loop_lag_seconds 0.25", "labioc_ioc_failing 0", "labioc_ioc_armed 1",
        'labioc_ioc_puts_total{outcome="applied"} 1', 'labioc_ioc_puts_total{outcome="refused"} 1',
        'labioc_ioc_puts_total{outcome="unknown"} 0', "labioc_ioc_journal_writable 1",
        'labioc_ioc_device_up{device="HV1"} 1.0', 'labioc_ioc_scans_late_total{device="HV1"} 0.0',
    ):  # fmt: skip
        assert line in lines
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


async def test_GIVEN_a_port_that_is_taken_WHEN_started_THEN_another_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        site = parse_site(SITE)
        listen = ("127.0.0.1", other.getsockname()[1])
        rig = Rig(folder=tmp_path, site=replace(site, server=replace(site.server, status=listen)))
        await rig.start()
        assert rig.supervision.address not in (None, listen)
        assert "Address already in use" in caplog.text or "address already in use" in caplog.text
        await rig.stop()


async def test_GIVEN_clients_that_send_nothing_WHEN_there_are_too_many_THEN_further_ones_are_closed(
    tmp_path: Path,
) -> None:
    rig = Rig(folder=tmp_path)
    await rig.start()
    assert rig.supervision.address is not None
    clients = [await asyncio.open_connection(*rig.supervision.address) for _ in range(MOST_CLIENTS + 1)]
    assert await clients[-1][0].read() == b""
    await rig.stop()
    for _, writer in clients:
        writer.close()


async def test_GIVEN_a_client_that_does_not_read_WHEN_its_time_is_over_THEN_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labioc_pages.page._REQUEST_SECONDS", 0.2)
    pages = StatusPages({"/": lambda: Answer("text/plain", "x" * 30_000_000)}, tmp_path / "address")
    await pages.start("127.0.0.1", 0)
    with socket.create_connection(pages.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: len(pages._clients) == 1, 5.0)
        await until(lambda: not pages._clients, 5.0)
    await pages.stop()


def test_an_empty_address_serves_no_pages(tmp_path: Path) -> None:
    site = parse_site(SITE | {"server": {"status": ""}})
    assert site.server.status is None
    assert Rig(folder=tmp_path, site=site).supervision.address is None
