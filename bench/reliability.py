"""Faults of devices, clients, disk, clock and network: what a whole server does about them, in figures.

Each scenario runs ``labioc run`` as a process, unless it needs a clock of its own, makes its fault and returns figures;
a promise that is not kept is an AssertionError. What comes of it stands in docs/reference/reliability.md.

Run: python -m bench.reliability [NAME ...]     ``disk_full``, ``disk_read_only`` and ``address_lost`` need root
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.reliability_host import address_lost, archive_disk, disk_full, disk_read_only
from bench.served import SUPPLY, Served, perform, served, until, write_site
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from devices.registry import FAMILIES
from ioc.app import App
from ioc.records import Record
from ioc.site.config import load_site, parse_site
from ioc.site.expansion import expand
from tests.libca import Context
from tests.raw_ca import CREATE_CHAN, EVENT_ADD, RawCircuit, event_mask
from tests.raw_ca import Message as CaMessage

INVALID = 3
EPICS_EPOCH = 631_152_000  # 1990 in Unix seconds
DBR_TIME_DOUBLE = 20


# ---- devices


async def all_off(folder: Path) -> str:
    """No device is there when the server starts: one refuses connections, one is silent, one is no port at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        devices = [
            {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1"},
            {"name": "HV2", "type": "caen-dt55xx", "address": f"tcp://127.0.0.1:{silent.getsockname()[1]}"},
            {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyNONE"},
        ]
        names = _of_devices(write_site(folder, device=devices))
        begun = time.monotonic()
        async with served(folder, device=devices) as server:

            def client() -> int:
                with Context(f"127.0.0.1:{server.port}") as context:
                    channels = context.connect(names, 20.0)
                    replies = context.get_many([(channel, channel.field_type + 14, 0) for channel in channels])
                pairs = zip(names, replies, strict=True)
                valid = [name for name, reply in pairs if reply.decoded.severity != INVALID]
                assert not valid, valid
                return len(names)

            # A client that searches before there is a server waits ever longer from one search to the next.
            await asyncio.wait_for(server.answers(), 30.0)
            count = await asyncio.to_thread(client)
            took = time.monotonic() - begun
            waited = server.waited()
            assert took - waited <= 5.0, (took, waited)
            return (
                f"{count} PVs of three devices are served INVALID {took - waited:.1f} s after the command was given"
                f" (and {waited:.1f} s for which other programs had the processor)"
            )


def _of_devices(path: Path) -> list[str]:
    """Return the PVs whose values devices have to give, without commands."""
    site = load_site(path)
    signals = {one.name: FAMILIES[one.type].make_driver(one).signals() for one in site.devices}
    found = []
    for name, record in expand(site).records.items():
        device, _, signal = (record.fields.get("INP") or record.fields.get("OUT", "")).removeprefix("@").partition(" ")
        if signal in signals.get(device, ()) and not signal.endswith("CMD"):
            found.append(name)
    return found


async def slow_answers(folder: Path, timeout: float = 1.0, seconds: float = 30.0) -> str:
    """Every answer takes nine tenths of the time-out."""
    async with simulated_supply(CaenModel()) as supply:
        device = {"name": "HV1", "type": "caen-dt55xx", "address": supply.address, "timeout": timeout}
        async with served(folder, device=[device]) as server:
            await server.until("ok", 20.0)
            supply.faults.delay = 0.9 * timeout
            oldest, end = 0.0, time.monotonic() + seconds
            while time.monotonic() < end:
                oldest = max(oldest, await server.metric('device_age_seconds{device="HV1"}'))
                await asyncio.sleep(0.05)
            losses = await server.metric('device_losses_total{device="HV1"}')
            scan = await server.metric('scan_seconds{device="HV1"}')
            assert losses == 0
            assert await server.health() == "ok\n"
            return f"not lost in {seconds:g} s; a scan takes {scan:.1f} s, the oldest reading was {oldest:.1f} s old"


async def scan_raises(_: Path, seconds: float = 10.0) -> str:
    """The driver of one of two devices raises what no driver should, at every scan."""
    devices = [SUPPLY, SUPPLY | {"name": "HV2"}]
    app = App(parse_site({"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"]}, "device": devices}), 0)
    await app.start()
    try:
        assert await app.wait_until_read(10.0)

        async def read(_: object) -> Any:
            raise RuntimeError("a mistake of a driver")

        app.scanners["HV1"].driver.read = read  # type: ignore[method-assign]
        bad, good = app.records["LAB:HV1:CH00:VMON"], app.records["LAB:HV2:CH00:VMON"]
        took = await until(lambda: bad.sevr == INVALID, 5.0, "INVALID")
        gap = await _longest_gap(good, seconds)
        assert (good.sevr, app.supervision._health.failing()) == (0, [])
        assert gap < 2.0, gap
        return f"its PVs are INVALID after {took:.1f} s; the longest gap of the other one was {gap:.2f} s"
    finally:
        await app.stop()


_CLOCK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static const volatile long *offset;
__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    offset = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && offset != MAP_FAILED) now->tv_sec += *offset;
    return result;
}
"""
"""A library that sets the clock of one process off, by the seconds in a file; needs a C compiler."""


async def clock_step(folder: Path, seconds: float = 5.0) -> str:
    """The clock of the computer is set an hour forward, then two hours back."""
    source, library, offset = folder / "clock.c", folder / "clock.so", folder / "offset"
    source.write_text(_CLOCK)
    await asyncio.to_thread(perform, "cc", "-shared", "-fPIC", "-o", str(library), str(source))
    offset.write_bytes(struct.pack("l", 0))
    server = Served(write_site(folder, device=[SUPPLY]), folder / "log")
    server.before = ("env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET={offset}")
    await server.start()
    try:
        await server.until("ok", 20.0)

        gaps = [await asyncio.to_thread(_after_step, server.port, offset, step, seconds) for step in (3600, -3600)]
        assert await server.health() == "ok\n"
        assert not server.unhandled(), server.unhandled()
        return f"scans go on, the longest gap was {max(gaps):.2f} s; stamps follow the clock, no PV alarms"
    finally:
        await server.stop()


def _after_step(port: int, offset: Path, step: int, seconds: float) -> float:
    """Set the clock of a server off, and return the longest gap between two readings of a channel afterwards."""
    with Context(f"127.0.0.1:{port}") as context:
        reading, beat = context.connect(["LAB:HV1:CH00:VMON", "LAB:IOC:HEARTBEAT"], 10.0)
        with offset.open("r+b", buffering=0) as file:
            file.write(struct.pack("l", step))
        longest, begun = 0.0, time.monotonic()
        first, seen, last = beat.value(), 0.0, begun
        while (now := time.monotonic()) - begun < seconds:
            reply = reading.get(DBR_TIME_DOUBLE).decoded
            assert reply.severity == 0, reply
            if reply.stamp != seen:
                seen, last = reply.stamp, now
            longest = max(longest, now - last)
            time.sleep(0.01)
        assert abs(seen - time.time() - step) < 3.0, "the stamp is not that of the clock"
        assert abs(beat.value() - first - seconds) <= 2, "the heartbeat has not its rate"
        return longest


async def _longest_gap(record: Record, seconds: float) -> float:
    """Return the longest time without a new reading."""
    longest, last = 0.0, time.monotonic()
    seen, end = (record.seconds, record.nanoseconds), time.monotonic() + seconds
    while time.monotonic() < end:
        if (now := (record.seconds, record.nanoseconds)) != seen:
            seen, last = now, time.monotonic()
        longest = max(longest, time.monotonic() - last)
        await asyncio.sleep(0.01)
    return longest


# ---- clients


async def many_clients(folder: Path, clients: int = 50, seconds: float = 20.0) -> str:
    """So many clients monitor every PV; one of them reads nothing any more."""
    async with served(folder, device=[SUPPLY | {"period": 0.1}]) as server:
        await server.until("ok", 20.0)
        names = list(expand(load_site(server.site)).records)
        watching = [await asyncio.to_thread(_Watching, server.port, names) for _ in range(clients)]
        counters = [asyncio.create_task(one.count()) for one in watching[1:]]
        await asyncio.sleep(1.0)
        before, memory, sent = [one.bytes for one in watching], server.memory(), await server.metric("events_total")
        lag, end = 0.0, time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            lag = max(lag, await server.metric("loop_lag_seconds"))
        rates = [(one.bytes - old) / seconds for one, old in zip(watching, before, strict=True)][1:]
        grown, events = server.memory() - memory, await server.metric("events_total") - sent
        for task in counters:
            task.cancel()
        await asyncio.gather(*counters, return_exceptions=True)
        for one in watching:
            one.circuit.__exit__()
        assert min(rates) > 0.9 * max(rates), rates
        assert grown < 30_000, grown
        return (
            f"{events / seconds:.0f} events/s in all; the {clients - 1} others get the same to"
            f" {1 - min(rates) / max(rates):.1%}, memory {grown:+d} kB, longest pause {lag * 1e3:.0f} ms"
        )


class _Watching:
    """A client that monitors PVs, and counts the bytes that it gets."""

    def __init__(self, port: int, names: list[str]) -> None:
        self.bytes = 0
        self.circuit = RawCircuit(port)
        for cid, name in enumerate(names):
            self.circuit.send(CaMessage(CREATE_CHAN, parameter1=cid, parameter2=13, payload=name.encode() + b"\0"))
        left = len(names)

        def created(message: CaMessage) -> bool:
            nonlocal left
            if message.command == CREATE_CHAN:
                left -= 1
                event = CaMessage(EVENT_ADD, DBR_TIME_DOUBLE, 1, message.parameter2, message.parameter1, event_mask(5))
                self.circuit.send(event)
            return not left

        self.circuit.until(created, 20.0)

    async def count(self) -> None:
        sock = self.circuit._socket
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, 1 << 16):
            self.bytes += len(data)


async def thousand_connections(folder: Path, number: int = 1000) -> str:
    """So many clients connect, make channels and monitors, and leave, every other one in the middle of a message."""
    async with served(folder, device=[SUPPLY]) as server:
        await server.until("ok", 20.0)
        names = [f"LAB:HV1:CH0{channel}:VMON" for channel in range(4)]

        def visit(count: int) -> None:
            for turn in range(count):
                one = _Watching(server.port, names)
                if turn % 2:
                    one.circuit.send(b"\0\x01\0")
                one.circuit.__exit__()

        await asyncio.to_thread(visit, 50)
        await asyncio.sleep(1.0)
        before = server.memory(), server.descriptors(), await server.metric("tasks")
        begun = time.monotonic()
        await asyncio.to_thread(visit, number)
        took = time.monotonic() - begun
        deadline = time.monotonic() + 5.0
        while await server.metric("clients") and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        after = server.memory(), server.descriptors(), await server.metric("tasks")
        assert await server.metric("clients") == 0
        assert abs(after[1] - before[1]) <= 2, (before, after)
        assert after[2] == before[2], (before, after)
        return (
            f"{number / took:.0f} a second; descriptors {before[1]} before and {after[1]} after, tasks {before[2]:.0f}"
            f" and {after[2]:.0f}, memory {after[0] - before[0]:+d} kB"
        )


SCENARIOS: tuple[Callable[[Path], Awaitable[str]], ...] = (
    all_off, slow_answers, scan_raises, clock_step, many_clients, thousand_connections, disk_full,
    disk_read_only, archive_disk, address_lost,
)  # fmt: skip


async def run(names: list[str]) -> int:
    failed = 0
    for scenario in SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="labioc-") as folder:
            try:
                found = await scenario(Path(folder))
            except Exception as error:
                failed += 1
                found = f"FAILED: {type(error).__name__}: {error}"
        print(f"| {scenario.__name__} | {found} |", flush=True)
    return 1 if failed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults, and what a server does about them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(one.__name__ for one in SCENARIOS))
    sys.exit(asyncio.run(run(parser.parse_args().names)))


if __name__ == "__main__":
    main()
