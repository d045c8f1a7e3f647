"""Screens for Phoebus and CS-Studio's other display runtimes.

Start with ``overview.bob``. The prefix is a macro with a default, ``$(P=LAB)``, so that a screen can be opened without
macros; web runtimes know no defaults and no tabs, and get files of their own in the folder ``web``, with ``$(P)``.
"""

from __future__ import annotations

from ioc.export.phoebus import bob, furnace, parts, site, supply
from ioc.export.phoebus.bob import Screen
from ioc.export.plant import Plant
from ioc.export.plt import channel_plot, furnace_plot, supply_plot
from ioc.export.traces import TRACES


def write(plant: Plant) -> dict[str, str]:
    """Return all screens by file name, the plots they show, and their colours for the colour file of a site."""
    prefix = parts.prefix_macro(plant.prefix)
    made: dict[str, Screen | str] = {
        "overview.bob": site.overview(plant),
        "server.bob": site.server(plant),
        "alarms.bob": site.alarm_list(plant),
    }
    for device in plant.devices:
        made[parts.device_file(device)] = site.device(plant, device)
        if device.supplies:
            made.setdefault(supply.ROW_FILE, supply.row(plant, device))
            made.setdefault(supply.TRIP_FILE, supply.trip(plant, device))
            made[parts.main_file(device)] = supply.crate(plant, device)
            made[parts.channel_file(device)] = supply.channel(plant, device)
            made["hv-channel.plt"] = channel_plot(f"{prefix}:$(DEV):CH$(CH)")
            made[f"{device.name}.plt"] = supply_plot(device, f"{prefix}:{device.name}")
            made[f"{device.name}-plot.bob"] = supply.plots(device)
        elif device.heats:
            made[parts.main_file(device)] = furnace.furnace(plant, device)
            made["furnace.plt"] = furnace_plot("Furnace", f"{prefix}:$(DEV)", device)
    for name in plant.groups:
        made[site.group_file(name)] = site.group(plant, name)
    files = {name: one if isinstance(one, str) else one.text() for name, one in made.items()}
    web = {f"web/{name}": _for_web(text, prefix) for name, text in files.items()}
    return {**files, **web, "color.def": colors()}


def _for_web(text: str, prefix: str) -> str:
    """Return a file as web runtimes want it: without defaults of macros, and opening screens in place."""
    return text.replace(prefix, "$(P)").replace("<target>tab</target>", "<target>replace</target>")


def colors() -> str:
    """Return the colours of the screens in the form of a colour file, for sites that want others."""
    lines = [f"{name} = {red}, {green}, {blue}" for name, red, green, blue in (*bob.OWN_COLORS, *TRACES)]
    return "\n".join(["# Colours of these screens: append them to the site's colour file to change them.", *lines, ""])
