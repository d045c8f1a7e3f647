"""What a process that serves some devices needs of its computer: device nodes and network interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from devices.model import DeviceSettings


def device_nodes(devices: Iterable[DeviceSettings]) -> list[str]:
    """Return the device nodes of the computer that devices are reached through, or their CAN adapters."""
    return sorted({node for device in devices if not device.simulated for node in _nodes(device)})


def can_interfaces(devices: Iterable[DeviceSettings]) -> list[str]:
    """Return the network interfaces of SocketCAN that devices are reached through."""
    buses = [device.bus for device in devices if not device.simulated]
    return sorted({str(bus["channel"]) for bus in buses if bus.get("interface") == "socketcan" and "channel" in bus})


def _nodes(device: DeviceSettings) -> Iterator[str]:
    if device.address.startswith("serial://"):
        yield device.address.removeprefix("serial://").partition("?")[0]
    channel = str(device.bus.get("channel", ""))
    if channel.startswith("/dev/"):
        yield channel.partition("@")[0]
