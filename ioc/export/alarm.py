"""The alarms of a site, and its alarm tree for the alarm server of Phoebus (and BEAST before it), as XML to import.

Which PVs an alarm handler watches, and how, is read from the ``alarm`` tags of the templates. A tag is
``spoken: WORDS`` or ``shown: WORDS``, with a delay where it is not the usual one: ``spoken 10 s: WORDS``. Spoken alarms
latch until they are acknowledged, the others follow their PV. The alarms of a device count only while it answers, and
the answers only while the server runs, so that one cause raises one alarm.

The format of the tree is that of ``app/alarm/model`` of Phoebus, ``XmlModelReader``. Links to screens begin with
``$(TOP)``, which the preference ``org.phoebus.applications.alarm/macros`` of a site replaces by their folder.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.export.phoebus.parts import screen_of
from ioc.export.plant import Device, Plant, words_for
from ioc.export.traces import document, elements

_TAG = re.compile(r"(?P<how>spoken|shown)(?: (?P<delay>[0-9]+) s)?: (?P<words>.+)")
_USUAL_DELAY = 5


@dataclass(frozen=True, slots=True)
class Alarm:
    """One PV of an alarm tree.

    ``path`` are the areas above it. ``description`` names device and channel, because it is all that is spoken.
    ``delay`` is in seconds. ``filter`` is empty, or what must hold for the alarm to count; ``screen`` is a file of the
    Phoebus export with its macros, ``command`` a PV that is written 1 to acknowledge, with what that does.
    """

    pv: str
    path: Sequence[str]
    description: str
    spoken: bool
    delay: int
    filter: str
    guidance: str
    screen: tuple[str, dict[str, str]]
    command: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Subject:
    """What the alarms of one device, channel, server or group have in common; ``words`` begin their descriptions."""

    path: Sequence[str]
    words: str
    filter: str
    screen: tuple[str, dict[str, str]]

    def alarm(self, record: RecordDef, command: tuple[str, str] | None = None) -> Iterator[Alarm]:
        """Yield the alarm of a record that has one. Raises DatabaseError for a tag that is wrong."""
        tag = record.info.get("alarm")
        if tag is None:
            return
        match = _TAG.fullmatch(tag)
        if match is None:
            found = f"{record.name}: info alarm: found {tag!r}, allowed: spoken [N s]: WORDS or shown [N s]: WORDS"
            raise DatabaseError([found])
        yield Alarm(
            pv=record.name,
            path=self.path,
            description=f"{self.words}: {match['words']}" if self.words else match["words"],
            spoken=match["how"] == "spoken",
            delay=int(match["delay"] or _USUAL_DELAY),
            filter=self.filter,
            guidance=record.info.get("guidance", ""),
            screen=self.screen,
            command=command,
        )


def alarms(plant: Plant) -> Iterator[Alarm]:
    """Yield every PV with an ``alarm`` tag, from servers to devices. Raises DatabaseError for a tag that is wrong."""
    macros = {"P": plant.prefix}
    runs = {name: f"'{plant.prefix}:{name}:HEARTBEAT' >= 0" for name in plant.servers}
    for name, records in plant.servers.items():
        server = _Subject(["Server", name], "", runs[name], ("server.bob", macros))
        for suffix, record in records.items():
            yield from (replace(server, filter="") if suffix == "HEARTBEAT" else server).alarm(record)
        for record in plant.all_off(name)[1].values():
            yield from server.alarm(record)
    for name, records in plant.archivers.items():
        shard = name.rpartition(":")[0]
        path = ["Server", f"Archiver {shard}".strip()]
        # without its IOC it has nothing to write: the alarm of the IOC
        bridge = _Subject(path, shard, next(iter(runs.values())), ("server.bob", macros))
        for record in records.values():
            yield from bridge.alarm(record)
    for part in plant.parts:
        for name in (one.name for one in part.groups):
            group = _Subject(["Groups", name], f"group {name}", runs[part.ioc], (f"group-{name}.bob", macros))
            for record in plant.groups[name].values():
                yield from group.alarm(record)
        for name in (one.name for one in part.interlocks):
            path = ["Interlocks", name]
            interlock = _Subject(path, f"interlock {name}", runs[part.ioc], ("overview.bob", macros))
            command = f"{plant.prefix}:ILK:{name}:ACK:CMD", "Acknowledge that it was not OK"
            for suffix, record in plant.interlocks[name].items():
                yield from interlock.alarm(record, command if suffix == "OK" else None)
    for device, channel, records in plant.walk():
        link = f"{plant.prefix}:{device.name}:COMM"
        path = [device.area, device.name, *([channel.key] if channel else [])]
        file, own = screen_of(device, channel)
        subject = _Subject(path, words_for(device, channel), f"'{link}' == 1", (file, macros | own))
        for record in records.values():
            one = replace(subject, filter=runs[device.server]) if record.name == link else subject
            yield from one.alarm(record, _acknowledge(record, device, plant))


def _acknowledge(record: RecordDef, device: Device, plant: Plant) -> tuple[str, str] | None:
    """Return the command that acknowledges what a record latches: its own, or that of its part of the device."""
    for base in (record.name, record.name.rpartition(":")[0]):
        command = plant.records.get(f"{base}:ACK:CMD")
        if command is not None and base != f"{plant.prefix}:{device.name}":
            return command.name, command.fields["DESC"]
    return None


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
            elements(areas[path], display={"title": path[-1], "details": screen_link(alarm.screen)})
    return areas[path]


def _pv(parent: ET.Element, alarm: Alarm) -> None:
    pv = ET.SubElement(parent, "pv", name=alarm.pv)
    elements(pv, description=alarm.description, enabled=True, latching=alarm.spoken, annunciating=alarm.spoken)
    elements(pv, delay=alarm.delay)
    if alarm.filter:
        elements(pv, filter=alarm.filter)
    if alarm.guidance:
        elements(pv, guidance={"title": "What to do", "details": alarm.guidance})
    if alarm.command is not None:
        name, about = alarm.command
        elements(pv, command={"title": about, "details": f"caput {name} 1"})


def _pvs_first(component: ET.Element) -> None:
    """Put the PVs of each component before the components in it, which is the order they are read in."""
    component[:] = sorted(component, key=lambda child: child.tag == "component")
    for child in component:
        if child.tag == "component":
            _pvs_first(child)
