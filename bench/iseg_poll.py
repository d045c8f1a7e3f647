"""How much of a CAN bus the Iseg driver uses: poll cycles per second of 16 and 64 channels at 125 and 250 kbit/s.

Simulated modules answer in this process over python-can's virtual bus, with frames that take as long as on a real wire
(stuff bits counted, lowest identifier first) and 0.5 ms of latency before each answer. A cycle is voltage, current and
status of every channel, and the module status. The theoretical maximum is the time of just these frames on the wire.
isegcan then polls the same quantities of one such module, one request after the other, as it can; most of its time
goes into the 0.3 s that it waits after each request whatever comes.

Run: python -m bench.iseg_poll [SECONDS]
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import replace

import can

from devices.iseg.driver import IsegDriver
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E16C1, SimulatedIsegModule
from devices.model import DeviceSettings

FIRMWARE = replace(E16C1, count_bytes=1)  # isegcan understands only this form of the number of channels
CHANNELS = 16
LOAD = ("VMON", "IMON", "STAT")
GOAL_SHARE, GOAL_RATIO = 0.80, 5.0


def segment(kbit: int, modules: int, name: str) -> SimulatedIsegBus:
    boards = [SimulatedIsegModule(n + 1, FIRMWARE, serial=7900016 + n, bit_rate=kbit) for n in range(modules)]
    for board in boards:
        for channel in board.channels:
            channel.vset, channel.on = 1234.5, True
        board.ramp_speed = 20.0
        board.step(5.0)  # up to voltage, so that the frames carry real numbers
    return SimulatedIsegBus(boards, "virtual", channel=name, bit_rate=kbit)


async def driver_cycles(bus: SimulatedIsegBus, seconds: float) -> tuple[float, float, float, int]:
    """Return cycles/s, frames per cycle, share of the wire used, and errors of the link."""
    drivers = [
        IsegDriver(DeviceSettings(f"I{address}", "iseg-edcp", bus.address, CHANNELS, options={"module": address}))
        for address in bus.modules
    ]
    names = ["MOD.STAT", *(f"CH{n:02d}.{suffix}" for n in range(CHANNELS) for suffix in LOAD)]
    try:
        for driver in drivers:
            await driver.connect()
            await driver.read(list(driver.signals()))
        frames, busy, begun, cycles = bus.wire.frames, bus.wire.busy, time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            await asyncio.gather(*(driver.read(names) for driver in drivers))
            cycles += 1
        frames, busy = bus.wire.frames - frames, bus.wire.busy - busy
        return cycles / elapsed, frames / cycles, busy / elapsed, sum(driver.stats.errors for driver in drivers)
    finally:
        for driver in drivers:
            await driver.close()


def isegcan_cycles(bus: SimulatedIsegBus, kbit: int, seconds: float) -> float:
    """Return the cycles/s of isegcan polling the same quantities of the first module."""
    defaults = dict(can.rc)
    from isegcan.can_edcp import Resource  # noqa: PLC0415  # changes python-can's defaults when it is imported

    client = Resource(next(iter(bus.modules)), channel=bus.channel, interface="virtual", bitrate=kbit * 1000)
    try:
        begun, cycles = time.monotonic(), 0
        while (elapsed := time.monotonic() - begun) < seconds:
            client.module_status_query(None, 0)
            for channel in range(CHANNELS):
                client.voltage_out_query(None, channel)
                client.current_out_query(None, channel)
                client.channel_status_query(None, channel)
            cycles += 1
        return cycles / elapsed
    finally:
        del client
        gc.collect()
        can.rc.clear()
        can.rc.update(defaults)


def measure(kbit: int, modules: int, seconds: float, isegcan: float) -> tuple[bool, float]:
    bus = segment(kbit, modules, f"bench {kbit} {modules}")
    bus.open()
    try:
        rate, frames, share, errors = asyncio.run(driver_cycles(bus, seconds))
        if not isegcan:
            isegcan = isegcan_cycles(bus, kbit, seconds)
    finally:
        bus.close()
    # isegcan serves one module per object; all modules one after the other is the best that it can do.
    ratio = rate / (isegcan / modules)
    print(
        f"{kbit:6} {modules * CHANNELS:9} {rate:9.2f} {frames:8.0f} {share:7.1%} {isegcan / modules:9.2f} "
        f"{ratio:7.1f} {errors:7}"
    )
    return share >= GOAL_SHARE and ratio >= GOAL_RATIO, isegcan


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    print("kbit/s  channels  cycles/s   frames   of max   isegcan   ratio  errors")
    good = True
    for kbit in (125, 250):
        isegcan = 0.0
        for modules in (1, 4):
            reached, isegcan = measure(kbit, modules, seconds, isegcan)
            good &= reached
    print(f"goals: {GOAL_SHARE:.0%} of the maximum, {GOAL_RATIO:g} times isegcan: {'reached' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
