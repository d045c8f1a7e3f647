"""Fields tuned by a C client, a server that is killed, and what the next one serves."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from tests.libca import Context
from tests.softioc import free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from ioc.cli import main; raise SystemExit(main())"
VMON = "LAB:HV1:CH00:VMON"
FIELDS = ("HIHI", "HIGH", "LOW", "LOLO", "HHSV", "HSV", "LSV", "LLSV", "HYST", "MDEL")


def write_site(folder: Path, address: str, hihi: float = 1500) -> Path:
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nprefix = "LAB"\n[server]\ninterfaces = ["127.0.0.1"]\nstate_dir = "{folder / "state"}"\n'
        f'[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "{address}"\n'
        f"alarms = {{ VMON = {{ HIHI = {hihi} }} }}\n"
    )
    return path


@asynccontextmanager
async def labioc(site: Path, log: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[..., Any]]]:
    """Run a server; gives its process, and what runs a function as a client of it."""
    port = free_port()
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COMMAND, "run", str(site), "--port", str(port), cwd=ROOT, stderr=errors
        )

    async def client(work: Callable[[Context], Any]) -> Any:
        def run() -> Any:
            with Context(f"127.0.0.1:{port}") as context:
                return work(context)

        return await asyncio.to_thread(run)

    try:
        yield process, client
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def limits(context: Context) -> dict[str, Any]:
    channels = context.connect([f"{VMON}.{field}" for field in FIELDS], 20.0)
    return {field: channel.value() for field, channel in zip(FIELDS, channels, strict=True)}


def until_saved(path: Path, text: str) -> None:
    end = time.monotonic() + 10
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"{text} is not in {path}"
        time.sleep(0.01)


async def test_GIVEN_fields_tuned_by_a_client_WHEN_the_server_is_killed_THEN_the_next_one_has_them_and_writes_nothing(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"

    def tune(context: Context) -> dict[str, Any]:
        for field, value in {"HIHI": 1450.0, "HIGH": 1400.5, "HSV": "MINOR", "HYST": 2.0, "MDEL": 7.0}.items():
            assert context.channel(f"{VMON}.{field}", 20.0).put_callback(value) == 1
        return limits(context)

    async with simulated_supply(CaenModel(Profile.A, channels=4)) as unit:
        site = write_site(tmp_path, unit.address)
        async with labioc(site, log) as (process, client):
            tuned = await client(tune)
            await asyncio.to_thread(until_saved, tmp_path / "state" / "LAB-state.json", f"{VMON}.MDEL")
            process.kill()
            await process.wait()
        async with labioc(site, log) as (_, client):
            found = await client(limits)
        assert found == tuned
        assert [found[field] for field in ("HIHI", "HIGH", "HSV", "HYST", "MDEL")] == [1450.0, 1400.5, 1, 2.0, 7.0]
        assert f"{VMON}.HIHI 1500 from the site file, 1450 as tuned on " in log.read_text()
        site = write_site(tmp_path, unit.address, hihi=1600)
        async with labioc(site, log) as (_, client):
            found = await client(limits)
        assert (found["HIHI"], found["HIGH"]) == (1600.0, 1400.5)
        assert f"{VMON}.HIHI 1600 from the site file, where it was 1500 before: the 1450 that " in log.read_text()
        assert not [line for line in unit.received if b"CMD:SET" in line]


async def test_GIVEN_a_file_that_is_garbage_WHEN_started_THEN_the_site_file_holds_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    state, log = tmp_path / "state", tmp_path / "log"
    state.mkdir()
    (state / "LAB-state.json").write_text('{"LAB:HV1')
    async with (
        simulated_supply(CaenModel(Profile.A, channels=4)) as unit,
        labioc(write_site(tmp_path, unit.address), log) as (_, client),
    ):
        found = await client(limits)
    assert found["HIHI"] == 1500.0
    assert (state / "LAB-state.bad").read_text() == '{"LAB:HV1'
    assert "ERROR" in log.read_text()
    assert "LAB-state.json cannot be read" in log.read_text()
