"""Every mistake of a site file as a sentence: key, what was found, what is allowed."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from devices.links.can_options import option_mistakes
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.dbfile import RecordDef
from ioc.site.schema import BINARY_FIELDS, LIMIT_FIELDS, LIMIT_SEVERITY_FIELDS, STATE_FIELDS, site_schema
from ioc.site.templates import family_records

MAX_NAME = 60
"""Longest PV name in characters."""

_TYPES = {
    "object": "a table",
    "array": "a list",
    "string": "a text in quotes",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
}
_ANALOG = (*LIMIT_FIELDS, *LIMIT_SEVERITY_FIELDS)
_ALARM_FIELDS = {
    "ai": _ANALOG,
    "ao": _ANALOG,
    "longin": _ANALOG,
    "longout": _ANALOG,
    "bi": BINARY_FIELDS,
    "bo": BINARY_FIELDS,
    "mbbi": STATE_FIELDS,
    "mbbo": STATE_FIELDS,
}

_Path = tuple[str | int, ...]
_Found = Iterator[tuple[_Path, str]]


def site_errors(data: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake, in the order of the keys; none when the file is good."""
    found = [mistake for error in _validator().iter_errors(data) for mistake in _schema_mistakes(error)]
    for rule in _RULES:
        found += rule(data)
    order = {key: place for place, key in enumerate(data)}
    found.sort(key=lambda mistake: _sort_key(mistake[0], order))
    return list(dict.fromkeys(f"{_dotted(path, data)}: {text}" for path, text in found))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(site_schema())


def _sort_key(path: _Path, order: Mapping[str, int]) -> tuple[int, tuple[str, ...]]:
    section = order.get(str(path[0]), len(order)) if path else -1
    return section, tuple(f"{part:06d}" if isinstance(part, int) else part for part in path)


def _dotted(path: _Path, data: Mapping[str, Any]) -> str:
    """Write a path the way people look for it: ``device[0] (HV1).channel.7.limits.VSET``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
        if text.startswith("device[") and text.endswith("]") and isinstance(part, int) and text.count("[") == 1:
            name = _at(data, path[:2]).get("name") if isinstance(_at(data, path[:2]), dict) else None
            text += f" ({name})" if isinstance(name, str) else ""
    return text or "site file"


def _at(data: Any, path: _Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _shown(value: Any) -> str:
    """Return a value the way it stands in the file, cut when it is long."""
    text = "a table" if isinstance(value, dict) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    choices = list(known)
    close = difflib.get_close_matches(word, choices, 1) or difflib.get_close_matches(word.upper(), choices, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _schema_mistakes(error: ValidationError) -> _Found:
    """Turn one error of the validator into sentences."""
    path: _Path = tuple(error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    about = schema.get("description", "")
    found: Any = error.instance
    rule: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = [*schema.get("properties", ()), *_channel_numbers(schema)]
            for key in found:
                if key not in schema.get("properties", ()) and not _matches(key, schema.get("patternProperties", {})):
                    yield (*path, key), f"unknown key, allowed: {', '.join(known)}{_did_you_mean(key, known)}"
        case "required":
            for key in rule:
                if key not in found:
                    allowed = _about_key(schema, key)
                    yield (*path, key), "missing" + (f", allowed: {allowed}" if allowed else "")
        case "enum" | "const":
            values = rule if error.validator == "enum" else [rule]
            hint = _did_you_mean(found, map(str, values)) if isinstance(found, str) else ""
            yield path, f"found {_shown(found)}, allowed: {', '.join(map(_shown, values))}{hint}"
        case "type":
            yield path, f"found {_shown(found)}, allowed: {_TYPES[rule]}{f' ({about})' if about else ''}"
        case _:
            yield path, f"found {_shown(found)}, allowed: {_bound(error, schema) or about}"


def _channel_numbers(schema: Mapping[str, Any]) -> list[str]:
    return ["channel numbers 0 to 99"] if "patternProperties" in schema else []


def _matches(key: str, patterns: Mapping[str, Any]) -> bool:
    return any(re.search(pattern, key) for pattern in patterns)


def _about_key(schema: Mapping[str, Any], key: str) -> str:
    about = schema.get("properties", {}).get(key, {})
    text = about.get("description") or ", ".join(map(_shown, about.get("enum", ())))
    return str(text)


def _bound(error: ValidationError, schema: Mapping[str, Any]) -> str:
    """Say the range or size that was missed; nothing for the other keywords."""
    limit = error.validator_value
    match error.validator:
        case "minimum" | "maximum" | "exclusiveMinimum":
            low = f"from {schema['minimum']}" if "minimum" in schema else f"above {schema['exclusiveMinimum']}"
            return f"{low} to {schema['maximum']}"
        case "minLength":
            return "a text that is not empty"
        case "maxLength":
            return f"at most {limit} characters"
    return ""


def _devices(data: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the devices that are complete enough to be looked at further."""
    devices = data.get("device")
    for index, device in enumerate(devices if isinstance(devices, list) else ()):
        if isinstance(device, dict) and isinstance(device.get("type"), str) and device["type"] in FAMILIES:
            yield index, device


def _channels(device: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    channels = device.get("channel")
    for number, channel in channels.items() if isinstance(channels, dict) else ():
        if number.isdecimal() and isinstance(channel, dict):
            yield number, channel


def _sections(data: Mapping[str, Any], key: str) -> Iterator[tuple[_Path, str, bool, Mapping[str, Any]]]:
    """Yield each ``limits`` or ``alarms`` table: path, family, whether of a channel, the table."""
    for index, device in _devices(data):
        if isinstance(device.get(key), dict):
            yield ("device", index, key), device["type"], False, device[key]
        for number, channel in _channels(device):
            if isinstance(channel.get(key), dict):
                yield ("device", index, "channel", number, key), device["type"], True, channel[key]


def _known_records(family: str, of_channel: bool) -> dict[str, RecordDef]:
    device, channel = family_records(family)
    return dict(channel) if of_channel else {**device, **channel}


def _numbers(data: Any, path: _Path = ()) -> _Found:
    """Refuse nan and inf, which TOML knows as numbers."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _numbers(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _numbers(value, (*path, index))
    elif isinstance(data, float) and not math.isfinite(data):
        yield path, f"found {data}, allowed: a finite number"


def _names(data: Mapping[str, Any]) -> _Found:
    """Refuse a device name used twice."""
    seen: dict[str, int] = {}
    for index, device in _devices(data):
        name = device.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield ("device", index, "name"), f"found {_shown(name)}, which is already device[{seen[name]}]"
        seen.setdefault(name, index)


def _addresses(data: Mapping[str, Any]) -> _Found:
    """Refuse addresses that the driver does not understand and CAN adapters that are not defined."""
    adapters = data.get("can")
    known = list(adapters) if isinstance(adapters, dict) else []
    for index, device in _devices(data):
        address, adapter = device.get("address"), device.get("can")
        if isinstance(address, str) and re.match(r"[a-z]+://", address):
            family = FAMILIES[device["type"]]
            try:
                family.make_driver(DeviceSettings("", family.type, address, channels=1))
            except ValueError as error:
                yield ("device", index, "address"), str(error)
        if isinstance(adapter, str) and adapter not in known:
            allowed = ", ".join(f"[can.{name}]" for name in known) or "none, there is no [can.NAME] section"
            yield ("device", index, "can"), f"found {_shown(adapter)}, allowed: {allowed}"


def _places(data: Mapping[str, Any]) -> _Found:
    """Refuse two devices at one place: each would take the other's answers and undo its settings.

    A simulated device has a place of its own, whatever the file says.
    """
    seen: dict[tuple[object, ...], int] = {}
    for index, device in _devices(data):
        found = None if device.get("simulated") is True else _place(device)
        if found is None:
            continue
        place, key, text = found
        if place in seen:
            other = _at(data, ("device", seen[place])).get("name")
            yield ("device", index, key), f"{text} is already that of device[{seen[place]}] ({other})"
        seen.setdefault(place, index)


def _place(device: Mapping[str, Any]) -> tuple[tuple[object, ...], str, str] | None:
    """Return where a device is, the key that says so and its description; None when that cannot be told.

    Modbus units share their line. A driver of a CAEN supply has the line for itself: a second one could not open it, or
    would hear the first one's answers.
    """
    family = FAMILIES[device["type"]]
    if "module" in family.options:
        adapter, module = device.get("can"), device.get("module")
        if isinstance(adapter, str) and isinstance(module, int):
            return (adapter, module), "module", f"module {module} on CAN adapter {adapter}"
        return None
    number = next((key for key in ("board", "unit") if key in family.options), "")
    value = device.get(number, family.options.get(number, {}).get("default"))
    if not isinstance(device.get("address"), str) or not isinstance(value, int):
        return None
    line = device["address"].partition("?")[0].rstrip("/")
    same = line.lower() if line.startswith("tcp:") else line  # names of hosts do not care about case, those of ports do
    if number != "unit":
        return (same,), "address", f"a connection serves one device, and {line}"
    return (same, value), number if number in device else "address", f"{number} {value} at {line}"


def _adapter_options(data: Mapping[str, Any]) -> _Found:
    """Refuse options that python-can would not understand."""
    adapters = data.get("can")
    for name, options in adapters.items() if isinstance(adapters, dict) else ():
        if isinstance(options, dict) and isinstance(options.get("interface"), str):
            for option, reason in option_mistakes(options):
                yield ("can", name, option), reason


def _channel_numbers_exist(data: Mapping[str, Any]) -> _Found:
    """Refuse channels beyond the number of channels of the device."""
    for index, device in _devices(data):
        count = device.get("channels", FAMILIES[device["type"]].default_channels)
        for number, _ in _channels(device):
            if isinstance(count, int) and int(number) >= count:
                text = f"found channel {number}, allowed: 0 to {count - 1} (channels = {count})"
                yield ("device", index, "channel", number), text


def _limits(data: Mapping[str, Any]) -> _Found:
    """Refuse limits of what is no numeric setting, and empty ranges."""
    for path, family, of_channel, limits in _sections(data, "limits"):
        records = _known_records(family, of_channel)
        known = [suffix for suffix, record in records.items() if record.rtyp == "ao"]
        for suffix, pair in limits.items():
            if suffix not in known:
                hint = _did_you_mean(suffix, known)
                yield (*path, suffix), f"no such numeric setting, allowed: {', '.join(known)}{hint}"
            if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(n, int | float) for n in pair):
                continue
            if pair[0] > pair[1]:
                yield (
                    (*path, suffix),
                    f"found {_shown(pair)}, allowed: [LOWEST, HIGHEST], the lower one first",
                )


def _alarms(data: Mapping[str, Any]) -> _Found:
    """Refuse alarms of signals that do not exist and fields that their records do not have."""
    for path, family, of_channel, alarms in _sections(data, "alarms"):
        records = _known_records(family, of_channel)
        for suffix, fields in alarms.items():
            record = records.get(suffix)
            if record is None:
                hint = _did_you_mean(suffix, records)
                yield (*path, suffix), f"no such signal of {family}{hint or '; labioc pvs lists them'}"
                continue
            for name, value in fields.items() if isinstance(fields, dict) else ():
                for text in _field_mistakes(suffix, record.rtyp, name, value):
                    yield (*path, suffix, name), text


def _field_mistakes(suffix: str, rtyp: str, name: str, value: Any) -> Iterator[str]:
    """Say what is wrong with one alarm field of a record of this type."""
    possible = _ALARM_FIELDS.get(rtyp, ())
    if name not in possible:
        allowed = ", ".join(possible) or "none, a text has no alarm limits"
        yield f"not a field of {suffix} ({rtyp}), allowed: {allowed}"
    elif rtyp in {"longin", "longout"} and isinstance(value, float) and not value.is_integer():
        yield f"found {_shown(value)}, allowed: a whole number, as {suffix} is"


def _aliases(data: Mapping[str, Any]) -> _Found:
    """Refuse an alias used twice, or one that is the name of a channel."""
    prefix = _prefix(data)
    taken = {
        f"{prefix}:{device.get('name')}:CH{number:02d}": f"device[{index}]"
        for index, device in _devices(data)
        for number in range(100)
    }
    for index, device in _devices(data):
        for number, channel in _channels(device):
            alias, place = channel.get("alias"), ("device", index, "channel", number, "alias")
            if not isinstance(alias, str):
                continue
            if alias in taken:
                yield place, f"found {_shown(alias)}, which is already the name of {taken[alias]}"
            taken.setdefault(alias, f"device[{index}].channel.{number}")


def _lengths(data: Mapping[str, Any]) -> _Found:
    """Refuse names that would make a PV name longer than a record name may be."""
    prefix = _prefix(data)
    for index, device in _devices(data):
        of_device, of_channel = family_records(device["type"])
        longest = max((*of_device, *(f"CH00:{suffix}" for suffix in of_channel)), key=len)
        yield from _length(("device", index, "name"), f"{prefix}:{device.get('name')}:{longest}")
        for number, channel in _channels(device):
            if isinstance(channel.get("alias"), str) and of_channel:
                name = f"{channel['alias']}:{max(of_channel, key=len)}"
                yield from _length(("device", index, "channel", number, "alias"), name)


def _length(path: _Path, name: str) -> _Found:
    if len(name) > MAX_NAME:
        yield path, f"found {name} with {len(name)} characters, allowed: {MAX_NAME}"


def _text_interface(data: Mapping[str, Any]) -> _Found:
    """Refuse a text interface to a device that has no registers, or does not exist."""
    section = data.get("textserver")
    name = section.get("device") if isinstance(section, dict) else None
    known = [device.get("name") for _, device in _devices(data) if FAMILIES[device["type"]].registers]
    if isinstance(name, str) and name not in known:
        allowed = ", ".join(map(str, known)) or "none, there is no furnace controller"
        yield ("textserver", "device"), f"found {_shown(name)}, allowed: {allowed}"


def _prefix(data: Mapping[str, Any]) -> str:
    site = data.get("site")
    prefix = site.get("prefix") if isinstance(site, dict) else None
    return prefix if isinstance(prefix, str) else ""


_RULES: tuple[Callable[[Mapping[str, Any]], _Found], ...] = (
    _numbers,
    _names,
    _addresses,
    _places,
    _adapter_options,
    _channel_numbers_exist,
    _limits,
    _alarms,
    _aliases,
    _lengths,
    _text_interface,
)
