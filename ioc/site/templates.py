"""Which templates describe a device family.

``db/NAME.template`` or ``db/NAME.substitutions`` is expanded once for each device. If there is a
``db/NAME-channel.template``, it is expanded once for each channel, and if there is a ``NAME-full``, once for each
device with ``detail = "full"``. Each is parsed once per process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import db
from devices.family import Family
from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef, Template, parse_template
from ioc.records.fieldtable import STATE_STRINGS

FOLDER = Path(db.__file__).parent
MARKS = {"P": "P", "DEV": "D", "CH": "00", "FAST": "1 second"}
"""Macros with which a template is looked at by itself."""

_PARSED: dict[Path, Template] = {}
"""Files that several templates include."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The templates of one family; ``channel`` is None without channels, ``full`` when there is no more detail."""

    device: Template
    channel: Template | None
    full: Template | None = None


@cache
def template(name: str) -> Template:
    """Return what belongs to no family, from ``db/NAME.substitutions``: ioc, all-off, group, interlock, archiver."""
    return parse_template(FOLDER / f"{name}.substitutions", parsed=_PARSED)


@cache
def family_templates(family: str) -> Templates:
    """Return the templates of the family of this type; raises DatabaseError when one of them is broken."""
    return load_templates(FAMILIES[family], _PARSED)


def load_templates(family: Family, parsed: dict[Path, Template] | None = None) -> Templates:
    """Return the templates of a family; raises DatabaseError when one of them is broken.

    Files in ``parsed`` are not read again, and what is read is added to it.
    """
    parse = partial(parse_template, folders=[FOLDER], parsed={} if parsed is None else parsed)
    device = FOLDER / family.template
    others = (device.with_name(f"{device.stem}-{part}{device.suffix}") for part in ("channel", "full"))
    channel, full = (parse(one) if one.exists() else None for one in others)
    if channel is not None and family.channel_template:
        shared = parse(FOLDER / family.channel_template)
        channel = Template(channel.path, [*shared.statements, *channel.statements])
    return Templates(parse(device), channel, full)


@cache
def family_records(family: str) -> tuple[Mapping[str, RecordDef], Mapping[str, RecordDef]]:
    """Return the records of the device in full detail and of one channel, by what follows those in the name."""
    templates = family_templates(family)
    full = templates.full.expand(MARKS) if templates.full is not None else []
    device = {record.name.removeprefix("P:D:"): record for record in templates.device.expand(MARKS) + full}
    channel = templates.channel.expand(MARKS) if templates.channel is not None else []
    return device, {record.name.removeprefix("P:D:CH00:"): record for record in channel}


@cache
def full_only(family: str) -> frozenset[str]:
    """Return the names of the records that a device has in full detail only."""
    full = family_templates(family).full
    return frozenset(record.name.removeprefix("P:D:") for record in (full.expand(MARKS) if full is not None else ()))


def labels(record: RecordDef) -> tuple[str, ...]:
    """Return the texts of the states that a record has, in their order."""
    names = ("ZNAM", "ONAM") if record.rtyp in {"bi", "bo"} else STATE_STRINGS
    return tuple(record.fields[name] for name in names if name in record.fields)
