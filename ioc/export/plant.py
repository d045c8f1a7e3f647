"""What every export starts from: the PVs of a site, sorted by server, device and channel.

Which of them matter is in the info tags of the templates: ``core``, ``alarm``, ``saveset``, ``archive``, ``guidance``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.database.support import DEVICE_TYPE, OFF_TAG, RESTORE_TAG, SERVER, VALUE, is_of_server, parse_link
from ioc.records.fieldtable import STATE_SEVERITIES, STATE_STRINGS
from ioc.site.archiver_pvs import bridge_prefix
from ioc.site.config import Site
from ioc.site.expansion import Database, expand_all
from ioc.site.templates import template

Records = Mapping[str, RecordDef]
"""Records by what follows the device, or the channel, in their names: ``VMON``, ``MOD:TEMP``."""

OUTPUTS = frozenset({"ao", "bo", "mbbo", "longout", "stringout", "lso"})
"""Record types that a client may write."""

MODE = "mode"
OUTPUT = "output"

_CHANNEL = re.compile(r"CH([0-9]{2}):(.+)")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a device; ``alias`` is empty where the site file gives none."""

    number: int
    alias: str
    records: Records

    @property
    def key(self) -> str:
        """What follows the device in the names of its PVs: ``CH03``."""
        return f"CH{self.number:02d}"

    @property
    def title(self) -> str:
        """The channel in words for people: ``channel 3, CALO:PMT07``."""
        return f"channel {self.number}, {self.alias}" if self.alias else f"channel {self.number}"


@dataclass(frozen=True, slots=True)
class Device:
    """One device: its own records, its channels, and the name of the server in whose PVs it is served.

    ``type`` is the key of the site file, ``title`` what it is in words. ``kind`` is the type, with a number where
    devices of one type have different records: those of one kind can share a screen.
    """

    name: str
    type: str
    title: str
    server: str
    records: Records
    channels: Sequence[Channel]
    kind: str

    @property
    def supplies(self) -> bool:
        """Whether its channels are outputs of high voltage: there are screens and plots made for those."""
        return bool(self.channels) and {"VMON", "IMON", "VSET", "ON", "STATE"} <= self.channels[0].records.keys()

    @property
    def heats(self) -> bool:
        """Whether it is a controller of a temperature, a furnace."""
        return {"TEMP", "TSET", "TWORK"} <= self.records.keys()

    @property
    def area(self) -> str:
        """What the device belongs to in a tree of the site."""
        return "High voltage" if self.supplies else "Furnaces" if self.heats else "Devices"


@dataclass(frozen=True, slots=True)
class Plant:
    """A site as exports see it. ``servers`` holds the records of each server itself by its name, usually ``IOC``.

    ``parts`` is what each server serves, ``archivers`` what each bridge of the site serves,
    usually one, ``ARCH``.
    """

    prefix: str
    servers: Mapping[str, Records]
    devices: Sequence[Device]
    groups: Mapping[str, Records]
    interlocks: Mapping[str, Records]
    archivers: Mapping[str, Records]
    records: Mapping[str, RecordDef]
    aliases: Mapping[str, str]
    site: Site = field(repr=False)
    parts: Sequence[Site] = field(repr=False)

    @classmethod
    def build(cls, parts: Sequence[Site], shards: int = 1) -> Plant:
        """Sort the records of the parts of a site, one for each IOC; ``shards`` is how many bridges share its PVs.

        Raises DatabaseError.
        """
        database = expand_all(parts)
        prefix = parts[0].prefix
        areas: dict[str, dict[str, RecordDef]] = {}
        for name, record in database.records.items():
            area, _, rest = name.removeprefix(f"{prefix}:").partition(":")
            areas.setdefault(area, {})[rest] = record
        return cls(
            prefix=prefix,
            servers={part.ioc: areas[part.ioc] for part in parts},
            devices=_with_kinds([_device(part, index, areas) for part in parts for index in range(len(part.devices))]),
            groups=_by_name(areas.get("GRP", {})),
            interlocks=_by_name(areas.get("ILK", {})),
            archivers=_archivers(prefix, shards) if parts[0].archiver else {},
            records=database.records,
            aliases=database.aliases,
            site=parts[0],
            parts=parts,
        )

    @property
    def database(self) -> Database:
        """The records and aliases of all servers."""
        return Database(dict(self.records), dict(self.aliases))

    def all_off(self, server: str) -> tuple[str, Records]:
        """Return the group that switches every output of a server off, and its records: none without outputs."""
        name = f"ALL{server.removeprefix(SERVER)}"
        return name, self.groups.get(name, {})

    def first_of_types(self) -> dict[str, Device]:
        """Return the first device of each type."""
        found: dict[str, Device] = {}
        for device in self.devices:
            found.setdefault(device.type, device)
        return found

    def walk(self) -> Iterator[tuple[Device, Channel | None, Records]]:
        """Yield the records of each device, and then of each of its channels."""
        for device in self.devices:
            yield device, None, device.records
            for channel in device.channels:
                yield device, channel, channel.records


def name_of(device: Device, channel: Channel | None) -> str:
    """Return what the PVs of a device, or of one of its channels, begin with behind the prefix."""
    return f"{device.name}:{channel.key}" if channel else device.name


def words_for(device: Device, channel: Channel | None) -> str:
    """Return a device, or one of its channels, in words for people."""
    return f"{device.name} {channel.title}" if channel else device.name


def _by_name(records: Records) -> dict[str, Records]:
    """Sort records by the first part of their names."""
    found: dict[str, dict[str, RecordDef]] = {}
    for rest, record in records.items():
        name, _, suffix = rest.partition(":")
        found.setdefault(name, {})[suffix] = record
    return dict(found)


def _device(site: Site, index: int, areas: Mapping[str, Records]) -> Device:
    settings = site.devices[index]
    own: dict[str, RecordDef] = {}
    channels: dict[int, dict[str, RecordDef]] = {}
    for suffix, record in areas[settings.name].items():
        match = _CHANNEL.fullmatch(suffix)
        if match:
            channels.setdefault(int(match[1]), {})[match[2]] = record
        else:
            own[suffix] = record
    aliases = site.tuning[settings.name].aliases
    return Device(
        name=settings.name,
        type=settings.type,
        title=FAMILIES[settings.type].title,
        server=site.ioc,
        records=own,
        channels=[Channel(number, aliases.get(number, ""), records) for number, records in sorted(channels.items())],
        kind=settings.type,
    )


def _with_kinds(devices: Sequence[Device]) -> list[Device]:
    """Number the kinds of each type after the first, by the names of the records of device and channels."""
    kinds: dict[str, list[tuple[frozenset[str], ...]]] = {}
    found = []
    for device in devices:
        names = tuple({frozenset(records): None for records in (device.records, *(c.records for c in device.channels))})
        known = kinds.setdefault(device.type, [])
        if names not in known:
            known.append(names)
        number = known.index(names) + 1
        found.append(replace(device, kind=f"{device.type}-{number}") if number > 1 else device)
    return found


def _archivers(prefix: str, shards: int) -> dict[str, Records]:
    found: dict[str, Records] = {}
    for number in range(1, shards + 1):
        own = bridge_prefix(prefix, number, shards)
        records = template("archiver").expand({"P": own})
        name = f"{own}:ARCH".removeprefix(f"{prefix}:")
        found[name] = {record.name.removeprefix(f"{own}:ARCH:"): record for record in records}
    return found


def is_setting(suffix: str, record: RecordDef) -> bool:
    """Return whether a record holds a setting, and not a command."""
    return record.rtyp in OUTPUTS and not suffix.endswith(":CMD")


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a device that is saved; ``part`` is its part in a restore, empty for what has none.

    ``MODE`` is what a restore leaves alone and values depend on, ``OUTPUT`` what it switches only if asked to.
    """

    record: RecordDef
    readback: RecordDef | None
    device: Device
    channel: Channel | None
    part: str

    @property
    def owner(self) -> str:
        """What the setting belongs to: the device, or the channel."""
        return name_of(self.device, self.channel)

    @property
    def restored(self) -> bool:
        """Whether a restore writes it without being asked to."""
        return self.part not in (MODE, OUTPUT)


def settings(plant: Plant) -> Iterator[Setting]:
    """Yield the settings that devices keep, in the order of the site and of the templates.

    What the server keeps by itself is none of them, nor are commands, and settings of the moment (tag ``saveset``).
    """
    for device, channel, records in plant.walk():
        for suffix, record in records.items():
            part = _part(device, suffix, record, f"{suffix}:RBV" in records)
            if part is not None:
                yield Setting(record, records.get(f"{suffix}:RBV"), device, channel, part)


def _part(device: Device, suffix: str, record: RecordDef, readback: bool) -> str | None:
    if not is_setting(suffix, record) or record.fields.get("DTYP") != DEVICE_TYPE:
        return None
    link = parse_link(record.fields["OUT"])
    if link[0] != device.name or is_of_server(link[1]):
        return None
    if OFF_TAG in record.info:
        return OUTPUT
    if record.info.get("saveset") == "-":
        return MODE if readback and record.rtyp in ("bo", "mbbo") else None
    usual = OUTPUT if record.rtyp == "bo" else VALUE if record.info.get("access") == "O" else ""
    return record.info.get(RESTORE_TAG, usual)


def states(record: RecordDef) -> list[tuple[str, str]]:
    """Return the states of an enumerated record by index, each with the severity that the record gives it."""
    fields = record.fields
    if record.rtyp in {"bi", "bo"}:
        pairs = (("ZNAM", "ZSV"), ("ONAM", "OSV"))
        return [(fields.get(name, ""), fields.get(severity, "NO_ALARM")) for name, severity in pairs]
    if record.rtyp not in {"mbbi", "mbbo"}:
        return []
    found = [
        (fields.get(name, ""), fields.get(severity, "NO_ALARM"))
        for name, severity in zip(STATE_STRINGS, STATE_SEVERITIES, strict=True)
    ]
    while found and not found[-1][0]:
        found.pop()
    return found
