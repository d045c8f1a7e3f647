"""The alarm tree of a site for the alarm server of Phoebus (and BEAST before it), as XML to import.

The format is that of ``app/alarm/model`` of Phoebus, ``XmlModelReader``. Links to screens begin with ``$(TOP)``, which
the preference ``org.phoebus.applications.alarm/macros`` of a site replaces by the folder of the screens.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from ioc.export.alarms import Alarm, alarms
from ioc.export.plant import Plant
from ioc.export.traces import document, texts


def write(plant: Plant) -> dict[str, str]:
    """Return the tree; its name, which the import must be given too, is the prefix of the site."""
    root = ET.Element("config", name=plant.prefix.replace(":", "_"))
    areas: dict[tuple[str, ...], ET.Element] = {(): root}
    for alarm in alarms(plant):
        _pv(_area(areas, tuple(alarm.path), alarm), alarm)
    _pvs_first(root)
    return {"alarms.xml": document(root)}


def screen_link(screen: tuple[str, Mapping[str, str]], top: str = "file:$(TOP)") -> str:
    """Return the resource that opens a screen with its macros."""
    file, macros = screen
    return f"{top}/{file}?{urlencode(macros, quote_via=quote)}"


def _area(areas: dict[tuple[str, ...], ET.Element], path: tuple[str, ...], alarm: Alarm) -> ET.Element:
    """Find the component of a path, or make it; the display of a device or channel is inherited by its PVs."""
    if path not in areas:
        areas[path] = ET.SubElement(_area(areas, path[:-1], alarm), "component", name=path[-1])
        if path == tuple(alarm.path):
            _detail(areas[path], "display", path[-1], screen_link(alarm.screen))
    return areas[path]


def _pv(parent: ET.Element, alarm: Alarm) -> None:
    pv = ET.SubElement(parent, "pv", name=alarm.pv)
    flag = "true" if alarm.spoken else "false"
    texts(pv, description=alarm.description, enabled="true", latching=flag, annunciating=flag, delay=alarm.delay)
    if alarm.filter:
        texts(pv, filter=alarm.filter)
    if alarm.guidance:
        _detail(pv, "guidance", "What to do", alarm.guidance)
    if alarm.command is not None:
        name, about = alarm.command
        _detail(pv, "command", about, f"caput {name} 1")


def _pvs_first(component: ET.Element) -> None:
    """Put the PVs of each component before the components in it, which is the order they are read in."""
    component[:] = sorted(component, key=lambda child: child.tag == "component")
    for child in component:
        if child.tag == "component":
            _pvs_first(child)


def _detail(parent: ET.Element, tag: str, title: str, details: str) -> None:
    texts(ET.SubElement(parent, tag), title=title, details=details)
