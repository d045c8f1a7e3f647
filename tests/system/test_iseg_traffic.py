"""Iseg modules on one bus behind the whole server: what a bad or busy bus, events and other hosts do to PVs and puts.

Figures are printed: run with ``-s`` to see them.
"""

from __future__ import annotations

import asyncio
import time

import can
import pytest

from devices.errors import DeviceError
from devices.iseg.edcp.bits import ChannelEvent
from devices.iseg.edcp.items import BY_NAME
from devices.iseg.edcp.protocol import read_channels, write
from tests.fair_time import until
from tests.ioc.app_rig import as_client, failed, record
from tests.libca import Context
from tests.system.test_iseg_faults import INVALID, pvs, served


@pytest.mark.parametrize(
    ("fault", "value"),
    [("lose", 0.05), ("duplicate", 0.3), ("reorder", 0.3), ("garbage", 0.2), ("flood", 2000.0)],
)
async def test_GIVEN_a_bad_bus_WHEN_it_is_used_THEN_nothing_is_lost_and_puts_arrive(fault: str, value: float) -> None:
    async with served() as (segment, app):
        setattr(segment.faults, fault, value)
        begun = time.monotonic()
        worst = 0
        puts, failures = 0, 0
        while (passed := time.monotonic() - begun) < 2.5 or (failures == puts and passed < 30):
            worst = max(worst, *(pv.sevr for name in ("ISEG3", "ISEG4") for pv in pvs(app, name)))
            channel, wanted = segment.modules[3].channels[puts % 8], 100.0 + puts
            setting, before = record(app, f"CH0{puts % 8}:VSET", "ISEG3"), channel.vset
            puts += 1
            try:
                await app.scanners["ISEG3"].write(setting.signal or "", wanted)
            except DeviceError:
                # A put reads first and is sent once: where frames are lost it may fail, and then nothing else is set.
                failures += 1
                assert channel.vset in (before, wanted)
            else:
                assert channel.vset == wanted
            await asyncio.sleep(0.05)
        assert failures < puts if fault == "lose" else failures == 0
        lost_times = [app.scanners[name].status.reconnects for name in ("ISEG3", "ISEG4")]
        counted, late = (record(app, suffix, "ISEG3").val for suffix in ("COMM:ERRORS", "SCAN:LATE"))
        print(
            f"{fault} {value}: {puts} puts, {failures} failed, {counted} errors counted, {late} cycles late, "
            f"lost {lost_times} times"
        )
        assert lost_times == [0, 0]
        assert worst < INVALID


async def test_GIVEN_a_trip_WHEN_the_module_tells_of_it_THEN_the_pv_shows_it_before_the_next_scan() -> None:
    async with served(period=10.0) as (segment, app):
        scanner = app.scanners["ISEG3"]
        await scanner.write("CH02.EVT.MASK", int(ChannelEvent.TRIP))
        await scanner.write("MOD.EVT.CHMASK", 0xFF)
        record(app, "CH02:TRIP", "ISEG3")
        worst = 0.0
        for _ in range(5):
            with segment.lock:
                segment.modules[3].trip(2)
            worst = max(worst, await until(lambda: record(app, "CH02:TRIP", "ISEG3").val == 1, 5.0, "TRIP"))
            await scanner.write("CH02.CLR.CMD", 1)
            await scanner.write("CH02.TRIP.ACK.CMD", 1)
            await until(lambda: record(app, "CH02:TRIP", "ISEG3").val == 0, 5.0, "no TRIP")
            await asyncio.sleep(0.13)
        print(f"trip seen at most {worst * 1000:.0f} ms after it happened, with a scan each 10 s")


async def test_GIVEN_a_client_WHEN_it_puts_THEN_it_is_read_back_or_fails_with_the_reason() -> None:
    def client(context: Context) -> tuple[float, bool, float]:
        setting, current = context.connect(["LAB:ISEG3:CH00:VSET", "LAB:ISEG3:CH00:ISET"])
        setting.put_callback(500.0)
        current.put_callback(123.0)
        return setting.value(), failed(setting, 6001.0), setting.value()

    async with served() as (segment, app):
        assert await as_client(app, client) == (500.0, True, 500.0)
        channel = segment.modules[3].channels[0]
        assert channel.vset == 500.0
        assert channel.iset == pytest.approx(123e-6)
        assert "6000 V (nominal)" in str(record(app, "PUT:MSG", "ISEG3").val)
        assert record(app, "CH00:VSET", "ISEG3").sevr == 0


async def test_GIVEN_another_host_on_the_bus_WHEN_it_reads_and_writes_THEN_the_pvs_follow() -> None:
    async with served() as (segment, app):
        with can.Bus(interface="virtual", channel=segment.channel) as other:
            for frame in [write(3, BY_NAME["VoltageSet"], 321.0, 2), *(read_channels(3, BY_NAME["VoltageSet"]),) * 20]:
                other.send(can.Message(arbitration_id=frame.id, data=frame.data, is_extended_id=False))
            readback = record(app, "CH02:VSET:RBV", "ISEG3")
            await until(lambda: readback.val == 321.0, 6.0)
            await app.scanners["ISEG3"].write("CH02.VSET", 100.0)
            assert readback.val == 100.0
        assert app.scanners["ISEG3"].status.reconnects == 0
