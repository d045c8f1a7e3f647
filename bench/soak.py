"""A server for a long time, with a fault every 20 s: what grows, what is not given back, what goes wrong.

``labioc run`` serves a CAEN supply, an Iseg module and a furnace controller, each behind its own simulated transport,
to three clients. Every 20 s one of the faults of a wire, of a client or of the network is made; between two of them
memory, descriptors, threads and tasks are noted. A fault is over when ``labioc health`` has no problem any more.

Run: python -m bench.soak [--minutes 60] [--every 20] [--seed 1]     (as root it is no different)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from bench.faults import FAMILIES, Fault
from bench.served import ROOT, Served, write_site
from ioc.site.config import load_site
from tests.libca import Context

STEP = 0.002  # of memory: a rise between two faults that is shown with the fault
WARM = 600.0  # s after which memory counts
RECOVERY = 40.0  # s that everything may take to be well again
CLIENTS = 3


@dataclass
class Sample:
    """The server at one moment, ``at`` seconds after the start; memory in kB."""

    at: float
    memory: int
    descriptors: int
    threads: int
    tasks: int
    fault: str  # the last one before it


@dataclass
class Soak(Served):
    """A running server with its clients and all that is done to it."""

    faults: list[Fault] = field(default_factory=list)
    clients: list[asyncio.subprocess.Process] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    made: Counter[str] = field(default_factory=Counter)
    slow: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    last: str = "start"  # fault

    async def start(self) -> None:
        await super().start()
        await self.well("start")
        for _ in range(CLIENTS):
            self.clients.append(await self.client())

    async def client(self) -> asyncio.subprocess.Process:
        """Start a process that monitors every PV."""
        words = [sys.executable, "-m", "bench.soak", "--client", str(self.site), str(self.port)]
        return await asyncio.create_subprocess_exec(*words, cwd=ROOT)

    async def stop(self) -> None:
        for process in self.clients:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                await process.wait()
        await super().stop()

    async def well(self, what: str) -> None:
        """Wait until the server has no problem, and note how long that took."""
        try:
            self.recoveries.append(await self.until("ok", RECOVERY))
        except TimeoutError:
            self.slow.append(what)

    async def sample(self, at: float) -> None:
        tasks = int(await self.metric("tasks"))
        self.samples.append(Sample(at, self.memory(), self.descriptors(), self.threads(), tasks, self.last))

    async def fault(self, one: Fault) -> None:
        """Make a fault, and wait until it is over."""
        self.made[one.name] += 1
        self.last = one.name
        await _act(one.begin)
        await asyncio.sleep(one.hold)
        await _act(one.end)
        await self.well(one.name)

    # ---- faults of clients and of the network

    def own_faults(self) -> list[Fault]:
        async def reconnect() -> None:
            for _ in range(300):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                await reader.read(16)
                writer.close()

        async def nonsense() -> None:
            for size in (1, 15, 16, 17, 4000):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(os.urandom(size))
                await asyncio.sleep(0.05)
                writer.transport.abort()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for _ in range(1000):
                    sock.sendto(os.urandom(random.randrange(200)), ("127.0.0.1", self.port))

        def searches() -> None:
            name = b"LAB:NO:SUCH\0\0\0\0\0"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for number in range(5000):
                    head = struct.pack(">HHHHII", 6, len(name), 5, 13, number, number)
                    sock.sendto(head + name, ("127.0.0.1", self.port))

        async def kill_client() -> None:
            self.clients[0].kill()
            await self.clients[0].wait()
            self.clients[0] = await self.client()

        def hang_up() -> None:
            assert self.process is not None
            self.process.send_signal(signal.SIGHUP)

        async def pages() -> None:
            for _ in range(100):
                await asyncio.to_thread(self.page, "/metrics")

        stopped = self.clients[1]
        return [
            Fault("300 connections one after the other", reconnect, hold=0.0),
            Fault("random bytes to the ports of Channel Access", nonsense, hold=0.0),
            Fault("5000 searches for what is not there", searches, hold=0.0),
            Fault("a client killed", kill_client, hold=0.0),
            Fault("a client stopped for 15 s", lambda: stopped.send_signal(signal.SIGSTOP),
                  lambda: stopped.send_signal(signal.SIGCONT), hold=15.0),
            Fault("500 puts, most refused", lambda: asyncio.to_thread(_put_storm, self.port), hold=0.0),
            Fault("SIGHUP", hang_up, hold=0.0),
            Fault("100 metrics", pages, hold=0.0),
        ]  # fmt: skip


async def _act(action: Callable[[], Awaitable[Any] | None]) -> None:
    waiting = action()
    if waiting is not None:
        await waiting


def _put_storm(port: int) -> None:
    """Put to a setting, within its limits and beyond, as a client of its own."""
    with Context(f"127.0.0.1:{port}") as context:
        setting, reading = context.connect(["LAB:HV1:CH00:VSET", "LAB:HV1:CH00:VMON"], 20.0)
        for number in range(500):
            setting.put(900.0 + number % 2 if number % 100 == 0 else 1e6)
        reading.value()


def monitor(site: str, port: str) -> None:
    """Be a client: monitor every PV of a site until ended."""
    from ioc.site.expansion import expand  # noqa: PLC0415

    with Context(f"127.0.0.1:{port}") as context:
        subscriptions = [channel.monitor() for channel in context.connect(list(expand(load_site(site)).records), 60.0)]
        while True:
            time.sleep(1.0)
            for subscription in subscriptions:
                subscription.events.clear()


@asynccontextmanager
async def soaking(folder: Path) -> AsyncIterator[Soak]:
    """Run the server, its devices and its clients."""
    async with AsyncExitStack() as stack:
        devices, adapters, faults = [], {}, []
        for family, place in FAMILIES.items():
            wire = await stack.enter_async_context(resolve_name(place)(None))
            (device,) = wire.site["device"]
            name = {"caen": "HV1", "iseg": "ISEG1", "eurotherm": "FURN1"}[family]
            devices.append({**device, "name": name})
            adapters |= wire.site.get("can", {})
            faults += [Fault(f"{family}: {one.name}", one.begin, one.end, one.hold) for one in wire.faults]
        site = write_site(folder, can=adapters, device=devices)
        soak = Soak(site, folder / "log", faults=faults)
        try:
            await soak.start()
            soak.faults += soak.own_faults()
            yield soak
        finally:
            await soak.stop()


async def run(minutes: float, every: float, seed: int) -> None:
    random.seed(seed)
    with tempfile.TemporaryDirectory(prefix="labioc-soak-") as name:
        async with soaking(Path(name)) as soak:
            begun = time.monotonic()
            order: list[Fault] = []
            number = 0
            while (now := time.monotonic() - begun) < minutes * 60:
                await soak.sample(now)
                order = order or random.sample(soak.faults, len(soak.faults))
                await soak.fault(order.pop())
                number += 1
                await asyncio.sleep(max(1.0, begun + number * every - time.monotonic()))
            await soak.sample(time.monotonic() - begun)
            await soak.stop()
            report(soak, every)


def report(soak: Soak, every: float) -> None:
    """Print what is to be known."""
    last = soak.samples[-1]
    warm = [one for one in soak.samples if one.at >= min(WARM, last.at / 2)]
    print(f"{last.at / 60:.1f} min, {sum(soak.made.values())} faults of {len(soak.made)} kinds, one every {every:g} s")
    slope = _slope(warm)
    print(f"memory: {warm[0].memory} kB after {warm[0].at / 60:.1f} min, {warm[-1].memory} kB at the end, line through"
          f" all samples {slope * 3600:+.0f} kB/h = {slope * 3600 / warm[0].memory:+.2%} per hour")  # fmt: skip
    for before, after in pairwise(warm):
        if after.memory - before.memory > STEP * before.memory:
            print(f"  {after.memory - before.memory:+d} kB at {after.at / 60:.1f} min, after: {after.fault}")
    for what in ("descriptors", "threads", "tasks"):
        seen = [getattr(one, what) for one in warm]
        half = len(seen) // 2
        print(f"{what}: {min(seen)} to {max(seen)}, median {statistics.median(seen[:half])} in the first half,"
              f" {statistics.median(seen[half:])} in the second")  # fmt: skip
    print(f"well again after {statistics.median(soak.recoveries):.1f} s (median), {max(soak.recoveries):.1f} s at most;"
          f" not within {RECOVERY:g} s: {soak.slow or 'none'}")  # fmt: skip
    lines, bad = soak.lines(), soak.unhandled()
    print(f"log: {len(lines)} lines, {sum(line['level'] == 'ERROR' for line in lines)} errors, unhandled: {len(bad)}")
    for line in bad[:10]:
        print(json.dumps(line))


def _slope(samples: list[Sample]) -> float:
    """Return the slope of memory in kB/s, by least squares."""
    at, memory = [one.at for one in samples], [float(one.memory) for one in samples]
    return statistics.linear_regression(at, memory).slope if len(samples) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="A server for a long time, with a fault every so many seconds.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=20.0, help="seconds from one fault to the next")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", nargs=2, metavar=("SITE", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        monitor(*options.client)
    else:
        asyncio.run(run(options.minutes, options.every, options.seed))


if __name__ == "__main__":
    main()
