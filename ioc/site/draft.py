"""A first site file: what was found, as TOML with comments for the one who goes on writing it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from devices.discovery import Found
from devices.family import Family
from ioc.site.config import parse_site

_COLUMN: Final = 48
"""Where comments begin, as far as there is room."""

_READONLY: Final = "looks and never writes; take this line out when what you see is right"


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device of the draft."""

    name: str
    type: str
    found: Found


def free_name(family: Family, number: int | None, taken: Sequence[str]) -> str:
    """Return a name for a device: that of the family's example, with its number on the wire or the next one free."""
    stem = re.sub(r"[0-9]+$", "", str(family.example.get("name", "DEV"))) or "DEV"
    wanted = [] if number is None else [f"{stem}{number}"]
    return next(name for name in (*wanted, *(f"{stem}{n}" for n in range(1, 1000))) if name not in taken)


def draft(prefix: str, devices: Sequence[NewDevice], file: str) -> str:
    """Return the text of a site file. Raises SiteError when it would not be a good one."""
    adapters: list[Mapping[str, Any]] = []
    for device in devices:
        if device.found.adapter and device.found.adapter not in adapters:
            adapters.append(device.found.adapter)
    names = ["main", *(f"can{number}" for number in range(2, len(adapters) + 1))]
    lines = list(_head(prefix, devices, file))
    for name, adapter in zip(names, adapters, strict=False):
        lines += ["", f"[can.{name}]", *(_line(key, value) for key, value in adapter.items())]
    for device in devices:
        lines += _device(device, names[adapters.index(device.found.adapter)] if device.found.adapter else "")
    text = "\n".join(lines) + "\n"
    parse_site(tomllib.loads(text))
    return text


def _head(prefix: str, devices: Sequence[NewDevice], file: str) -> Iterator[str]:
    yield "# Site file of labioc: which devices there are and how to reach them."
    yield f"#   labioc check {file}    reports every mistake"
    yield f"#   labioc pvs {file}      lists the PVs"
    yield f"#   labioc run {file}      serves them"
    yield ""
    yield "[site]"
    example = f"{prefix}:{devices[0].name}:..." if devices else f"{prefix}:..."
    yield _line("prefix", prefix, f"first part of every PV name, {example}; hard to change later")
    yield _with_remark('# engineer = "Anna Weber, 2345"', "shown to clients as IOC:ENGINEER")
    yield _with_remark('# location = "Hall 2, rack 5"', "and IOC:LOCATION")
    yield ""
    yield _with_remark("# [access]", "who may write; this computer alone when left out")
    yield _with_remark('# hosts = ["192.168.1.0/24"]', "and these addresses and networks")


def _device(device: NewDevice, adapter: str) -> Iterator[str]:
    yield ""
    yield "[[device]]"
    yield f"# {_shown(device.found.text)}"
    yield _line("name", device.name, "what it is for, as part of every PV name")
    yield _line("type", device.type)
    keys = dict(device.found.keys)
    channels = keys.pop("channel", {})
    if adapter:
        keys["can"] = adapter
    limits = keys.pop("limits", None)
    for key, value in keys.items():
        yield _line(key, value, device.found.remarks.get(key, ""))
    yield _line("readonly", True, _READONLY)
    if limits:
        yield _line("limits", limits, device.found.remarks.get("limits", ""))
    yield from (_with_remark(f"# {hint}", remark) for hint, remark in device.found.hints)
    for number, settings in channels.items():
        yield f"[device.channel.{number}]"
        yield from (_line(key, value, device.found.remarks.get(key, "")) for key, value in settings.items())


def _line(key: str, value: Any, remark: str = "") -> str:
    return _with_remark(f"{key} = {_toml(value)}", remark)


def _with_remark(text: str, remark: str) -> str:
    return f"{text:<{_COLUMN - 1}} # {remark}" if remark else text


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(_shown(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return f"{value:.10g}"


def _shown(text: str) -> str:
    """Return what a device says of itself as TOML may have it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
