"""Data Browser plots for Phoebus: voltages and currents of each supply, each furnace, the health of the server.

The format is that of Phoebus' ``app/databrowser`` (``XMLPersistence``). Archives are left to the site's preferences.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ioc.export.plant import Device, Plant
from ioc.export.traces import TRACES, Color, document, elements

_DARK = {"red": 27, "green": 31, "blue": 38}
_LIGHT = {"red": 220, "green": 226, "blue": 234}


@dataclass(frozen=True, slots=True)
class Trace:
    """One curve: its PV, the number of its axis, its name in the legend."""

    pv: str
    axis: int
    name: str


def write(plant: Plant) -> dict[str, str]:
    """Return the plots by file name, with full PV names: they are opened without macros."""
    files = {}
    for device in plant.devices:
        base = f"{plant.prefix}:{device.name}"
        if device.supplies:
            files[f"{device.name}.plt"] = supply_plot(device, base)
        elif device.heats:
            files[f"{device.name}.plt"] = furnace_plot(device.name, base, device)
    for name, records in plant.servers.items():
        wanted = [suffix for suffix in ("LAG", "MEM_USED") if suffix in records]
        traces = [Trace(f"{plant.prefix}:{name}:{suffix}", n, suffix) for n, suffix in enumerate(wanted)]
        files[f"{name}.plt"] = plot(f"{plant.prefix} {name}", ["ms", "MB"], traces)
    return files


def supply_plot(device: Device, base: str) -> str:
    """Return voltages on one axis and currents on the other."""
    traces = [
        Trace(f"{base}:{channel.key}:{suffix}", axis, f"{channel.alias or channel.key} {suffix}")
        for axis, suffix in enumerate(("VMON", "IMON"))
        for channel in device.channels
    ]
    return plot(device.name, ["V", "uA"], traces)


def channel_plot(base: str) -> str:
    """Return voltage, its setting and current of one channel."""
    traces = [Trace(f"{base}:VMON", 0, "VMON"), Trace(f"{base}:VSET:RBV", 0, "VSET"), Trace(f"{base}:IMON", 1, "IMON")]
    return plot("Channel", ["V", "uA"], traces)


def furnace_plot(title: str, base: str, device: Device) -> str:
    """Return temperature, working setpoint and output."""
    unit = device.records["TEMP"].fields.get("EGU", "")
    axes: Mapping[str, int] = {"TEMP": 0, "TWORK": 0, "OUT": 1}
    traces = [Trace(f"{base}:{name}", axis, name) for name, axis in axes.items() if name in device.records]
    return plot(title, [unit, "%"], traces)


def plot(title: str, axes: Sequence[str], traces: Sequence[Trace]) -> str:
    """Return the file of a plot over the last hour, which goes on by itself."""
    root = ET.Element("databrowser")
    elements(root, title=title, save_changes=False, show_toolbar=True, show_legend=True, grid=True)
    elements(root, scroll=True, update_period=1.0, scroll_step=5, start="-1 hours", end="now")
    elements(root, archive_rescale="NONE", foreground=_LIGHT, background=_DARK)
    holder = ET.SubElement(root, "axes")
    for number, name in enumerate(axes):
        axis = ET.SubElement(holder, "axis")
        elements(axis, visible=True, name=name, use_axis_name=True, use_trace_names=False, right=number > 0)
        elements(axis, min=0.0, max=10.0, grid=True, autoscale=True, color=_LIGHT)
    pvs = ET.SubElement(root, "pvlist")
    for number, trace in enumerate(traces):
        pv = ET.SubElement(pvs, "pv")
        elements(pv, display_name=trace.name, visible=True, name=trace.pv, axis=trace.axis)
        elements(pv, color=_rgb(TRACES[number % len(TRACES)]))
        elements(pv, trace_type="AREA", linewidth=2, line_style="DASH" if trace.axis else "SOLID")
        elements(pv, point_type="NONE", point_size=2, waveform_index=0, period=0.0, ring_size=5000)
        elements(pv, request="OPTIMIZED")
    return document(root)


def _rgb(color: Color) -> dict[str, int]:
    return {"red": color.red, "green": color.green, "blue": color.blue}
