"""``labioc demo``: simulated devices behind their real transports, the IOC that serves them, and the archiver."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from collections.abc import Mapping

from devices.registry import FAMILIES
from devices.simulation.backdoor import TextDoor
from ioc.app import App, stop_signal
from ioc.commands.arguments import port_number
from ioc.commands.demo_archiver import DemoArchiver
from ioc.commands.demo_site import NAME, PREFIX, demo_site
from ioc.console.server import consoles
from ioc.logs import set_up_logging
from ioc.services.state import state_folder

CHANNEL_ACCESS_PORT = 5064

_READ_SECONDS = 3.0
"""How long the devices may take to be read before the demo presents itself."""


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help="Channel Access port, 0 for any (default: EPICS_CA_SERVER_PORT, or 5064 if it is free)",
    )


def demo(args: argparse.Namespace) -> int:
    """Run the demo until Ctrl-C; raises OSError when a port can't be had."""
    set_up_logging()
    asyncio.run(_demo(args.port))
    return 0


async def _demo(port: int | None) -> None:
    stop = stop_signal()
    usual = int(os.environ.get("EPICS_CA_SERVER_PORT") or CHANNEL_ACCESS_PORT)
    if port is None:
        port = usual if _is_free(usual) else 0
        if port == 0:
            print(f"Port {usual} is taken, by another IOC perhaps: this one uses a port of its own.")
    site = demo_site()
    app = App(site, port, local_only=True)  # in a laboratory another server may have the real PVs of these names
    doors: dict[str, TextDoor] = {}
    archiver: DemoArchiver | None = None
    try:
        await app.start()
        archiver = DemoArchiver(app.search_port)
        for device in site.devices:
            simulation = FAMILIES[device.type].simulation()
            door = doors[device.name] = simulation.back_door(app.simulators[device.name], 0)
            await door.start()
        await app.wait_until_read(_READ_SECONDS)
        print("\n".join(_presentation(app, doors, archiver, usual)), flush=True)
        async with consoles(app, state_folder(site), stop):
            await stop.wait()
    finally:
        if archiver is not None:
            await archiver.stop()
        for door in doors.values():
            await door.stop()
        await app.stop()


def _presentation(app: App, doors: Mapping[str, TextDoor], archiver: DemoArchiver, usual: int) -> list[str]:
    """Say what is running where, and what to try."""
    first = f"{PREFIX}:{app.site.devices[0].name}:CH00"
    lines = ["", "Running on this computer, without any hardware:"]
    for settings in app.site.devices:
        simulator, door = app.simulators[settings.name], doors[settings.name]
        lines.append(f"  {settings.name:<6} simulated {FAMILIES[settings.type].title}")
        lines.append(f"         {simulator.address}, back door on port {door.port}")
    lines.append(
        f"  IOC    {len(app.records)} PVs over Channel Access on port {app.search_port}, for this computer only"
    )
    if app.tcp_port != app.search_port:
        lines.append(f"         (searches on UDP {app.search_port}, circuits on TCP {app.tcp_port})")
    lines += ["  archiver  every event, in a log that is removed at the end", "", "Try in another terminal:"]
    port = "" if app.search_port == usual else f":{app.search_port}"
    lines.append(f"  export EPICS_CA_ADDR_LIST=127.0.0.1{port} EPICS_CA_AUTO_ADDR_LIST=NO")
    lines += [
        f"  labioc get {first}:VMON",
        f"  labioc put {first}:VSET 500; labioc put {first}:ON ON",
        f"  labioc monitor {first}:VMON {first}:STATE",
        f"  labioc top {NAME}; labioc console {NAME}",
        f"  labioc history {first}:VMON --since 10m --plot terminal --directory {archiver.directory}",
        "Clients of EPICS base (caget, caput -c, camonitor), Phoebus and all others do the same.",
        "",
        "Make something go wrong (bash; or telnet to the back door and type help):",
    ]
    for settings in app.site.devices:
        simulation = FAMILIES[settings.type].simulation()
        lines.append(f"  echo {simulation.example} > /dev/tcp/127.0.0.1/{doors[settings.name].port}")
        lines.append(f"  then {simulation.effect.format(device=f'{PREFIX}:{settings.name}')}")
    return [*lines, "", "Ctrl-C ends everything."]


def _is_free(port: int) -> bool:
    """Return whether a TCP port can be listened at on all addresses of this computer."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
