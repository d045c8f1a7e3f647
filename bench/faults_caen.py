"""Faults of a CAEN supply on TCP whose every answer takes 50 ms, for bench.faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.faults import Fault, Wire
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply, simulated_supply

PACE = 0.05  # s of one exchange
LATE = 3.0  # s, three times the time-out
WATCHED = ("VMON", "IMON", "STAT", "STATE", "ON:RBV", "VDIFF", "MOVING", "SETTLED")


@asynccontextmanager
async def paced(pace: float | None = None) -> AsyncIterator[Wire]:
    """Run a supply with one output at 1000 V; ``pace`` is the time of an exchange in seconds."""
    model = CaenModel()
    channel = model.channels[0]
    channel.vset, channel.rup = 1000.0, 500.0
    channel.switch_on()
    model.step(5.0)
    async with simulated_supply(model) as supply:
        supply.faults.delay = PACE if pace is None else pace
        device = {"name": "HV1", "type": "caen-dt55xx", "address": supply.address, "period": 1}
        site = {"site": {"prefix": "LAB"}, "server": {"interfaces": ["127.0.0.1"]}, "device": [device]}
        watched = [f"LAB:HV1:CH00:{name}" for name in WATCHED]
        yield Wire(site, watched, _faults(supply), lambda: sum(b"CMD:SET" in line for line in supply.received))


def _faults(supply: SimulatedSupply) -> list[Fault]:
    wire, pace = supply.faults, supply.faults.delay

    def lose_one() -> None:
        def lose(_: bytes) -> bytes:
            wire.mangle = None
            return b""

        wire.mangle = lose

    async def power_off() -> None:
        supply.model.power_cycle()
        await supply.refuse_connections()

    async def power_on() -> None:
        channel = supply.model.channels[0]
        channel.switch_on()
        supply.model.step(5.0)
        await supply.accept_connections()

    def groups(answered: bool) -> None:
        supply.model.refuse_groups = not answered

    def of(text: str, name: str, on: object, off: object) -> Fault:
        return Fault(text, lambda: setattr(wire, name, on), lambda: setattr(wire, name, off))

    return [
        Fault("one answer lost", lose_one, hold=0.0),
        Fault("connection reset by the supply", supply.drop_connections, hold=0.0),
        of("no answers for 4 s", "silent", True, False),
        of("answers 3 s late for 4 s", "delay", LATE, pace),
        of("random bytes for 4 s", "garbage", True, False),
        of("half an answer, then a reset, for 4 s", "reset_mid_reply", True, False),
        Fault("cable pulled for 4 s", supply.refuse_connections, supply.accept_connections),
        Fault("mains off for 4 s", power_off, power_on),
        Fault("group reads refused for 4 s", lambda: groups(False), lambda: groups(True)),
        of("every 30th answer garbled for 4 s", "mangle", _garble_some(), None),
    ]


def _garble_some() -> object:
    count = 0

    def garble(reply: bytes) -> bytes:
        nonlocal count
        count += 1
        return b"#CMD:OK,VAL:1x3;\r\n" if count % 30 == 0 else reply

    return garble
