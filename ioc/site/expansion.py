"""The records of a site: templates expanded for each device and channel, tuned by the site file, and checked."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.database.support import (
    CHANNEL_SIGNALS,
    DEVICE_TYPE,
    GROUP_SIGNALS,
    GROUPS,
    INTERLOCK_SIGNALS,
    INTERLOCKS,
    KEEP_TAG,
    OFF_ALL,
    OFF_TAG,
    PERIODS,
    RECOVERY_CAUSE,
    RECOVERY_IDENTITY,
    RECOVERY_TAG,
    RESTORE_PARTS,
    RESTORE_TAG,
    SERVER,
    SERVER_SIGNALS,
    STATUS_SIGNALS,
    is_of_server,
    parse_link,
)
from ioc.site.check import MAX_NAME
from ioc.site.config import AlarmFields, Site, Tuning
from ioc.site.recovery import RecoverySettings
from ioc.site.templates import family_templates, template

log = logging.getLogger("labioc")

_RATES = {period: choice for choice, period in PERIODS.items()}
_OUTPUTS = frozenset({"ao", "bo", "longout", "mbbo", "stringout"})
_NAME = re.compile(r"[A-Z][A-Z0-9_]*(:_?[A-Z0-9][A-Z0-9_]*)+")

Signals = dict[str, Collection[str] | None]
"""The signals of each device and of what the server has like one; None where they are not known."""


@dataclass(frozen=True, slots=True)
class Database:
    """Every record by name, in the order of devices and templates, and the name behind each alias."""

    records: dict[str, RecordDef]
    aliases: dict[str, str]
    guests: dict[str, RecordDef] = field(default_factory=dict)
    """PVs of caproto groups, which are no records, described like records."""

    @property
    def served(self) -> dict[str, RecordDef]:
        """Everything that is served, by name."""
        return {**self.records, **self.guests}


def expand(site: Site) -> Database:
    """Return the records that serve a site.

    Raises DatabaseError listing every mistake in the templates: syntax, undefined macros, names that are not
    allowed or used twice, links to a device or signal that does not exist.
    """
    signals: Signals = {SERVER: SERVER_SIGNALS}
    definitions = template("ioc").expand({"P": site.prefix, "IOC": site.ioc})
    for settings in site.devices:
        signals[settings.name] = _signals(settings)
        definitions += _device_records(site.prefix, settings, site.tuning[settings.name], site.recovery)
    off_all = [definition for definition in definitions if OFF_TAG in definition.info]
    if off_all or site.groups:
        names = ["ALL", *(group.name for group in site.groups)]
        signals[GROUPS] = frozenset(f"{name}.{signal}" for name in names for signal in GROUP_SIGNALS)
    for group in site.groups:
        definitions += template("group").expand({"P": site.prefix, "GROUP": group.name})
    if site.interlocks:
        names = [interlock.name for interlock in site.interlocks]
        signals[INTERLOCKS] = frozenset(f"{name}.{signal}" for name in names for signal in INTERLOCK_SIGNALS)
        for name in names:
            definitions += template("interlock").expand({"P": site.prefix, "INTERLOCK": name})
    if off_all:
        definitions += template("all-off").expand({"P": site.prefix, "PART": site.ioc.removeprefix(SERVER)})
    errors: list[str] = []
    database = Database({}, {})
    devices = {settings.name for settings in site.devices}
    for definition in definitions:
        errors += _add(database, definition, signals)
        for tag, mistakes in _TAG_ERRORS.items():
            if tag in definition.info:
                errors += mistakes(definition, definition.info[tag], devices)
    if site.pvgroups:
        errors += _guests(site, database)
    if errors:
        raise DatabaseError(errors)
    return database


def expand_all(sites: Iterable[Site]) -> Database:
    """Return the records of all parts of a site, which several IOCs serve. Raises DatabaseError."""
    whole = Database({}, {})
    for site in sites:
        part = expand(site)
        whole.records.update(part.records)
        whole.aliases.update(part.aliases)
        whole.guests.update(part.guests)
    return whole


def _guests(site: Site, database: Database) -> Iterator[str]:
    """Add the PVs of caproto groups; yields why a group cannot be made, and names that are taken."""
    from ioc.pvgroups.load import definitions  # noqa: PLC0415  the server of caproto takes long to import

    for group in site.pvgroups:
        try:
            for definition in definitions(group):
                name = definition.name
                if name in database.records or name in database.aliases or name in database.guests:
                    yield f"{group.name}: name {name} is already used"
                database.guests[name] = definition
        except ValueError as error:
            yield str(error)


def _signals(settings: DeviceSettings) -> Collection[str] | None:
    """Return the signals that a device has, those of the server about it included; None when it cannot be made."""
    try:
        signals = FAMILIES[settings.type].signals(settings)
    except Exception as error:
        log.warning("%s: %s; its records are not checked against its signals", settings.name, error)
        return None
    channels = (f"CH{number:02d}.{signal}" for number in range(settings.channels) for signal in CHANNEL_SIGNALS)
    return signals.keys() | STATUS_SIGNALS | set(channels)


def _device_records(
    prefix: str, settings: DeviceSettings, tuning: Tuning, recovery: Mapping[str, RecoverySettings]
) -> list[RecordDef]:
    templates = family_templates(settings.type)
    macros = {"P": prefix, "DEV": settings.name, "FAST": _RATES[settings.period]}
    base = f"{prefix}:{settings.name}:"
    records = templates.device.expand(macros)
    if templates.full is not None and settings.options.get("detail") == "full":
        records += templates.full.expand(macros)
    definitions = _tuned(records, base, tuning.alarms)
    if templates.channel is None:
        return definitions
    for number in range(settings.channels):
        channel = f"{base}CH{number:02d}:"
        own = {"CH": f"{number:02d}"}
        if (recovered := recovery.get(f"{settings.name}:CH{number:02d}")) is not None:
            own["TRIES"] = str(recovered.tries)
        tuned = _tuned(templates.channel.expand(macros | own), channel, tuning.alarms)
        tuned = _tuned(tuned, channel, tuning.channel_alarms.get(number, {}))
        if (alias := tuning.aliases.get(number)) is not None:
            names = (f"{alias}:{record.name.removeprefix(channel)}" for record in tuned)
            tuned = [
                replace(record, aliases=(*record.aliases, name)) for record, name in zip(tuned, names, strict=True)
            ]
        definitions += tuned
    return definitions


def _tuned(records: list[RecordDef], base: str, alarms: AlarmFields) -> list[RecordDef]:
    """Put the alarm fields of the site file into the records they are meant for."""
    if not alarms:
        return records
    fields = [alarms.get(record.name.removeprefix(base), {}) for record in records]
    return [
        replace(one, fields={**one.fields, **own}) if own else one for one, own in zip(records, fields, strict=True)
    ]


def _add(database: Database, record: RecordDef, signals: Signals) -> Iterator[str]:
    """Add a record and its aliases; yields what is wrong with its names, and with what it is read from."""
    for name in (record.name, *record.aliases):
        what = "name" if name == record.name else f"alias {name}"
        if len(name) > MAX_NAME:
            yield _error(record, f"{what} has {len(name)} characters, at most {MAX_NAME} are possible")
        if not _NAME.fullmatch(name):
            yield _error(record, f"{what} is not made of capital letters, digits and _ between colons")
        if name in database.records or name in database.aliases:
            other = database.records.get(database.aliases.get(name, name))
            place = f" in {other.file}:{other.line} by {other.name}" if other is not None else ""
            yield _error(record, f"name {name} is already used{place}")
        elif name == record.name:
            database.records[name] = record
        else:
            database.aliases[name] = record.name
    if record.fields.get("DTYP") == DEVICE_TYPE:
        yield from _link_errors(record, signals)
    elif record.fields.get("SCAN", "Passive") != "Passive":
        yield _error(record, "a soft record is processed by puts and links alone, allowed: Passive", "SCAN")


def _link_errors(record: RecordDef, signals: Signals) -> Iterator[str]:
    """Check that INP or OUT names a device and a signal that exist."""
    field = "OUT" if "OUT" in record.fields else "INP"
    try:
        device, signal = parse_link(record.fields.get(field, ""))
    except ValueError as error:
        yield _error(record, str(error), field)
        return
    if device not in signals:
        yield _error(record, f"no device {device}, there are {', '.join(signals)}", field)
    elif (known := signals[device]) is not None and signal not in known:
        yield _error(record, f"device {device} has no signal {signal}", field)


def _off_errors(record: RecordDef, tag: str, _: Collection[str]) -> Iterator[str]:
    """Check that what GRP:ALL:GO is to put to 0 is a switch of a device."""
    if tag != OFF_ALL or record.rtyp != "bo" or record.fields.get("DTYP") != DEVICE_TYPE:
        found = f"found info({OFF_TAG}, {tag!r}) on a {record.rtyp}"
        yield _error(record, f'{found}, allowed: info({OFF_TAG}, "{OFF_ALL}") on a bo with DTYP {DEVICE_TYPE}')


def _restore_errors(record: RecordDef, tag: str, _: Collection[str]) -> Iterator[str]:
    """Check that the part in a restore is one that there is."""
    if tag not in RESTORE_PARTS or record.rtyp not in _OUTPUTS:
        found = f"found info({RESTORE_TAG}, {tag!r}) on a {record.rtyp}"
        yield _error(record, f"{found}, allowed: one of {', '.join(sorted(RESTORE_PARTS))} on a setting")


def _recovery_errors(record: RecordDef, tag: str, _: Collection[str]) -> Iterator[str]:
    """Check that what counts for a recovery is a bit of a device, or says which unit it is."""
    allowed = (RECOVERY_CAUSE, "0", "1")
    if tag == RECOVERY_IDENTITY:
        return
    if tag not in allowed or record.rtyp != "bi" or record.fields.get("DTYP") != DEVICE_TYPE:
        found = f"found info({RECOVERY_TAG}, {tag!r}) on a {record.rtyp}"
        words = f"{RECOVERY_IDENTITY}, or {', '.join(allowed)} on a bi with DTYP {DEVICE_TYPE}"
        yield _error(record, f"{found}, allowed: {words}")


def _keep_errors(record: RecordDef, tag: str, devices: Collection[str]) -> Iterator[str]:
    """Check that what is to survive a restart is an output or a text of the server itself, never one of a device."""
    device, signal = "", ""
    if record.fields.get("DTYP") == DEVICE_TYPE:
        with suppress(ValueError):  # reported by _link_errors
            device, signal = parse_link(record.fields.get("OUT") or record.fields.get("INP", ""))
    of_device = device in devices and not is_of_server(signal)
    if record.rtyp not in (*_OUTPUTS, "lsi") or of_device or "VAL" in record.fields:
        found = f"found info({KEEP_TAG}, {tag!r}) on a {record.rtyp}{' of a device' if of_device else ''}"
        yield _error(record, f"{found}, allowed: on an output or a lsi of the server itself, without a VAL")


_TAG_ERRORS = {
    OFF_TAG: _off_errors,
    RESTORE_TAG: _restore_errors,
    RECOVERY_TAG: _recovery_errors,
    KEEP_TAG: _keep_errors,
}
"""What checks an info tag; it gets the record, the value of the tag, and the names of the devices."""


def _error(record: RecordDef, reason: str, field: str = "") -> str:
    line = record.field_lines.get(field, record.line)
    return f"{record.file}:{line}: record {record.name}: {f'field {field}: ' if field else ''}{reason}"
