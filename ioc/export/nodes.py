"""What the processes of a site need: device nodes and network interfaces of their computer, their command lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from devices.model import DeviceSettings
from ioc.export.plant import Plant
from ioc.site.config import Site


def device_nodes(devices: Iterable[DeviceSettings]) -> list[str]:
    """Return the device nodes of the computer that devices are reached through, or their CAN adapters."""
    return sorted({node for device in devices if not device.simulated for node in _nodes(device)})


def can_interfaces(devices: Iterable[DeviceSettings]) -> list[str]:
    """Return the network interfaces of SocketCAN that devices are reached through."""
    buses = [device.bus for device in devices if not device.simulated]
    return sorted({str(bus["channel"]) for bus in buses if bus.get("interface") == "socketcan" and "channel" in bus})


def servers(plant: Plant) -> Iterator[tuple[Site, str, list[str]]]:
    """Yield what each server of a site serves, what follows its name, ``-ioc2``, and the words of its command line."""
    for part in plant.parts:
        yield (part, f"-{part.ioc.lower()}", _only(part)) if len(plant.parts) > 1 else (part, "", [])


def bridges(plant: Plant) -> Iterator[tuple[str, list[str]]]:
    """Yield for each bridge of a site what follows its name, ``-2``, and the words of its command line."""
    shares = [word for part in plant.parts for word in _only(part)] if len(plant.parts) > 1 else []
    count = len(plant.archivers) or 1
    for number in range(1, count + 1):
        yield (f"-{number}", [*shares, "--shard", f"{number}/{count}"]) if count > 1 else ("", shares)


def _only(part: Site) -> list[str]:
    return ["--only", ",".join(device.name for device in part.devices)]


def _nodes(device: DeviceSettings) -> Iterator[str]:
    if device.address.startswith("serial://"):
        yield device.address.removeprefix("serial://").partition("?")[0]
    channel = str(device.bus.get("channel", ""))
    if channel.startswith("/dev/"):
        yield channel.partition("@")[0]
