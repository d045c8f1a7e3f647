"""Faults of disk and network, for ``bench.reliability``: file systems and hosts of their own, which need root."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from archiver.status import fetch_status
from bench.served import COMMAND, ROOT, SUPPLY, Served, output_of, perform, served, until, write_site
from ioc.services.journal import journal_files, stored
from ioc.site.config import load_site
from tests.libca import Context

# ---- disk


@contextmanager
def small_disk(folder: Path, kilobytes: int = 1024) -> Iterator[Path]:
    """Give a file system of its own, in memory."""
    place = folder / "disk"
    place.mkdir()
    perform("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place))
    try:
        yield place
    finally:
        perform("umount", "-l", str(place))


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Leave no room on a file system."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Have a file system take no writes; it stands read-only in front of itself, because files are open on it."""
    perform("mount", "--bind", str(place), str(place))
    perform("mount", "-o", "remount,bind,ro", str(place))
    try:
        yield
    finally:
        perform("umount", "-l", str(place))


async def disk_full(folder: Path) -> str:
    """The disk with journal and state is full, then has room again."""
    return await _disk(folder, full)


async def disk_read_only(folder: Path) -> str:
    """The same disk is read-only, as a file system with errors becomes, then can be written again."""
    return await _disk(folder, read_only)


async def _disk(folder: Path, broken: Callable[[Path], Any]) -> str:
    """Have puts made and a limit tuned while the disk takes nothing; afterwards all of it must be there."""
    with small_disk(folder) as place:
        async with served(folder, place / "state", device=[SUPPLY]) as server:
            await server.until("ok", 20.0)

            def puts(first: int) -> float:
                begun = time.monotonic()
                with Context(f"127.0.0.1:{server.port}") as context:
                    setting, limit = context.connect(["LAB:HV1:CH00:VSET", "LAB:HV1:CH00:VMON.HIGH"], 10.0)
                    for number in range(first, first + 20):
                        assert setting.put_callback(float(number)) == 1
                    assert limit.put_callback(1000.0 + first) == 1
                return (time.monotonic() - begun) / 21

            def kept() -> list[str]:
                return [one.new for one in stored(journal_files(load_site(server.site), place / "state")[0])]

            expected = [str(number) for start in (100, 200) for number in (*range(start, start + 20), 1000 + start)]
            usual = await asyncio.to_thread(puts, 100)
            await until(lambda: kept() == expected[:21], 5.0, "the puts in the journal")
            with broken(place):
                slow = await asyncio.to_thread(puts, 200)
                noticed = await server.until("the journal of puts cannot be written", 5.0)
            again = await server.until("ok", 10.0)
            await until(lambda: kept() == expected, 5.0, "all puts in the journal")
        assert kept() == expected, "a put is in the journal twice"
        tuned = await asyncio.to_thread(output_of, *COMMAND, "tuned", str(server.site))
        assert "1200" in tuned, tuned
        return (
            f"puts go on, {slow * 1e3:.0f} ms each (before: {usual * 1e3:.0f}); shown after {noticed:.1f} s; well again"
            f" {again:.1f} s after the disk is, with all 42 puts in the journal once and the tuned limit kept"
        )


async def archive_disk(folder: Path) -> str:
    """The disk with the log of the archiver is full for 10 s, while no database answers."""
    with small_disk(folder, 4096) as place:
        influxdb = [{"url": "http://127.0.0.1:1", "version": 1, "database": "lab"}]
        async with served(folder, device=[SUPPLY]) as server:
            await server.until("ok", 20.0)
            archiver = {"directory": str(place / "archive"), "archive_http": "", "influxdb": influxdb}
            site = write_site(folder, device=[SUPPLY], archiver=archiver)
            process = await asyncio.create_subprocess_exec(
                *COMMAND, "archive", str(site), cwd=ROOT, stderr=subprocess.DEVNULL,
                env=os.environ | {"EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_ADDR_LIST": f"127.0.0.1:{server.port}"},
            )  # fmt: skip
            log = place / "archive"

            def status() -> dict[str, Any]:
                try:
                    return fetch_status(log)
                except Exception:
                    return {}

            try:
                await until(lambda: status().get("points", 0) > 100, 30.0, "points")
                with full(place):
                    shown = await until(lambda: bool(status().get("log_error")), 20.0, "the error")
                    await asyncio.sleep(10.0)
                again = await until(lambda: not status().get("log_error"), 20.0, "the end of the error")
                found = status()
                return (
                    f"shown after {shown:.1f} s, written again {again:.1f} s after there is room,"
                    f" {found['lost']} points lost"
                )
            finally:
                process.terminate()
                await process.wait()


# ---- network


_MONITOR = """
import sys, time
from tests.libca import Context
with Context(sys.argv[1]) as context:
    beat = context.channel("LAB:IOC:HEARTBEAT", 30.0)
    subscription = beat.monitor()
    seen = 0
    while True:
        time.sleep(0.02)
        if len(subscription.events) > seen:
            seen = len(subscription.events)
            print(time.monotonic(), flush=True)
"""


async def address_lost(folder: Path, seconds: float = 10.0) -> str:
    """The interface of the server goes down and comes up again; then its address is taken away and given back."""
    with ExitStack() as stack:
        hosts = [f"labioc-{os.getpid()}-{number}" for number in range(2)]
        for name in hosts:
            perform("ip", "netns", "add", name)
            stack.callback(perform, "ip", "netns", "del", name)
            perform("ip", "-n", name, "link", "set", "lo", "up")
        perform("ip", "-n", hosts[0], "link", "add", "lab0", "type", "veth", "peer", "name", "lab0", "netns", hosts[1])
        for number, name in enumerate(hosts, 1):
            perform("ip", "-n", name, "address", "add", f"10.232.1.{number}/24", "broadcast", "+", "dev", "lab0")
            perform("ip", "-n", name, "link", "set", "lab0", "up")
        site = write_site(folder, device=[SUPPLY], server={"state_dir": str(folder / "state")})
        inside = [("ip", "netns", "exec", name, "env", *(f"-u{key}" for key in os.environ if key.startswith("EPICS_")))
                  for name in hosts]  # fmt: skip
        server = Served(site, folder / "log", before=inside[0])
        await server.start()
        client: asyncio.subprocess.Process | None = None
        try:
            words = [*inside[1], sys.executable, "-c", _MONITOR, f"10.232.1.1:{server.port}"]
            client = await asyncio.create_subprocess_exec(
                *words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert client.stdout is not None
            beats: list[float] = []

            async def receive(stream: asyncio.StreamReader) -> None:
                async for line in stream:
                    beats.append(float(line))

            receiving = asyncio.create_task(receive(client.stdout))
            await until(lambda: len(beats) > 1, 40.0, "the heartbeat")
            figures = []
            for lose, give in (
                (("link", "set", "lab0", "down"), ("link", "set", "lab0", "up")),
                (("address", "del", "10.232.1.1/24", "dev", "lab0"),
                 ("address", "add", "10.232.1.1/24", "broadcast", "+", "dev", "lab0")),
            ):  # fmt: skip
                perform("ip", "-n", hosts[0], *lose)
                await asyncio.sleep(seconds)
                perform("ip", "-n", hosts[0], *give)
                count = len(beats)
                figures.append(await until(lambda count=count: len(beats) > count, 40.0, "the heartbeat"))  # type: ignore[misc]
            receiving.cancel()
            assert not server.unhandled(), server.unhandled()
            return (
                f"events arrive {figures[0]:.1f} s after the interface is up again, {figures[1]:.1f} s after the"
                f" address is back ({seconds:g} s each without)"
            )
        finally:
            if client is not None:
                with suppress(ProcessLookupError):
                    client.kill()
                await client.wait()
            await server.stop()
