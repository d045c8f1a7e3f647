"""Faults of an Iseg module of 16 channels on a CAN bus of 125 kbit/s behind an slcan adapter, for bench.faults."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bench.faults import Fault, Wire
from devices.iseg.edcp.bits import ModuleControl
from devices.iseg.edcp.protocol import registration
from devices.iseg.simulator.bus import SimulatedIsegBus, simulated_bus
from devices.iseg.simulator.module import E16C1, SimulatedIsegModule
from devices.links.can_frame import Frame

KBIT, ADDRESS, CHANNELS = 125, 5, 16
LATE = 3.0  # s, three times the time-out
_numbers = itertools.count()
WATCHED = ("VMON", "IMON", "STAT", "STATE", "ON:RBV", "VDIFF", "MOVING")


@asynccontextmanager
async def paced(pace: float | None = None) -> AsyncIterator[Wire]:
    """Run a module with all outputs at 1000 V; ``pace`` is the reaction time of the module in seconds."""
    module = SimulatedIsegModule(ADDRESS, E16C1, channels=CHANNELS, bit_rate=KBIT)
    for channel in module.channels:
        channel.vset, channel.on = 1000.0, True
    module.ramp_speed = 20.0
    module.step(5.0)
    reaction = {} if pace is None else {"reaction": pace}
    with simulated_bus(module, interface="slcan", bit_rate=KBIT, **reaction) as segment:
        name = f"bus{next(_numbers)}"  # servers in one process share adapters by name
        adapter = {"interface": "slcan", "channel": segment.channel, "bitrate": KBIT * 1000, "sleep_after_open": 0.0}
        site = {
            "site": {"prefix": "LAB"},
            "server": {"interfaces": ["127.0.0.1"]},
            "can": {name: adapter},
            "device": [{"name": "HV1", "type": "iseg-edcp", "can": name, "module": ADDRESS, "channels": CHANNELS}],
        }
        watched = [f"LAB:HV1:CH{channel:02d}:{name}" for channel in (0, CHANNELS - 1) for name in WATCHED]
        yield Wire(site, [*watched, "LAB:HV1:MOD:STAT"], _faults(segment, module), lambda: len(segment.written()))


def _faults(segment: SimulatedIsegBus, module: SimulatedIsegModule) -> list[Fault]:
    wire = segment.faults

    def locked(action: Callable[[], object]) -> Callable[[], None]:
        def act() -> None:
            with segment.lock:
                action()

        return act

    def of(text: str, name: str, on: object, off: object) -> Fault:
        return Fault(text, lambda: setattr(wire, name, on), lambda: setattr(wire, name, off))

    def lose_one() -> None:
        original = segment._lost

        def lose() -> bool:
            segment._lost = original  # type: ignore[method-assign]
            return True

        segment._lost = lose  # type: ignore[method-assign]

    def insert() -> None:
        module.power_cycle()
        segment.add(module)

    def in_time() -> None:
        wire.delay = 0.0
        segment._late.clear()  # or they would answer the questions of the next run

    return [
        Fault("one frame lost", lose_one, hold=0.0),
        of("module silent for 4 s", "silent", {ADDRESS}, set()),
        Fault("module pulled for 4 s", lambda: segment.remove(ADDRESS), locked(insert)),
        Fault("power of the crate off for 4 s", locked(lambda: _power(segment, False)),
              locked(lambda: _power(segment, True))),
        Fault("logged off by another program", locked(lambda: _another_program(segment, registration(ADDRESS, False))),
              hold=0.0),
        Fault("turned to little-endian for 4 s", locked(lambda: _turn(module, False)),
              locked(lambda: _turn(module, True))),
        Fault("answers 3 s late for 4 s", lambda: setattr(wire, "delay", LATE), locked(in_time)),
        of("every tenth frame lost for 4 s", "lose", 0.1, 0.0),
        of("bus cut for 4 s", "bus_off", True, False),
        Fault("adapter unplugged for 4 s", segment.unplug, segment.plug_in),
    ]  # fmt: skip


def _turn(module: SimulatedIsegModule, big: bool) -> None:
    module.control = module.control & ~ModuleControl.BIG_ENDIAN | (ModuleControl.BIG_ENDIAN if big else 0)


def _power(segment: SimulatedIsegBus, on: bool) -> None:
    segment.crate.power = on


def _another_program(segment: SimulatedIsegBus, frame: Frame) -> None:
    """Let a frame of another program reach the module and the host."""
    segment._hear(frame)
    segment._send(frame)
