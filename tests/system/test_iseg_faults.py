"""Iseg modules on one bus behind the whole server: what each fault does to PVs, for how long, and to the neighbours.

Figures are printed: run with ``-s`` to see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E08F2, E16C1, SimulatedIsegModule
from ioc.app import App
from ioc.records import Record
from tests.devices.iseg.bench import fresh_channel
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, record, running

INVALID, TOLD_WITHIN, BACK_WITHIN = 3, 3.0, 10.0


def device(module: int, **more: object) -> dict[str, object]:
    return {"name": f"ISEG{module}", "type": "iseg-edcp", "can": "main", "module": module, "channels": 8, **more}


@asynccontextmanager
async def served(interface: str = "virtual", period: float = 1.0) -> AsyncIterator[tuple[SimulatedIsegBus, App]]:
    """Serve modules 3 and 4, scanned with this period in seconds, and a CAEN supply next to them."""
    modules = [SimulatedIsegModule(3, E16C1, channels=8), SimulatedIsegModule(4, E08F2, channels=8)]
    options = {} if interface == "slcan" else {"channel": fresh_channel()}
    segment = SimulatedIsegBus(modules, interface, **options)
    segment.open()
    adapter = {"interface": interface, "channel": segment.channel}
    if interface == "slcan":
        adapter |= {"bitrate": 125000, "sleep_after_open": 0.0}
    try:
        async with running(device(3, period=period), device(4, period=period), DEVICE, can={"main": adapter}) as app:
            yield segment, app
    finally:
        segment.close()


def pvs(app: App, name: str) -> list[Record]:
    return [record(app, f"CH{n:02d}:{suffix}", name) for n in range(4) for suffix in ("VMON", "STATE", "VSET", "TRIP")]


def lost(app: App, name: str) -> bool:
    return all(pv.sevr == INVALID for pv in pvs(app, name))


def well(app: App, name: str) -> bool:
    return all(pv.sevr < INVALID for pv in pvs(app, name)) and record(app, "COMM", name).val == 1


async def lost_and_back(segment, app, break_it: Callable[[], None], mend: Callable[[], None], name="ISEG3"):
    """Return the seconds until everything is INVALID and, after mending, until everything is well again."""
    break_it()
    gone = await until(lambda: lost(app, name), TOLD_WITHIN + 1, f"{name} INVALID")
    await asyncio.sleep(1.0)
    mend()
    back = await until(lambda: well(app, name), BACK_WITHIN + 1, f"{name} back")
    return gone, back


async def test_GIVEN_a_module_WHEN_it_falls_silent_THEN_it_alone_is_lost_and_comes_back() -> None:
    async with served() as (segment, app):
        gone, back = await lost_and_back(
            segment, app, lambda: segment.faults.silent.add(3), segment.faults.silent.clear
        )
        print(f"silent module: INVALID after {gone:.2f} s, back after {back:.2f} s")
        assert gone < TOLD_WITHIN
        assert back < BACK_WITHIN
        assert record(app, "COMM:RECONN", "ISEG4").val == 0
        assert segment.written() == []


async def test_GIVEN_bus_off_WHEN_it_ends_THEN_all_modules_were_lost_and_come_back() -> None:
    async with served() as (segment, app):
        shown: list[object] = []

        def mend() -> None:
            shown.append(record(app, "BUS:STATE", "ISEG3").val)
            segment.bus_off(False)

        gone, back = await lost_and_back(segment, app, lambda: segment.bus_off(True), mend)
        assert shown == [2]  # OFF
        print(f"bus off: INVALID after {gone:.2f} s, back after {back:.2f} s")
        assert gone < TOLD_WITHIN
        assert back < BACK_WITHIN
        assert record(app, "BUS:STATE", "ISEG3").val == 0
        await until(lambda: well(app, "ISEG4"), BACK_WITHIN)
        assert well(app, "HV1")
        assert record(app, "COMM:RECONN", "HV1").val == 0
        assert segment.written() == []


async def test_GIVEN_an_adapter_WHEN_pulled_and_plugged_in_again_THEN_all_modules_come_back() -> None:
    async with served("slcan") as (segment, app):

        def plug_in() -> None:
            segment.plug_in()

        segment_path = segment.channel
        gone, back = await lost_and_back(segment, app, segment.unplug, plug_in)
        assert segment.channel == segment_path
        print(f"adapter unplugged: INVALID after {gone:.2f} s, back after {back:.2f} s")
        assert gone < TOLD_WITHIN
        assert back < BACK_WITHIN
        await until(lambda: well(app, "ISEG4"), BACK_WITHIN)
        assert segment.written() == []


async def test_GIVEN_a_module_WHEN_power_cycled_THEN_it_is_registered_again_and_nothing_is_restored() -> None:
    async with served() as (segment, app):
        with segment.lock:
            segment.modules[3].channels[0].vset = 500.0
        await asyncio.sleep(2.1)  # an announcement right after registering is an old one

        def cycle() -> None:
            with segment.lock:
                segment.modules[3].power_cycle()

        cycle()
        reconnected = record(app, "COMM:RECONN", "ISEG3")
        seconds = await until(lambda: reconnected.val == 1 and well(app, "ISEG3"), BACK_WITHIN)
        print(f"power cycle: noticed and back after {seconds:.2f} s")
        assert segment.modules[3].channels[0].vset == 0.0
        assert segment.written() == []


async def test_GIVEN_a_module_that_is_not_there_WHEN_it_is_plugged_in_THEN_it_comes_up_by_itself() -> None:
    async with served() as (segment, app):
        with segment.lock:
            module = segment.modules.pop(3)
        await until(lambda: lost(app, "ISEG3"), TOLD_WITHIN + 1)
        await asyncio.sleep(2.0)
        assert well(app, "ISEG4")
        with segment.lock:
            module.power_cycle()
            segment.modules[3] = module
        back = await until(lambda: well(app, "ISEG3"), BACK_WITHIN)
        print(f"plugged in: up after {back:.2f} s")


async def test_GIVEN_the_wrong_bit_rate_WHEN_served_THEN_the_module_is_lost_with_a_hint() -> None:
    async with served("slcan") as (segment, app):
        with segment.lock:
            for module in segment.modules.values():
                module.bit_rate = 250
        took = await until(lambda: lost(app, "ISEG3") and lost(app, "ISEG4"), TOLD_WITHIN)
        print(f"wrong bit rate: INVALID after {took:.2f} s")
        await until(lambda: "bit rate" in str(record(app, "COMM:MSG", "ISEG3").val), 5.0)
        with segment.lock:
            for module in segment.modules.values():
                module.bit_rate = 125
        back = await until(lambda: well(app, "ISEG3") and well(app, "ISEG4"), BACK_WITHIN)
        print(f"right bit rate again: back after {back:.2f} s")
