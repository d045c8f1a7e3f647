"""Screens for Phoebus and CS-Studio's other display runtimes.

Start with ``overview.bob``. The prefix is a macro with a default, ``$(P=LAB)``, so that a screen can be opened without
macros; web runtimes know no defaults and no tabs, and get files of their own in the folder ``web``, with ``$(P)``.
"""

from __future__ import annotations

from ioc.export.phoebus import bob, furnace, parts, site, supply
from ioc.export.plant import Channel, Device, Plant
from ioc.export.plt import channel_plot, furnace_plot, supply_plot
from ioc.export.traces import TRACES


def write(plant: Plant) -> dict[str, str]:
    """Return all screens by file name, the plots they show, and their colours for the colour file of a site."""
    files = {
        "overview.bob": site.overview(plant).text(),
        "server.bob": site.server(plant).text(),
        "alarms.bob": site.alarm_list(plant).text(),
    }
    place = parts.channel_place(plant.prefix)
    for device in plant.devices:
        base = parts.device_place(plant.prefix).base
        files[supply.device_file(device)] = site.device(plant, device).text()
        if device.supplies:
            files[supply.ROW_FILE] = supply.row(plant).text()
            files[supply.TRIP_FILE] = supply.trip(plant).text()
            files[supply.crate_file(device)] = supply.crate(plant, device).text()
            files[supply.channel_file(device)] = supply.channel(plant, device).text()
            files["hv-channel.plt"] = channel_plot(place.base)
            files[f"{device.name}.plt"] = supply_plot(device, base.replace("$(DEV)", device.name))
            files[f"{device.name}-plot.bob"] = supply.plots(device).text()
        elif device.heats:
            files[furnace.file(device)] = furnace.furnace(plant, device).text()
            files["furnace.plt"] = furnace_plot("Furnace", base, device)
    for name in plant.groups:
        files[site.group_file(name)] = site.group(plant, name).text()
    web = {f"web/{name}": _for_web(text, plant.prefix) for name, text in files.items()}
    return {**files, **web, "color.def": colors()}


def _for_web(text: str, prefix: str) -> str:
    """Return a file as web runtimes want it: without defaults of macros, and opening screens in place."""
    text = text.replace(parts.prefix_macro(prefix), "$(P)")
    return text.replace("<target>tab</target>", "<target>replace</target>")


def colors() -> str:
    """Return the colours of the screens in the form of a colour file, for sites that want others."""
    lines = [f"{name} = {red}, {green}, {blue}" for name, red, green, blue in (*bob.OWN_COLORS, *TRACES)]
    return "\n".join(["# Colours of these screens: append them to the site's colour file to change them.", *lines, ""])


def screen_of(plant: Plant, device: Device, channel: Channel | None) -> tuple[str, dict[str, str]]:
    """Return the screen that shows a device or one of its channels, and the macros to open it with."""
    macros = {"P": plant.prefix, "DEV": device.name}
    if channel is not None and device.supplies:
        return supply.channel_file(device), {**macros, "CH": f"{channel.number:02d}", "ALIAS": channel.alias}
    return site.main_file(device), macros
