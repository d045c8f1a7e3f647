"""One server for each PV and each device: a second one would undo the settings of the first.

What a computer can know is held under a name in the abstract namespace of Unix sockets (unix(7)): the kernel frees it
when the process ends, however it ends, and tells which process holds it. Other computers are asked for the PVs with
a search of Channel Access, as any client does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import pwd
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.site.config import Site

if TYPE_CHECKING:
    from labioc_ca.events import Event, Value

log = logging.getLogger("labioc")

SEARCH_SECONDS: Final = 0.5
"""How long other servers may take to answer; the search is sent several times meanwhile."""

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred of socket(7): process, user, group
_LOCAL: Final = ("127.", "localhost", "::1")


@asynccontextmanager
async def sole_master(site: Site, port: int, interfaces: Sequence[str], force: bool = False) -> AsyncIterator[None]:
    """Be the only server of these PVs, at this search port, and of the devices until the block ends.

    Port 0, which no client knows beforehand, leaves the PVs out. Devices that the server simulates do not count; one at
    an address of this computer does, since a tunnel or a server of serial ports may be there.
    Raises OSError that names who holds what; with ``force`` that is logged, and the block entered all the same.
    """
    with ExitStack() as held:
        reasons = [reason for key, what in _names(site, port) if (reason := _hold(held, key, what))]
        if port and not reasons:
            reasons = await _served_elsewhere(site, port, interfaces)
        if reasons and not force:
            raise OSError("\n  ".join(["a server is there already; --force starts this one all the same:", *reasons]))
        for reason in reasons:
            log.warning("started by force: %s", reason)
        yield


def _names(site: Site, port: int) -> Iterator[tuple[str, str]]:
    """Yield what is to be held, each as a key and in words."""
    parts = [site.ioc, *(device.name for device in site.devices), *(group.name for group in site.pvgroups)]
    for name in parts if port else ():
        yield f"PVs {site.prefix}:{name} {port}", f"the PVs {site.prefix}:{name}:... (port {port})"
    wires = dict.fromkeys(wire for device in site.devices if (wire := _wire(device)) is not None)
    for wire in wires:
        yield f"device {wire}", wire


def _wire(settings: DeviceSettings) -> str | None:
    """Return where a device is, as another server would name it; None for one that cannot be in its way."""
    place = FAMILIES[settings.type].place({"address": settings.address, **settings.options})
    if settings.simulated or place is None:
        return None
    if settings.bus:  # an adapter may be shared, a module may not; virtual ones are inside the process
        adapter = f"{settings.bus.get('interface')} {settings.bus.get('channel', '')}".strip()
        return None if adapter.startswith("virtual") else f"{place.text} at {adapter}"
    return place.wire


def _hold(held: ExitStack, key: str, what: str) -> str | None:
    """Hold a name of this computer as long as ``held``; return who has it when it is taken."""
    address = f"\0labioc-{hashlib.sha256(key.encode()).hexdigest()}"
    holder = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        holder.bind(address)
        holder.listen()
    except OSError:
        return f"{what}: held by {_holder(address)}"
    return None


def _holder(address: str) -> str:
    """Return the process that holds a name, with its user and command."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address)
            process, user, _ = _CREDENTIALS.unpack(
                probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            )
            words = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            command = " ".join(words[1:] if "python" in words[0] else words).strip()
            return f"process {process} of {pwd.getpwuid(user).pw_name} ({command})"
        except (OSError, KeyError):
            return "another process of this computer"


async def _served_elsewhere(site: Site, port: int, interfaces: Sequence[str]) -> list[str]:
    """Return which PVs of the site another server answers for."""
    from labioc_ca.client import Subscriber  # noqa: PLC0415  no other part of a server need be a client

    own = f"{site.prefix}:{site.ioc}"
    about = {f"{own}:HOSTNAME": "on", f"{own}:PROCESS_ID": "process"}
    asked = [f"{own}:HEARTBEAT", *(f"{site.prefix}:{device.name}:COMM" for device in site.devices)]
    values: dict[str, Value] = {}
    answered = asyncio.Event()

    def take(events: list[Event]) -> None:
        values.update({event.pv: event.value for event in events if event.value is not None})
        if {asked[0], *about} <= values.keys():
            answered.set()

    try:
        subscriber = Subscriber([*asked, *about], take, _environment(port, interfaces))
        await subscriber.start()
    except (OSError, ValueError) as error:
        log.warning("other servers could not be asked for these PVs: %s", error)
        return []
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(answered.wait(), SEARCH_SECONDS)
        who = " ".join(f"{word} {values[name]}" for name, word in about.items() if name in values)
        return [
            f"{state.name}: served by {state.server}" + (f" ({who})" if who else "")
            for state in subscriber.states()
            if state.name in asked and state.server
        ]
    finally:
        await subscriber.stop()


def _environment(port: int, interfaces: Sequence[str]) -> dict[str, str]:
    """Return where to search: as clients of this computer do, and on it; only there when it serves no other."""
    known = {**os.environ, "EPICS_CA_SERVER_PORT": str(port)}
    if all(address.startswith(_LOCAL) for address in interfaces):
        return {
            **known,
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_NAME_SERVERS": "",
        }
    return {**known, "EPICS_CA_ADDR_LIST": f"{known.get('EPICS_CA_ADDR_LIST', '')} 127.0.0.1"}
