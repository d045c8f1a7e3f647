"""Every mistake of a site file as a sentence: key, what was found, what is allowed."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from jsonschema import Draft202012Validator

from devices.family import Place, line_of, numbers
from devices.registry import FAMILIES
from ioc.access.policy import EVERYBODY, LOCAL, host_mistake
from ioc.database.dbfile import RecordDef
from ioc.pvgroups.settings import TYPE as GROUP_TYPE
from ioc.site.contents import Table, channels, devices, listed, prefix, table, tables
from ioc.site.groups import groups_of
from ioc.site.interlocks import interlocks_of
from ioc.site.recovery import recovery_of
from ioc.site.schema import BINARY_FIELDS, LIMIT_FIELDS, RISING_LIMITS, STATE_FIELDS, site_schema
from ioc.site.sentences import Found, Mistake, device_label, did_you_mean, in_words, key_of, schema_mistakes
from ioc.site.source import KeyPath
from ioc.site.templates import family_records, full_only

MAX_NAME = 60
"""Longest PV name in characters."""

_CHANNEL = re.compile(r"CH[0-9]{2}")
_ANALOG = (*LIMIT_FIELDS, *RISING_LIMITS.values())
_ALARM_FIELDS = {
    **dict.fromkeys(("ai", "ao", "longin", "longout"), _ANALOG),
    **dict.fromkeys(("bi", "bo"), BINARY_FIELDS),
    **dict.fromkeys(("mbbi", "mbbo"), STATE_FIELDS),
}


def mistakes(data: Table) -> list[Mistake]:
    """Return every mistake, in the order of the keys; none when the file is good."""
    errors = _validator(_types(data)).iter_errors(data)
    found = [mistake for error in errors for mistake in schema_mistakes(error)]
    for section, rule in _RULES:
        if not section or section in data:
            found += rule(data)
    order = {key: place for place, key in enumerate(data)}
    found.sort(key=lambda mistake: _sort_key(mistake[0], order))
    return list(dict.fromkeys(Mistake(path, key_of(path, data), text) for path, text in found))


@cache
def _validator(types: tuple[str, ...]) -> Draft202012Validator:
    return Draft202012Validator(site_schema(types))


def _types(data: Table) -> tuple[str, ...]:
    """Return the types that devices may have; the built-in ones, which are found sooner, when no other is named."""
    named = {str(device.get("type")) for _, device in tables(data, "device")}
    named.update(table(table(data, "archiver"), "measurements"))
    own = {*FAMILIES.built_in, GROUP_TYPE}
    return tuple(FAMILIES.built_in if named <= own else FAMILIES)


def _sort_key(path: KeyPath, order: Mapping[str, int]) -> tuple[int, tuple[str, ...]]:
    section = order.get(str(path[0]), len(order)) if path else -1
    return section, tuple(f"{part:06d}" if isinstance(part, int) else part for part in path)


def _numbers(data: Any, path: KeyPath = ()) -> Found:
    """Refuse nan and inf, which TOML knows as numbers."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _numbers(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _numbers(value, (*path, index))
    elif isinstance(data, float) and not math.isfinite(data):
        yield path, f"found {data}, allowed: a finite number"


def _something_to_do(data: Table) -> Found:
    """Refuse a site without devices, unless it archives the PVs of others."""
    archiver = table(data, "archiver")
    others = archiver.get("pvs") or archiver.get("lists")
    if not data.get("device") and not others:
        yield ("device",), "missing, allowed: one [[device]] at least"


def _names(data: Table) -> Found:
    """Refuse a device name used twice."""
    seen: dict[str, int] = {}
    for index, device in tables(data, "device"):
        name = device.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield ("device", index, "name"), f"found {in_words(name)}, which is already device number {seen[name] + 1}"
        seen.setdefault(name, index)


def _places(data: Table) -> Found:
    """Refuse devices that are in each other's way: at one place, on a wire for one, with other settings of the line.

    A simulated device has a place of its own, whatever the file says.
    """
    on_wire: defaultdict[str, list[tuple[int, Place]]] = defaultdict(list)
    for index, device in devices(data):
        place = None if device.get("simulated") is True else FAMILIES[device["type"]].place(device)
        if place is None:
            continue
        for other_index, other in on_wire[place.wire]:
            if reason := _collision(place, other, device_label(data, other_index)):
                yield ("device", index, place.key if reason.startswith(place.text) else "address"), reason
                break
        on_wire[place.wire].append((index, place))


def _collision(place: Place, other: Place, name: str) -> str:
    """Say why two devices cannot both be on the wire that they are on; empty when they can."""
    if not place.protocol or not other.protocol:
        return f"a connection serves one device, and {place.wire} is already that of {name}"
    if place.protocol != other.protocol:
        return f"{place.wire} is already that of {name}, which speaks {other.protocol}, not {place.protocol}"
    if place.number == other.number:
        return f"{place.text} on {place.wire} is already that of {name}"
    for key in (key for key in place.options if place.options[key] != other.options.get(key)):
        return f"found {key} {place.options[key]}, but {name} on the same line has {other.options.get(key)}"
    return ""


def _groups(data: Table) -> Found:
    """Refuse groups of caproto that cannot be imported."""
    for index, device in tables(data, "device"):
        group = device.get("group") if device.get("type") == GROUP_TYPE else None
        if isinstance(group, str) and ":" in group:
            from ioc.pvgroups.load import find_class  # noqa: PLC0415  the server of caproto takes long to import

            try:
                find_class(group)
            except ValueError as error:
                text = f"found {in_words(group)}, allowed: package.module:Class of a PVGroup ({error})"
                yield ("device", index, "group"), text


def _adapter_options(data: Table) -> Found:
    """Refuse options that python-can would not understand."""
    from devices.links.can_options import option_mistakes  # noqa: PLC0415  python-can takes long to import

    for name, options in table(data, "can").items():
        if isinstance(options, dict) and isinstance(options.get("interface"), str):
            for option, reason in option_mistakes(options):
                yield ("can", name, option), reason


def _adapters(data: Table) -> Found:
    """Refuse two sections for one adapter, and an adapter on the serial port of a device."""
    ports = {
        place.wire: device_label(data, index)
        for index, device in devices(data)
        if device.get("simulated") is not True
        and (place := FAMILIES[device["type"]].place(device)) is not None
        and place.wire.startswith("serial://")
    }
    seen: dict[tuple[str, str], str] = {}
    for name, options in table(data, "can").items():
        if not isinstance(options, dict) or "channel" not in options:
            continue
        channel = options["channel"]
        wire = line_of(f"serial://{str(channel).partition('@')[0]}")
        if wire in ports:
            yield ("can", name, "channel"), f"found {in_words(channel)}, the port of {ports[wire]}"
        adapter = str(options.get("interface")), wire
        if adapter in seen:
            yield ("can", name, "channel"), f"found {in_words(channel)}, already that of [can.{seen[adapter]}]"
        seen.setdefault(adapter, name)


def _crossed(path: KeyPath, record: RecordDef | None, *sections: Table) -> Found:
    """Compare the limits in force: those of the record that alarm, then those of each section."""
    fields = record.fields if record is not None else {}
    limits = {
        name: float(fields[name])
        for name, severity in RISING_LIMITS.items()
        if name in fields and fields.get(severity, "NO_ALARM") != "NO_ALARM"
    }
    for section in sections:
        limits |= {name: section[name] for name in RISING_LIMITS if isinstance(section.get(name), int | float)}
    for lower, upper in pairwise(name for name in RISING_LIMITS if name in limits):
        if limits[lower] > limits[upper] and (at := next((one for one in (upper, lower) if one in sections[-1]), "")):
            text = f"{lower} {limits[lower]:g} is above {upper} {limits[upper]:g}"
            yield (*path, at), f"{text}, allowed: {', '.join(RISING_LIMITS)} in rising order"


def _field_mistakes(suffix: str, rtyp: str, name: str, value: Any) -> Iterator[str]:
    """Say what is wrong with one alarm field of a record of this type."""
    possible = _ALARM_FIELDS.get(rtyp, ())
    if name not in possible:
        allowed = ", ".join(possible) or "none, a text has no alarm limits"
        yield f"not a field of {suffix} ({rtyp}), allowed: {allowed}"
    elif rtyp in {"longin", "longout"} and isinstance(value, float) and not value.is_integer():
        yield f"found {in_words(value)}, allowed: a whole number, as {suffix} is"


def _aliases(data: Table) -> Found:
    """Refuse an alias used twice, or one that is the name of a channel."""
    taken: dict[str, str] = {}
    for index, device in devices(data):
        for number, channel in channels(device):
            alias = channel.get("alias")
            if not isinstance(alias, str):
                continue
            if other := _owner(data, alias) or taken.get(alias):
                text = f"found {in_words(alias)}, which is already the name of {other}"
                yield ("device", index, "channel", number, "alias"), text
            taken.setdefault(alias, f"{device_label(data, index)}.channel.{number}")


def _owner(data: Table, alias: str) -> str:
    """Return the device one of whose channels has this name by itself; empty when there is none."""
    base, _, last = alias.rpartition(":")
    owners = {f"{prefix(data)}:{device.get('name')}": device_label(data, index) for index, device in devices(data)}
    return owners.get(base, "") if _CHANNEL.fullmatch(last) else ""


def _text_interface(data: Table) -> Found:
    """Refuse a text interface to a device that has no registers, or does not exist."""
    name = table(data, "textserver").get("device")
    known = [device.get("name") for _, device in devices(data) if FAMILIES[device["type"]].registers]
    if isinstance(name, str) and name not in known:
        allowed = ", ".join(map(str, known)) or "none, no device has registers"
        yield ("textserver", "device"), f"found {in_words(name)}, allowed: {allowed}"


def _access(data: Table) -> Found:
    """Refuse hosts that are no addresses, and keys that contradict each other."""
    section = table(data, "access")
    write = section.get("write")
    for index, host in enumerate(listed(section, "hosts")):
        if isinstance(host, str) and (text := host_mistake(host)):
            yield ("access", "hosts", index), f"found {in_words(host)}, {text}"
    others = ("hosts",) if write == LOCAL else ("hosts", "operators", "experts") if write == EVERYBODY else ()
    for other in others:
        if other in section:
            yield ("access", "write"), f"found {in_words(write)} beside {other}, allowed: one of the two"
    for other in ("operators", "experts", "hosts", "write") if "acf" in section else ():
        if other in section:
            yield ("access", "acf"), f"found {in_words(section['acf'])} beside {other}, allowed: one of the two"
    for other in ("macros", "client_ip") if "acf" not in section else ():
        if other in section:
            yield ("access", other), "is for an access security file, and there is no acf"


# ---- of one device: paths begin at its table


def _address(device: Table, data: Table) -> Found:
    """Refuse an address that the driver does not understand and a CAN adapter that is not defined."""
    address, adapter, known = device.get("address"), device.get("can"), list(table(data, "can"))
    if isinstance(address, str) and re.match(r"[a-z]+://", address):
        try:
            FAMILIES[device["type"]].check_address(address)
        except ValueError as error:
            yield ("address",), str(error)
    if isinstance(adapter, str) and adapter not in known:
        allowed = ", ".join(f"[can.{name}]" for name in known) or "none, there is no [can.NAME] section"
        yield ("can",), f"found {in_words(adapter)}, allowed: {allowed}"


def _of_family(device: Table, _data: Table) -> Found:
    """Refuse what a family does not accept beyond its schema."""
    yield from (((key,), text) for key, text in FAMILIES[device["type"]].mistakes(device))


def _channel_numbers(device: Table, _data: Table) -> Found:
    """Refuse channels beyond the number of channels of the device."""
    count = device.get("channels", FAMILIES[device["type"]].default_channels)
    for number, _ in channels(device):
        if isinstance(count, int) and int(number) >= count:
            yield ("channel", number), f"found channel {number}, allowed: 0 to {count - 1} (channels = {count})"


def _tuned(device: Table, key: str) -> Iterator[tuple[KeyPath, Mapping[str, RecordDef], Table]]:
    """Yield the ``limits`` or ``alarms`` of a device and its channels: path, the records that there are, the table."""
    of_device, of_channel = family_records(device["type"])
    yield (key,), {**of_device, **of_channel}, table(device, key)
    yield from ((("channel", number, key), of_channel, table(channel, key)) for number, channel in channels(device))


def _limits(device: Table, _data: Table) -> Found:
    """Refuse limits of what is no numeric setting, and empty ranges."""
    for path, records, limits in _tuned(device, "limits"):
        known = [suffix for suffix, record in records.items() if record.rtyp == "ao"]
        for suffix, pair in limits.items():
            if suffix not in known:
                hint = did_you_mean(suffix, known)
                yield (*path, suffix), f"no such numeric setting, allowed: {', '.join(known)}{hint}"
            if numbers(pair, 2) and pair[0] > pair[1]:
                yield (*path, suffix), f"found {in_words(pair)}, allowed: [LOWEST, HIGHEST], the lower one first"


def _alarms(device: Table, _data: Table) -> Found:
    """Refuse alarms of signals that do not exist and fields that their records do not have."""
    family = device["type"]
    for path, records, alarms in _tuned(device, "alarms"):
        for suffix, fields in alarms.items():
            record = records.get(suffix)
            if record is None:
                hint = did_you_mean(suffix, records)
                yield (*path, suffix), f"no such signal of {family}{hint or '; labioc pvs lists them'}"
                continue
            if suffix in full_only(family) and device.get("detail") != "full":
                yield (*path, suffix), f'{suffix} is published with detail = "full" only'
            for name, value in fields.items() if isinstance(fields, dict) else ():
                for text in _field_mistakes(suffix, record.rtyp, name, value):
                    yield (*path, suffix, name), text


def _alarm_order(device: Table, _data: Table) -> Found:
    """Refuse alarm limits that cross each other, of the template, the device and the channel taken together."""
    around = table(device, "alarms")
    for path, records, alarms in _tuned(device, "alarms"):
        for suffix in alarms:
            sections = [table(around, suffix), table(alarms, suffix)]
            yield from _crossed((*path, suffix), records.get(suffix), *sections)


def _lengths(device: Table, data: Table) -> Found:
    """Refuse names that would make a PV name longer than a record name may be."""
    of_device, of_channel = family_records(device["type"])
    longest = max((*of_device, *map("CH00:{}".format, of_channel)), key=len)
    names: list[tuple[KeyPath, str]] = [(("name",), f"{prefix(data)}:{device.get('name')}:{longest}")]
    for number, channel in channels(device):
        if isinstance(channel.get("alias"), str) and of_channel:
            names.append((("channel", number, "alias"), f"{channel['alias']}:{max(of_channel, key=len)}"))
    for path, name in names:
        if len(name) > MAX_NAME:
            yield path, f"found {name} with {len(name)} characters, allowed: {MAX_NAME}"


_DEVICE_RULES: tuple[Callable[[Table, Table], Found], ...] = (
    _address,
    _of_family,
    _channel_numbers,
    _limits,
    _alarms,
    _alarm_order,
    _lengths,
)


def _of_devices(data: Table) -> Found:
    """Look at each device by itself."""
    for index, device in devices(data):
        for rule in _DEVICE_RULES:
            yield from ((("device", index, *path), text) for path, text in rule(device, data))


_RULES: tuple[tuple[str, Callable[[Table], Iterable[tuple[KeyPath, str]]]], ...] = (
    ("", _numbers),
    ("site", _something_to_do),
    ("device", _names),
    ("device", _of_devices),
    ("device", _places),
    ("can", _adapter_options),
    ("can", _adapters),
    ("device", _groups),
    ("device", _aliases),
    ("textserver", _text_interface),
    ("access", _access),
    ("group", lambda data: groups_of(data)[1]),
    ("interlock", lambda data: interlocks_of(data)[1]),
    ("recovery", lambda data: recovery_of(data)[1]),
)
"""Each rule with the section of the site file that it is about, empty for all."""
