"""What the archiver takes from the expanded database: each PV with the place its points have in the default schema."""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.config import PvSpec
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.records.fieldtable import STATE_STRINGS
from ioc.site.config import Site
from ioc.site.expansion import Database

_CHANNEL = re.compile(r"CH([0-9]{2}):(.+)")


def measurements() -> dict[str, str]:
    """Return the measurement of each device type in the default schema, unless the site file names another."""
    return {family.type: family.measurement for family in FAMILIES.values() if family.measurement}


def bridge_prefix(prefix: str, number: int, of: int) -> str:
    """Return the prefix of the PVs of a bridge when several share the PVs of a site; ``number`` is from 1."""
    return prefix if of == 1 else f"{prefix}:SHARD{number}"


def archiver_pvs(site: Site, database: Database) -> list[PvSpec]:
    """Return every PV of a site; ``archive`` is empty where its record has no such tag (or the tag is ``-``)."""
    types = {settings.name: settings for settings in site.devices}
    return [_spec(site.prefix, types, record) for record in database.served.values()]


def _spec(prefix: str, devices: Mapping[str, DeviceSettings], record: RecordDef) -> PvSpec:
    device, _, suffix = record.name.removeprefix(f"{prefix}:").partition(":")
    settings = devices.get(device)
    match = _CHANNEL.fullmatch(suffix)
    channel, suffix = (match[1], match[2]) if match else ("", suffix)
    archive = record.info.get("archive", "-")
    return PvSpec(
        name=record.name,
        device=device,
        device_type=settings.type if settings else "",
        channel=channel,
        field=field_name(record, suffix),
        archive="" if archive == "-" else archive,
        rtyp=record.rtyp,
        row_period=settings.period if settings and "core" in record.info else 0.0,
        unit=record.fields.get("EGU", ""),
        precision=int(record.fields["PREC"]) if "PREC" in record.fields else None,
        states=_states(record),
    )


def _states(record: RecordDef) -> tuple[str, ...]:
    """Return the texts of the states of a record, up to the last one that it names."""
    if record.rtyp in ("bi", "bo"):
        return record.fields.get("ZNAM", ""), record.fields.get("ONAM", "")
    if record.rtyp not in ("mbbi", "mbbo"):
        return ()
    texts = [record.fields.get(name, "") for name in STATE_STRINGS]
    return tuple(texts[: max((number + 1 for number, text in enumerate(texts) if text), default=0)])


def field_name(record: RecordDef, suffix: str) -> str:
    """Return the field of a PV: that of its ``core`` or ``field`` tag, else ``VSET_HI`` for ``VSET:HI``.

    The tag ``core`` makes a record part of the rows of its channel or device; its value is the field there. The bits
    of a status word that are in no row are ``IS_ON`` for ``STAT:ON``.
    """
    tagged = record.info.get("core") or record.info.get("field")
    if tagged:
        return tagged
    return f"IS_{suffix.removeprefix('STAT:')}" if suffix.startswith("STAT:") else suffix.replace(":", "_")
