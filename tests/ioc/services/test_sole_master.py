"""A second server of the same PVs or devices is refused, with the address of the first."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from ioc.services import sole_master as module
from ioc.services.sole_master import sole_master
from ioc.site.config import Site, only, parse_site
from tests.ioc.app_rig import running
from tests.softioc import free_port

LOOPBACK = ("127.0.0.1",)
HV = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://192.0.2.1:23"}
FURNACE = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyS9?baudrate=9600"}
ISEG = {"name": "ISEG1", "type": "iseg-edcp", "can": "main", "module": 3}


def site(*devices: dict[str, Any], prefix: str = "LAB", **adapter: str) -> Site:
    can = {"main": {"interface": "socketcan", "channel": "can0"} | adapter}
    return parse_site({"site": {"prefix": prefix}, "can": can, "device": list(devices or (HV,))})


@pytest.fixture(autouse=True)
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no longer than needed where no server is to answer."""
    monkeypatch.setattr(module, "SEARCH_SECONDS", 0.05)


async def refused(second: Site, port: int, *parts: str) -> None:
    """See that a second server cannot start, and that the reasons hold these parts, one each."""
    with pytest.raises(OSError, match="--force starts this one all the same") as caught:
        async with sole_master(second, port, LOOPBACK):
            pass
    reasons = str(caught.value).splitlines()[1:]
    assert len(reasons) == len(parts)
    for reason, part in zip(reasons, parts, strict=True):
        assert part in reason


async def accepted(second: Site, port: int = 0) -> None:
    async with sole_master(second, port, LOOPBACK):
        pass


async def test_the_PVs_belong_to_one_server_of_a_port_and_are_free_when_it_ends() -> None:
    port = free_port()
    own = f"held by process {os.getpid()} of {getpass.getuser()} ("
    simulated = HV | {"simulated": True}
    async with sole_master(site(simulated), port, LOOPBACK):
        await refused(site(simulated), port, f"LAB:IOC:... (port {port}): {own}", f"LAB:HV1:... (port {port}): {own}")
        await refused(only(site(simulated, FURNACE), ["HV1"]), port, "LAB:HV1:...")
        await accepted(only(site(simulated, FURNACE), ["FURN1"]), port)
        await accepted(site(simulated, prefix="OTHER"), port)
        await accepted(site(simulated))  # at a port that no other server knows
    await accepted(site(simulated), port)


async def test_a_device_belongs_to_one_server_whatever_its_names() -> None:
    async with sole_master(site(HV, FURNACE, ISEG), 0, LOOPBACK):
        await refused(site(HV, prefix="B"), 0, "tcp://192.0.2.1:23: held by process")
        await refused(site(FURNACE | {"unit": 5}, prefix="B"), 0, "serial:///dev/ttyS9: held by process")
        await refused(site(ISEG, prefix="B"), 0, "module 3 at socketcan can0: held by process")
        await accepted(site(ISEG | {"module": 4}, prefix="B"))
        await accepted(site(ISEG, prefix="B", channel="can1"))
        await accepted(site(HV | {"address": "tcp://192.0.2.2:23"}, prefix="B"))


async def test_a_device_behind_a_port_of_this_computer_belongs_to_one_server_too() -> None:
    device = HV | {"address": f"tcp://127.0.0.1:{free_port()}"}  # a tunnel, or a server of serial ports
    async with sole_master(site(device), 0, LOOPBACK):
        await refused(site(device, prefix="B"), 0, f"{device['address']}: held by process")


async def test_what_a_server_simulates_is_in_no_other_ones_way() -> None:
    device = HV | {"simulated": True}
    async with sole_master(site(device), 0, LOOPBACK):
        await accepted(site(device, prefix="B"))
    async with sole_master(site(ISEG, interface="virtual"), 0, LOOPBACK):
        await accepted(site(ISEG, prefix="B", interface="virtual"))


async def test_force_starts_all_the_same_and_logs_who_is_there(caplog: pytest.LogCaptureFixture) -> None:
    async with sole_master(site(), 0, LOOPBACK), sole_master(site(), 0, LOOPBACK, force=True):
        assert "started by force: tcp://192.0.2.1:23: held by process" in caplog.text


async def test_a_server_that_answers_a_search_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as app:
        monkeypatch.setattr(module, "SEARCH_SECONDS", 5.0)
        port = app.search_port
        who = f"served by 127.0.0.1:{app.tcp_port} (on {socket.gethostname()} process {os.getpid()})"
        await refused(site(), port, f"LAB:IOC:HEARTBEAT: {who}", f"LAB:HV1:COMM: {who}")
        monkeypatch.setattr(module, "SEARCH_SECONDS", 0.1)
        await accepted(site(HV | {"name": "HV2"}, prefix="B"), port)


async def test_a_bad_environment_of_clients_does_not_keep_a_server_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EPICS_CA_CONN_TMO", "soon")
    await accepted(site(), free_port())
    assert "other servers could not be asked for these PVs: EPICS_CA_CONN_TMO" in caplog.text


async def test_labioc_run_ends_with_the_reasons(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    keys = "\n".join(f'{key} = "{value}"' for key, value in HV.items())
    path.write_text(f'[site]\nprefix = "LAB"\n[[device]]\n{keys}\n')
    command = "import sys; from ioc.cli import main; sys.exit(main())"
    async with sole_master(site(), 0, LOOPBACK):
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-c", command, "run", str(path), "--port", "0", stderr=asyncio.subprocess.PIPE
        )
        _, errors = await second.communicate()
    assert second.returncode == 1
    first, reason = errors.decode().splitlines()
    assert first == "labioc: a server is there already; --force starts this one all the same:"
    assert reason.startswith(f"  tcp://192.0.2.1:23: held by process {os.getpid()} of ")
