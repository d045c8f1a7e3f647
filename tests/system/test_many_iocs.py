"""A site of 100 devices over ten processes of `labioc run --only`: every PV is there, and none of them twice."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ioc.site.config import SiteError, load_site, only
from ioc.site.expansion import expand
from tests.libca import Context
from tests.softioc import free_port

DEVICES, PROCESSES = 100, 10
ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from ioc.cli import main; raise SystemExit(main())"
DOUBLE_CHANNEL = 306  # ECA_DBLCHNL of caerr.h: the same name on two servers


def write_site(folder: Path) -> Path:
    lines = ['[site]\nprefix = "LAB"', '[server]\ninterfaces = ["127.0.0.1"]']
    lines += [
        f'[[device]]\nname = "HV{number}"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:23"\n'
        "channels = 1\nsimulated = true"
        for number in range(1, DEVICES + 1)
    ]
    path = folder / "site.toml"
    path.write_text("\n\n".join(lines), encoding="ascii")
    return path


def shares() -> list[list[str]]:
    return [[f"HV{number}" for number in range(first, DEVICES + 1, PROCESSES)] for first in range(1, PROCESSES + 1)]


@asynccontextmanager
async def iocs(site: Path, parts: Sequence[Sequence[str]]) -> AsyncIterator[list[int]]:
    """Run one IOC for each part and give their ports; each must end with status 0 on SIGTERM."""
    ports = [free_port() for _ in parts]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", COMMAND, "run", str(site), "--only", ",".join(part), "--port", str(port),
            stderr=asyncio.subprocess.DEVNULL, cwd=ROOT,
        )
        for part, port in zip(parts, ports, strict=True)
    ]  # fmt: skip
    try:
        yield ports
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        statuses = [await asyncio.wait_for(process.wait(), 10) for process in processes]
    assert statuses == [0] * len(parts)


async def test_GIVEN_100_devices_WHEN_ten_processes_share_them_THEN_every_PV_connects_and_none_is_served_twice(
    tmp_path: Path,
) -> None:
    path = write_site(tmp_path)
    site = load_site(path)
    names = [name for part in shares() for name in expand(only(site, part)).records]
    assert len(names) == len(set(names))
    whole = set(expand(replace(site, devices=())).records) | {"LAB:GRP:ALL:GO", "LAB:GRP:ALL:MSG"}
    assert set(expand(site).records) - set(names) == whole

    def connect_all(ports: Sequence[int]) -> None:
        with Context(" ".join(f"127.0.0.1:{port}" for port in ports)) as client:
            channels = client.connect(names, deadline=60)
            servers = {channel.name: channel.host.rpartition(":")[2] for channel in channels}
            for part, port in zip(shares(), ports, strict=True):
                assert {servers[f"LAB:{name}:COMM"] for name in part} == {str(port)}
                assert servers[f"LAB:IOC_{part[0]}:HEARTBEAT"] == str(port)
            comm = [client.channel(f"LAB:HV{number}:COMM") for number in range(1, DEVICES + 1)]
            client.wait_for(
                lambda: all(channel.value() == 1 for channel in comm), 20, lambda: "a device has not been found"
            )
            assert [text for code, text in client.exceptions if code == DOUBLE_CHANNEL] == []

    async with iocs(path, shares()) as ports:
        await asyncio.to_thread(connect_all, ports)


def test_GIVEN_a_site_WHEN_only_names_what_is_not_there_or_twice_THEN_it_is_refused(tmp_path: Path) -> None:
    site = load_site(write_site(tmp_path))
    with pytest.raises(SiteError) as caught:
        only(site, ["HV1", "HV1", "OVEN"])
    assert caught.value.errors == ["--only: there is no device 'OVEN'", "--only: HV1 is named twice"]
