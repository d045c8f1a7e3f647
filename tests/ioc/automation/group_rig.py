"""A site with a group, in simulated time, and what its device was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.ioc.automation.plant import Plant

OFF, STANDBY, ON = 0, 1, 2

RAMPING, MIXED, FAULT, LOST = 1, 4, 5, 6

HV = {
    "name": "HV1",
    "type": "caen-dt55xx",
    "address": "tcp://127.0.0.1:23",
    "channels": 4,
    "channel": {"0": {"alias": "GEM:DRIFT"}, "1": {"alias": "GEM:G3"}, "2": {"alias": "GEM:G2"}},
}

OVEN = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyUSB0", "safe_temperature": 20.0}

GEM = {"name": "GEM", "members": ["GEM:*"], "standby": 300.0, "on": 1000.0, "order": ["GEM:DRIFT", "GEM:G3", "GEM:G2"]}


@asynccontextmanager
async def site(group: Mapping[str, Any] | None = None, **changes: Any) -> AsyncIterator[Plant]:
    data = {"site": {"prefix": "LAB"}, "device": [HV, OVEN], "group": [{**(group or GEM), **changes}]}
    async with Plant(data).running() as plant:
        yield plant


def writes(plant: Plant) -> list[tuple[str, Any]]:
    return [(name, value) for _, name, value in plant.devices["HV1"].writes]


async def arrive(plant: Plant, state: int) -> None:
    assert await plant.outcome(plant.start("GRP:GEM:GO", state), 200.0) == ""
