"""A furnace controller on a pseudo terminal behind the whole server: what each fault does to its PVs, for how long.

Figures are printed: run with ``-s`` to see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus_frames import READ
from ioc.app import App
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, as_client, failed, record, running
from tests.libca import Context

INVALID = 3
FURNACE = {"name": "FURN1", "type": "eurotherm-3200", "period": 0.1, "timeout": 0.15, "detail": "full",
           "allow_no_ramp": True}  # fmt: skip
SHOWN = ("TEMP", "TSET", "TSET:RBV", "OUT", "STAT", "PB:RBV", "STAT:SBREAK")


def get(app: App, suffix: str) -> object:
    return record(app, suffix, "FURN1").val


def severities(app: App) -> set[int]:
    return {record(app, suffix, "FURN1").sevr for suffix in SHOWN}


def lost(app: App) -> bool:
    return severities(app) == {INVALID}


def well(app: App) -> bool:
    return severities(app) == {0} and get(app, "COMM") == 1


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[SimulatedFurnaces, App]]:
    """Serve a furnace at 25 C and a supply next to it; TEMP must never show anything else."""
    async with simulated_furnaces() as furnaces:
        furnaces.model.held = 25.0
        async with running(FURNACE | {"address": furnaces.address, "state_dir": str(folder)}, DEVICE) as app:
            watcher = asyncio.create_task(_watch(app))
            try:
                yield furnaces, app
            finally:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
            assert watcher.cancelled(), watcher.exception()
            assert record(app, "COMM:RECONN", "HV1").val == 0


async def _watch(app: App) -> None:
    while True:
        assert get(app, "TEMP") == 25.0
        assert get(app, "TSET:RBV") == 0.0
        await asyncio.sleep(0.01)


def writes(furnaces: SimulatedFurnaces) -> list[bytes]:
    return [frame for frame in furnaces.received if frame[1] != READ]


def power_up(model: EurothermModel) -> None:
    """Let the mains return, and the instrument have started already."""
    model.mains_on()
    model.step(5.0)


Fault = Callable[[SimulatedFurnaces], None]


def switched(name: str, on: object, off: object) -> tuple[Fault, Fault]:
    return (lambda f: setattr(f.faults, name, on)), (lambda f: setattr(f.faults, name, off))


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "silent": switched("silent", True, False),
    "late replies (1.5 s)": switched("delay", 1.5, 0.0),
    "bad CRC, all": switched("crc", 100.0, 0.0),
    "exceptions 04": switched("exception", 4, 0),
    "exceptions 02": switched("exception", 2, 0),
    "busy": switched("exception", 6, 0),
    "truncated": switched("truncated", True, False),
    "wrong address": switched("wrong_unit", True, False),
    "mains off": (lambda f: f.model.mains_off(), lambda f: power_up(f.model)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_GIVEN_a_controller_WHEN_a_fault_comes_and_goes_THEN_INVALID_and_back_and_nothing_wrong(
    fault: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (furnaces, app):
        begin, end = FAULTS[fault]
        begin(furnaces)
        gone = await until(lambda: lost(app), 3.0, "INVALID")
        assert get(app, "COMM") == 0
        end(furnaces)
        back = await until(lambda: well(app), 10.0, "well again")
        print(f"{fault}: INVALID after {gone:.2f} s, back after {back:.2f} s")
        assert writes(furnaces) == []


async def test_GIVEN_a_busy_controller_WHEN_it_answers_nothing_else_THEN_it_is_lost_with_the_reason(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (furnaces, app):
        furnaces.faults.exception = 6
        await until(lambda: lost(app) and record(app, "COMM", "FURN1").sevr == 2, 3.0, "lost")
        await until(lambda: float(str(get(app, "COMM:AGE"))) > 1.0, 5.0, "growing age")
        assert "busy, code 06" in str(get(app, "COMM:MSG"))
        assert record(app, "COMM:AGE", "FURN1").sevr > 0


@pytest.mark.parametrize("fault", ["silent", "mains off", "busy"])
async def test_GIVEN_a_9600_baud_line_WHEN_the_controller_answers_again_THEN_TEMP_is_back_within_2_s(
    fault: str, tmp_path: Path
) -> None:
    """One second and one fast scan; the constants are read behind."""
    async with simulated_furnaces(realtime=True) as furnaces:
        furnaces.model.held = 25.0
        site = FURNACE | {"address": furnaces.address, "state_dir": str(tmp_path), "period": 1.0, "timeout": 0.5}
        async with running(site) as app:
            begin, end = FAULTS[fault]
            begin(furnaces)
            gone = await until(lambda: record(app, "TEMP", "FURN1").sevr == INVALID, 3.5, "INVALID")
            end(furnaces)
            back = await until(lambda: record(app, "TEMP", "FURN1").sevr == 0, 2.0, "TEMP again")
            rest = await until(lambda: well(app), 8.0, "all again")
            print(f"{fault}: TEMP INVALID after {gone:.2f} s, back after {back:.2f} s, all after {back + rest:.2f} s")
            assert writes(furnaces) == []


@pytest.mark.parametrize("fault", ["crc", "lost"])
async def test_GIVEN_a_bad_line_WHEN_5_percent_are_spoilt_THEN_nothing_is_INVALID_and_it_is_counted(
    fault: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (furnaces, app):
        setattr(furnaces.faults, fault, 5.0)
        begun = len(furnaces.received)

        def enough() -> bool:
            assert INVALID not in severities(app)
            return len(furnaces.received) - begun > 40

        seconds = await until(enough, 15.0, "40 exchanges")
        count = len(furnaces.received) - begun
        print(f"5 % {fault}: {get(app, 'COMM:ERRORS')} errors in {count} exchanges, {seconds:.1f} s")
        assert int(str(get(app, "COMM:ERRORS"))) > 0
        assert get(app, "COMM:RECONN") == 0


@pytest.mark.parametrize("fault", ["echo", "noise"])
async def test_GIVEN_an_adapter_that_adds_bytes_WHEN_used_THEN_values_and_puts_are_right(
    fault: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as (furnaces, app):
        setattr(furnaces.faults, fault, True)
        scanner = app.scanners["FURN1"]
        await scanner.write("SP2", 120.0)
        assert get(app, "SP2:RBV") == 120.0
        assert furnaces.model.memory["SP2"] == 120.0
        await until(lambda: well(app), 5.0, "well")


async def test_GIVEN_a_pulled_plug_WHEN_it_comes_back_under_another_number_THEN_it_is_found(tmp_path: Path) -> None:
    async with served(tmp_path) as (furnaces, app):
        await furnaces.unplug()
        gone = await until(lambda: lost(app), 3.0, "INVALID")
        await furnaces.plug_in()
        back = await until(lambda: well(app), 10.0, "well again")
        await furnaces.plug_in()  # while in use
        again = await until(lambda: get(app, "COMM:RECONN") == 2 and well(app), 10.0, "well again")
        print(
            f"unplugged: INVALID after {gone:.2f} s, back after {back:.2f} s; re-numbered while in use: {again:.2f} s"
        )
        assert get(app, "PWR:COUNT") == 0


async def test_GIVEN_two_controllers_on_one_line_WHEN_one_is_off_THEN_the_other_goes_on(tmp_path: Path) -> None:
    models = {1: EurothermModel(), 2: EurothermModel()}
    models[2].held = 700.0
    async with simulated_furnaces(models) as furnaces:
        common = FURNACE | {"address": furnaces.address, "state_dir": str(tmp_path)}
        async with running(common, common | {"name": "FURN2", "unit": 2}) as app:
            assert record(app, "TEMP", "FURN2").val == 700.0
            models[2].mains_off()
            await until(lambda: record(app, "TEMP", "FURN2").sevr == INVALID, 4.0)
            before = record(app, "TEMP", "FURN1").seconds
            await until(lambda: record(app, "TEMP", "FURN1").seconds >= before + 2, 5.0)
            assert well(app)
            assert get(app, "COMM:RECONN") == 0
            await app.scanners["FURN1"].write("SP2", 50.0)
            power_up(models[2])
            await until(lambda: record(app, "PWR:COUNT", "FURN2").val == 1, 10.0)
            assert get(app, "PWR:COUNT") == 0


async def test_GIVEN_a_cut_WHEN_the_server_is_restarted_in_it_THEN_the_record_tells_it(tmp_path: Path) -> None:
    async with simulated_furnaces() as furnaces:
        site = FURNACE | {"address": furnaces.address, "state_dir": str(tmp_path)}
        async with running(site):
            furnaces.model.mains_off()
        power_up(furnaces.model)
        async with running(site) as app:
            await until(lambda: get(app, "PWR:COUNT") == 1, 3.0)
            assert "This server was not running in between" in str(get(app, "PWR:MSG"))
            assert record(app, "PWR:COUNT", "FURN1").sevr == 2
            await app.scanners["FURN1"].write("PWR.ACK.CMD", 1)
            assert record(app, "PWR:COUNT", "FURN1").sevr == 0
            assert get(app, "STAT:MAINS") == 1
            assert record(app, "STAT:MAINS", "FURN1").sevr == 0  # one cause, one alarm


def put(*pairs: tuple[str, object]) -> Callable[[Context], None]:
    """Put one after the other, each with completion."""

    def client(context: Context) -> None:
        for suffix, value in pairs:
            assert context.channel(f"LAB:{suffix}").put_callback(value) == 1

    return client


async def some_scans(furnaces: SimulatedFurnaces) -> None:
    """Wait for longer than the remote setpoint may go without being repeated."""
    begun = len(furnaces.received)
    await until(lambda: len(furnaces.received) > begun + 60, 20.0, "60 requests")


@asynccontextmanager
async def held_in_remote(folder: Path) -> AsyncIterator[tuple[SimulatedFurnaces, App]]:
    """Serve a furnace whose local setpoint is 100 C and whose remote one is 500 C and repeated."""
    async with (
        simulated_furnaces() as furnaces,
        running(FURNACE | {"address": furnaces.address, "state_dir": str(folder)}) as app,
    ):
        await until(lambda: record(app, "TSET:HI", "FURN1").sevr == 0, 5.0, "limits")
        await as_client(app, put(("FURN1:TSET", 100.0), ("FURN1:REMOTE", "REMOTE"), ("FURN1:TSET", 500.0)))
        count = len(writes(furnaces))
        await until(lambda: len(writes(furnaces)) > count, 4.0, "a repetition")
        assert get(app, "TSET:RBV") == 500.0
        yield furnaces, app


async def test_GIVEN_a_remote_setpoint_WHEN_disarmed_THEN_no_byte_is_written_and_only_a_put_takes_it_up_again(
    tmp_path: Path,
) -> None:
    def refused(context: Context) -> None:
        for suffix, value in (("TSET", 200.0), ("SAFE:CMD", 1), ("REMOTE", 0)):
            assert failed(context.channel(f"LAB:FURN1:{suffix}"), value)

    async with held_in_remote(tmp_path) as (furnaces, app):
        await as_client(app, put(("IOC:ARMED", 0)))
        count = len(writes(furnaces))
        reason = "remote setpoint not refreshed: LAB:IOC:ARMED is 0"
        await until(lambda: str(get(app, "COMM:MSG")).endswith(reason), 3.0, reason)
        await some_scans(furnaces)
        furnaces.model.step(6.0)
        await until(lambda: get(app, "STAT:RSPFAIL") == 1 and get(app, "TSET:RBV") == 100.0, 3.0, "fallen back")
        assert record(app, "STAT:RSPFAIL", "FURN1").sevr == 2
        await until(lambda: record(app, "TSET:RBV", "FURN1").sevr == 1, 3.0, "the difference to be shown")
        await as_client(app, refused)
        assert "LAB:IOC:ARMED is 0" in str(get(app, "PUT:MSG"))

        await as_client(app, put(("IOC:ARMED", 1)))
        await some_scans(furnaces)
        assert len(writes(furnaces)) == count
        assert get(app, "TWORK") == 100.0
        await until(lambda: "not refreshed until TSET is put again" in str(get(app, "COMM:MSG")), 3.0)

        await as_client(app, put(("FURN1:TSET", 300.0)))
        await until(lambda: get(app, "TWORK") == 300.0 and get(app, "STAT:RSPFAIL") == 0, 3.0, "following again")
        count = len(writes(furnaces))
        await until(lambda: len(writes(furnaces)) > count, 4.0, "a repetition")


async def test_GIVEN_a_remote_setpoint_WHEN_disabled_and_enabled_THEN_nothing_is_repeated(tmp_path: Path) -> None:
    async with held_in_remote(tmp_path) as (furnaces, app):
        await as_client(app, put(("FURN1:DISABLE", 1)))
        count = len(writes(furnaces))
        await as_client(app, put(("FURN1:DISABLE", 0)))
        await some_scans(furnaces)
        assert len(writes(furnaces)) == count
        await until(lambda: "not refreshed until TSET is put again" in str(get(app, "COMM:MSG")), 3.0)


async def test_GIVEN_a_readonly_furnace_in_remote_WHEN_served_THEN_no_byte_is_written(tmp_path: Path) -> None:
    async with simulated_furnaces() as furnaces:
        furnaces.model.memory["L-R"] = 1
        site = FURNACE | {"address": furnaces.address, "state_dir": str(tmp_path), "readonly": True}
        async with running(site) as app:
            await as_client(app, lambda context: failed(context.channel("LAB:FURN1:TSET"), 10.0))
            await some_scans(furnaces)
            assert writes(furnaces) == []
