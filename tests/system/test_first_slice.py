"""The way of a value from a TCP socket to a C client, and what happens when something on that way breaks."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply, simulated_supply
from tests.fair_time import FairClock, until
from tests.ioc.app_rig import DEVICE, record, running, supply
from tests.ioc.fakes import alarm
from tests.libca import Context, Subscription
from tests.softioc import free_port

TIME_SHORT = 15
ROOT = Path(__file__).resolve().parents[2]
COMMAND = "from ioc.cli import main; raise SystemExit(main())"

Fault = Callable[[SimulatedSupply], Awaitable[None]]


def _wire(**faults: Any) -> Fault:
    async def break_it(unit: SimulatedSupply) -> None:
        for name, value in faults.items():
            setattr(unit.faults, name, value)

    return break_it


async def _refuse(unit: SimulatedSupply) -> None:
    await unit.refuse_connections()


async def _mend(unit: SimulatedSupply) -> None:
    unit.faults = type(unit.faults)()
    await unit.accept_connections()


#: What happens to each unit, and the alarm status that its PVs must show; None: they must not even notice.
FAULTS: dict[str, tuple[Fault, str | None]] = {
    "SILENT": (_wire(silent=True), "TIMEOUT"),
    "REFUSED": (_refuse, "COMM"),
    "RESET": (_wire(reset_mid_reply=True), "COMM"),
    "GARBAGE": (_wire(garbage=True), "READ"),
    "SLOW": (_wire(delay=5.0), "TIMEOUT"),
    "SPLIT": (_wire(split=True), None),
    "HEALTHY": (_wire(), None),
}


async def test_GIVEN_one_supply_for_each_fault_WHEN_all_break_at_once_THEN_INVALID_in_3_s_and_back_in_5_s() -> None:
    async with running(*({**DEVICE, "name": name} for name in FAULTS)) as app:
        clock = FairClock()
        beats = [clock()]
        heartbeat = app.records["LAB:IOC:HEARTBEAT"]

        async def watch() -> None:
            last = heartbeat.val
            while True:
                await asyncio.sleep(0.005)
                if heartbeat.val != last:
                    last = heartbeat.val
                    beats.append(clock())

        watcher = asyncio.create_task(watch())

        def broken(name: str) -> bool:
            return record(app, "CH00:VMON", name).sevr == 3

        def whole(name: str) -> bool:
            return not broken(name)

        def newer(name: str, stamp: int) -> bool:
            return record(app, "CH00:VMON", name).seconds > stamp + 1

        try:
            for name, (fault, _) in FAULTS.items():
                await fault(supply(app, name))
            begun = clock()
            for name, (_, status) in FAULTS.items():
                if status is None:
                    continue
                await until(partial(broken, name), begun + 3.0 - clock(), name)
                assert alarm(record(app, "CH00:VMON", name)) == (status, 3), name
                assert record(app, "CH03:STATE", name).sevr == 3, "every PV of the device"
                assert record(app, "COMM", name).val == 0
            for name in ("SPLIT", "HEALTHY"):
                await until(partial(newer, name, record(app, "CH00:VMON", name).seconds), 3.0, name)
                assert not broken(name)
            for name in FAULTS:
                await _mend(supply(app, name))
            mended = clock()
            for name in FAULTS:
                await until(partial(whole, name), mended + 5.0 - clock(), name)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        gaps = [later - earlier for earlier, later in itertools.pairwise(beats)]
        assert max(gaps) <= 1.2, "the heartbeat must not stumble"
        for name in FAULTS:
            assert not [line for line in supply(app, name).received if b"CMD:SET" in line], name


def _valid(subscription: Subscription) -> bool:
    events = subscription.events
    return bool(events) and events[-1].decoded.severity == 0


@asynccontextmanager
async def labioc(site: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        COMMAND,
        "run",
        str(site),
        "--port",
        str(port),
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def _site(folder: Path, unit: SimulatedSupply) -> Path:
    path = folder / "site.toml"
    path.write_text(
        f'[site]\nprefix = "LAB"\n[server]\ninterfaces = ["127.0.0.1"]\n'
        f'[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "{unit.address}"\n'
    )
    return path


async def _client(port: int, work: Callable[[Context], Any]) -> Any:
    def run() -> Any:
        with Context(f"127.0.0.1:{port}") as context:
            return work(context)

    return await asyncio.to_thread(run)


async def test_GIVEN_1500_V_on_the_output_WHEN_the_server_is_killed_and_restarted_THEN_nothing_is_written(
    tmp_path: Path,
) -> None:
    async with simulated_supply(CaenModel(Profile.A, channels=4)) as unit:
        site, port = _site(tmp_path, unit), free_port()

        def switch_on(context: Context) -> None:
            prefix = "LAB:HV1:CH00:"
            state = context.channel(prefix + "STATE", 20.0)
            vset, iset, on, ramp = context.connect([prefix + name for name in ("VSET", "ISET", "ON", "RAMPUP")])
            states = state.monitor(TIME_SHORT)
            context.wait_for(lambda: _valid(states), 10.0, lambda: "the supply was not read")
            read = ramp.monitor(TIME_SHORT)  # settings are read after what is fast
            context.wait_for(lambda: _valid(read), 10.0, lambda: "the settings were not read")
            assert ramp.put_callback(500.0) == 1
            assert iset.put_callback(300.0) == 1
            assert vset.put_callback(1500.0) == 1
            assert on.put_callback(1) == 1
            states.wait_value(1, 15.0)

        async with labioc(site, port) as process:
            await _client(port, switch_on)
            process.kill()
            await process.wait()
        sent = len(unit.received)

        def look(context: Context) -> tuple[Any, ...]:
            names = ["VSET", "VSET:RBV", "VMON", "ON", "STATE"]
            channels = context.connect([f"LAB:HV1:CH00:{name}" for name in names], 20.0)
            channels[-1].monitor(TIME_SHORT).wait_value(1, 10.0)
            setting = channels[1].monitor(TIME_SHORT)  # settings are read after what is fast
            context.wait_for(lambda: _valid(setting), 10.0, lambda: "the setting was not read")
            return tuple(channel.value() for channel in channels)

        async with labioc(site, port):
            vset, readback, vmon, on, state = await _client(port, look)
        later = list(unit.received)[sent:]
        assert (vset, readback, on, state) == (1500.0, 1500.0, 1, 1)
        assert vmon == pytest.approx(1500.0, abs=1.0)
        assert later, "the restarted server must have read the unit"
        assert not [line for line in later if not re.match(rb"\$(BD:\d+,)?CMD:MON", line)]


async def test_GIVEN_a_ramping_channel_WHEN_it_trips_THEN_TRIP_is_MAJOR_and_latched_until_acknowledged() -> None:
    async with running() as app:
        prefix = "LAB:HV1:CH00:"

        def ramp(context: Context) -> list[float]:
            vmon, state, vset, on = context.connect([prefix + name for name in ("VMON", "STATE", "VSET", "ON")])
            watched, states = vmon.monitor(), state.monitor()
            assert vset.put_callback(100.0) == 1
            assert on.put_callback(1) == 1
            states.wait_value(2, 3.0)
            states.wait_value(1, 8.0)
            return [float(reply.value) for reply in watched.events]

        seen = await _client(app.search_port, ramp)
        assert seen[0] == pytest.approx(0.0, abs=0.5)
        assert seen == sorted(seen), "a ramp up only rises"
        assert seen[-1] == pytest.approx(100.0, abs=1.0)
        supply(app).model.trip(0)
        await until(lambda: record(app, "CH00:TRIP").val == 1, 5.0, "TRIP")
        assert alarm(record(app, "CH00:TRIP")) == ("STATE", 2)
        assert record(app, "CH00:TRIP:COUNT").val == 1
        assert record(app, "CH00:TRIP:V").val == pytest.approx(100.0, abs=1.0)

        def clear(context: Context) -> None:
            assert context.channel(prefix + "CLR:CMD").put_callback(1) == 1

        await _client(app.search_port, clear)
        await until(lambda: record(app, "CH00:STATE").val == 0, 5.0, "the unit is clear")
        assert alarm(record(app, "CH00:TRIP")) == ("STATE", 2), "latched though the bit is gone"

        def acknowledge(context: Context) -> None:
            assert context.channel(prefix + "TRIP:ACK:CMD").put_callback(1) == 1

        await _client(app.search_port, acknowledge)
        assert alarm(record(app, "CH00:TRIP")) == ("NO_ALARM", 0)
