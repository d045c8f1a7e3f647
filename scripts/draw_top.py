"""Draw docs/images/top.svg: ``labioc top`` in front of simulated devices, one channel of which has tripped.

    python scripts/draw_top.py

Takes about a minute; needs the extra ``terminal``. What it shows has come over Channel Access.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

from devices.caen.simulator.server import SimulatedSupply
from devices.registry import FAMILIES
from ioc.app import App
from ioc.client import Client
from ioc.commands.demo_site import ADAPTERS, PREFIX
from ioc.export.plant import Plant
from ioc.site.config import parse_site
from ioc.top.rows import tables
from ioc.top.screen import Top

IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "top.svg"
SIZE = (124, 36)
SECONDS = 45.0
"""How long the voltages are followed before the picture is taken."""

PUTS = {
    "HV1:CH00:VSET": "600", "HV1:CH01:VSET": "900", "HV1:CH02:VSET": "450", "FURN1:TSET": "80",
    "HV1:CH00:ON": "ON", "HV1:CH01:ON": "ON", "HV1:CH02:ON": "ON",
}  # fmt: skip
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""What an SVG of rich fetches from the network; a fixed-width font of the reader does as well."""


async def main() -> None:
    """Run devices, server and top, and take the picture."""
    devices = [
        {**family.example, "type": family.type, "simulated": True} for family in FAMILIES.values() if family.demo
    ]
    devices[0]["channel"] = {"0": {"alias": "CALO:PMT07"}, "1": {"alias": "CALO:PMT08"}, "2": {"alias": "VETO:PMT01"}}
    site = parse_site({"site": {"prefix": PREFIX}, "can": ADAPTERS, "device": devices})
    app = App(site, 0, local_only=True)
    env = {"EPICS_CA_AUTO_ADDR_LIST": "NO"}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(app.stop)
        await app.start()
        await app.wait_until_read(10.0)
        env["EPICS_CA_ADDR_LIST"] = f"127.0.0.1:{app.search_port}"
        client = await stack.enter_async_context(Client(env))
        channels = await client.connect([f"{PREFIX}:{name}" for name in PUTS], 5.0)
        top = Top(PREFIX, tables(Plant.build([site])), env)
        async with top.run_test(size=SIZE) as pilot:
            for channel, value in zip(channels, PUTS.values(), strict=True):
                await channel.put(value, 10.0)
            await pilot.pause(SECONDS)
            supply = app.simulators["HV1"]
            assert isinstance(supply, SimulatedSupply)
            supply.model.trip(1)
            await pilot.pause(6.0)
            picture = top.export_screenshot(title=f"labioc top ({PREFIX})")
    IMAGE.write_text(FONT.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
