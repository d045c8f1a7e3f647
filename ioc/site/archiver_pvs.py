"""What the expanded database tells the archiver: each PV with the place its points have in the default schema."""

from __future__ import annotations

import re
from collections.abc import Mapping

from archiver.config import PvSpec
from devices.model import DeviceSettings
from ioc.database.dbfile import RecordDef
from ioc.site.config import Site
from ioc.site.expansion import Database

_CHANNEL = re.compile(r"CH([0-9]{2}):(.+)")
_FIELDS: Mapping[str, Mapping[str, str]] = {
    # Boards for this supply know TRIP as the trip time in seconds, which InfluxDB keeps as a float for ever.
    "caen-dt55xx": {"TRIPTIME:RBV": "TRIP", "TRIP": "TRIPPED"},
}


def archiver_pvs(site: Site, database: Database) -> list[PvSpec]:
    """Return every PV of a site; ``archive`` is empty where its record has no such tag (or the tag is ``-``)."""
    types = {settings.name: settings for settings in site.devices}
    return [_spec(site.prefix, types, record) for record in database.records.values()]


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
        field=field_name(settings.type if settings else "", suffix),
        archive="" if archive == "-" else archive,
        rtyp=record.rtyp,
    )


def field_name(device_type: str, suffix: str) -> str:
    """Return the field of a PV: ``VMON``, ``VSET_RBV``; the bits of a status word are ``IS_ON``, ``IS_OVC`` ..."""
    own = _FIELDS.get(device_type, {}).get(suffix)
    if own is not None:
        return own
    return f"IS_{suffix.removeprefix('STAT:')}" if suffix.startswith("STAT:") else suffix.replace(":", "_")
