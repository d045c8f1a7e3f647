"""The whole server in the process of the test, on free ports of the loopback interface."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from devices.caen.simulator.server import SimulatedSupply
from ioc.app import App
from ioc.records import Record
from ioc.site.config import parse_site
from tests.libca import CaError, Channel, Context

ECA_NORMAL = 1

DEVICE = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23", "simulated": True}


@asynccontextmanager
async def running(*devices: Mapping[str, Any], **sections: Any) -> AsyncIterator[App]:
    """Run a site on free ports of the loopback interface, and see that it ends in time."""
    site = {
        "site": {"prefix": "LAB"},
        "server": {"interfaces": ["127.0.0.1"]},
        "device": list(devices or [DEVICE]),
    }
    app = App(parse_site(site | sections), port=0)
    try:
        await app.start()
        assert await app.wait_until_read(30.0)
        yield app
    finally:
        async with asyncio.timeout(10.0):
            await app.stop()
        gc.unfreeze()


def supply(app: App, name: str = "HV1") -> SimulatedSupply:
    simulator = app.simulators[name]
    assert isinstance(simulator, SimulatedSupply)
    return simulator


def record(app: App, suffix: str, device: str = "HV1") -> Record:
    return app.records[f"LAB:{device}:{suffix}"]


async def as_client(app: App, work: Callable[[Context], Any]) -> Any:
    """Do something as a libca client in a thread of its own."""

    def client() -> Any:
        with Context(f"127.0.0.1:{app.search_port}") as context:
            return work(context)

    return await asyncio.to_thread(client)


def failed(channel: Channel, value: object) -> bool:
    """Put with completion, and return whether the client got a failure."""
    try:
        return channel.put_callback(value) != ECA_NORMAL
    except CaError:
        return True
