"""Which PVs an alarm handler watches, and how: read from the ``alarm`` tags of the templates.

A tag is ``spoken: WORDS`` or ``shown: WORDS``, with a delay where it is not the usual one: ``spoken 10 s: WORDS``.
Spoken alarms latch until they are acknowledged, the others follow their PV. The alarms of a device count only while it
answers, and the answers only while the server runs, so that one cause raises one alarm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.export.phoebus import screen_of
from ioc.export.plant import Device, Plant

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


def alarms(plant: Plant) -> Iterator[Alarm]:
    """Yield every PV with an ``alarm`` tag, from servers to devices. Raises DatabaseError for a tag that is wrong."""
    for name, records in plant.servers.items():
        heartbeat = f"'{plant.prefix}:{name}:HEARTBEAT' >= 0"
        screen = "server.bob", {"P": plant.prefix}
        for suffix, record in records.items():
            yield from _alarm(record, ["Server", name], "", "" if suffix == "HEARTBEAT" else heartbeat, screen)
        for record in plant.all_off(name)[1].values():
            yield from _alarm(record, ["Server", name], "", heartbeat, screen)
    for name, records in plant.archivers.items():  # without its IOC it has nothing to write: the alarm of the IOC
        needs = f"'{plant.prefix}:{next(iter(plant.servers))}:HEARTBEAT' >= 0"
        shard = name.rpartition(":")[0]
        path = ["Server", " ".join(["Archiver", shard]).strip()]
        for record in records.values():
            yield from _alarm(record, path, shard, needs, ("server.bob", {"P": plant.prefix}))
    for part in plant.parts:
        needs = f"'{plant.prefix}:{part.ioc}:HEARTBEAT' >= 0"
        for group in part.groups:
            screen = f"group-{group.name}.bob", {"P": plant.prefix}
            for record in plant.groups[group.name].values():
                yield from _alarm(record, ["Groups", group.name], f"group {group.name}", needs, screen)
        for interlock in part.interlocks:
            name, screen = interlock.name, ("overview.bob", {"P": plant.prefix})
            command = f"{plant.prefix}:ILK:{name}:ACK:CMD", "Acknowledge that it was not OK"
            for suffix, record in plant.interlocks[name].items():
                given = command if suffix == "OK" else None
                yield from _alarm(record, ["Interlocks", name], f"interlock {name}", needs, screen, given)
    for device, channel, records in plant.walk():
        link = f"{plant.prefix}:{device.name}:COMM"
        path = [device.area, device.name, *([f"CH{channel.number:02d}"] if channel else [])]
        subject = f"{device.name} {channel.title}" if channel else device.name
        screen = screen_of(plant, device, channel)
        for record in records.values():
            needs = f"'{link}' == 1"
            if record.name == link:
                needs = f"'{plant.prefix}:{device.server}:HEARTBEAT' >= 0"
            yield from _alarm(record, path, subject, needs, screen, _acknowledge(record, device, plant))


def _alarm(
    record: RecordDef,
    path: Sequence[str],
    subject: str,
    needs: str,
    screen: tuple[str, dict[str, str]],
    command: tuple[str, str] | None = None,
) -> Iterator[Alarm]:
    tag = record.info.get("alarm")
    if tag is None:
        return
    match = _TAG.fullmatch(tag)
    if match is None:
        found = f"{record.name}: info alarm: found {tag!r}, allowed: spoken [N s]: WORDS or shown [N s]: WORDS"
        raise DatabaseError([found])
    yield Alarm(
        pv=record.name,
        path=path,
        description=f"{subject}: {match['words']}" if subject else match["words"],
        spoken=match["how"] == "spoken",
        delay=int(match["delay"] or _USUAL_DELAY),
        filter=needs,
        guidance=record.info.get("guidance", ""),
        screen=screen,
        command=command,
    )


def _acknowledge(record: RecordDef, device: Device, plant: Plant) -> tuple[str, str] | None:
    """Return the command that acknowledges what a record latches: its own, or that of its part of the device."""
    for base in (record.name, record.name.rpartition(":")[0]):
        command = plant.records.get(f"{base}:ACK:CMD")
        if command is not None and base != f"{plant.prefix}:{device.name}":
            return command.name, command.fields["DESC"]
    return None
