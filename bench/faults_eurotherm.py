"""Faults of a furnace controller on a serial line of 9600 baud, for bench.faults."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from bench.faults import Fault, Wire
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.links.modbus_frames import EXCEPTION, READ, with_crc

LATE = 3.0  # s, six times the time-out
WATCHED = ("TEMP", "TWORK", "TDIFF", "TSET", "TSET:RBV", "OUT", "STAT")


@asynccontextmanager
async def paced(pace: float | None = None) -> AsyncIterator[Wire]:
    """Run a controller at 200 C; ``pace`` is the time in seconds until an answer of several words begins."""
    model = EurothermModel()
    model.memory["SP1"] = 200.0
    model.furnace.temperature = model.furnace.measured = 200.0
    model.step(60.0)
    async with simulated_furnaces({1: model}, realtime=True) as furnaces:
        if pace is not None:
            furnaces.latencies = pace, pace
        with tempfile.TemporaryDirectory(prefix="labioc-") as folder:
            device = {"name": "FURN1", "type": "eurotherm-3200", "address": furnaces.address, "state_dir": folder}
            site = {"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"]}, "device": [device]}
            watched = [f"LAB:FURN1:{name}" for name in WATCHED]
            yield Wire(site, watched, _faults(furnaces), lambda: sum(one[1] != READ for one in furnaces.received))


def _faults(furnaces: SimulatedFurnaces) -> list[Fault]:
    wire = furnaces.faults

    def once(change: Callable[[bytes], bytes]) -> None:
        def spoil(reply: bytes) -> bytes:
            wire.mangle = None
            return change(reply)

        wire.mangle = spoil

    def refusal(code: int, reply: bytes) -> bytes:
        return with_crc(bytes((reply[0], reply[1] | EXCEPTION, code)))

    def of(text: str, name: str, on: object, off: object) -> Fault:
        return Fault(text, lambda: setattr(wire, name, on), lambda: setattr(wire, name, off))

    return [
        Fault("one answer lost", lambda: once(lambda _: b""), hold=0.0),
        Fault("one request refused (02)", lambda: once(partial(refusal, 2)), hold=0.0),
        Fault("one request refused (04)", lambda: once(partial(refusal, 4)), hold=0.0),
        of("no answers for 4 s", "silent", True, False),
        of("half answers for 4 s", "truncated", True, False),
        of("answers of another unit for 4 s", "wrong_unit", True, False),
        of("answers 3 s late for 4 s", "delay", LATE, 0.0),
        of("all check sums wrong for 4 s", "crc", 100.0, 0.0),
        of("everything refused (04) for 4 s", "exception", 4, 0),
        of("busy (06) to everything for 4 s", "exception", 6, 0),
        of("5 % of the answers spoilt for 4 s", "crc", 5.0, 0.0),
        of("echo for 4 s", "echo", True, False),
        Fault("mains off for 4 s, 3 s of start", furnaces.model.mains_off, furnaces.model.mains_on),
        Fault("USB plug pulled for 4 s", furnaces.unplug, furnaces.plug_in),
    ]
