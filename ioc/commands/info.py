"""``labioc info PV...``: all that an IOC says about a PV."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

from ioc.client import Channel, Client, ReadError, Reading
from ioc.client.reading import TYPE_NAMES
from ioc.commands.get import whole
from ioc.commands.pv_arguments import Wanted, add_arguments, complain, connected, wanted

_FIELDS = {
    "DESC": "description",
    "RTYP": "record type",
    "NAME": "record",
    "SCAN": "scan",
    "INP": "input",
    "OUT": "output",
    "DISP": "puts disabled",
    "ASG": "access group",
    "ADEL": "archive dead-band",
    "MDEL": "monitor dead-band",
}
_FIELD_SECONDS = 1.0
_OTHERS_SECONDS = 0.3
"""How long fields are looked for that not every type of record has, after the first one has been found."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, or a wildcard")
    add_arguments(parser, timeout=3.0)


def run(args: argparse.Namespace) -> int:
    """Print it; 1 when a PV could not be read. Raises SiteError and NamesError."""
    return asyncio.run(_info(wanted(args, args.pv), args))


async def _info(what: Wanted, args: argparse.Namespace) -> int:
    shown = 0
    async with Client(what.env) as client:
        for channel in await connected(client, what.names, args.wait):
            reading = await whole(client, channel, args.wait)
            if isinstance(reading, ReadError):
                complain(f"{channel.name}: {reading}")
                continue
            about = _about(channel, reading) | await _fields(client, channel)
            if args.json:
                print(json.dumps({"pv": channel.name, **reading.as_json(), **about}))
            else:
                print(*_lines(channel, reading, about), sep="\n")
            shown += 1
    return int(shown < len(what.names))


def _about(channel: Channel, reading: Reading) -> dict[str, Any]:
    host, port = channel.address or ("", 0)
    limits = {f"{name} limits": list(span) for name, span in reading.meta.limits.items()}
    return {
        "server": f"{host}:{port}",
        "type": TYPE_NAMES[channel.native] if channel.native < len(TYPE_NAMES) else str(channel.native),
        "elements": channel.count,
        "writable": channel.writable,
        "states": list(reading.meta.states),
        **limits,
    }


async def _fields(client: Client, channel: Channel) -> dict[str, str]:
    """Read the fields of the record; another server may have none."""
    base = channel.name.partition("{")[0].partition(".")[0].rstrip("$")
    (kind,) = await client.connect([f"{base}.RTYP"], _FIELD_SECONDS)
    if not kind.connected:
        return {}
    channels = await client.connect([f"{base}.{field}" for field in _FIELDS], _OTHERS_SECONDS)
    found = {}
    for name, one in zip(_FIELDS.values(), channels, strict=True):
        if one.connected and isinstance(reading := await whole(client, one, _FIELD_SECONDS), Reading) and reading.text:
            found[name] = reading.text
    return found


def _lines(channel: Channel, reading: Reading, about: dict[str, Any]) -> Iterator[str]:
    yield channel.name
    age = reading.age(time.time())
    yield _row("value", f"{reading.quantity}  ({age}{' ago' if reading.stamp else ''})")
    yield _row("alarm", reading.alarm or "none")
    for name, value in about.items():
        text = _text(value, reading.meta.units)
        if text:
            yield _row(name, text)


def _text(value: Any, units: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and value and isinstance(value[0], int | float):
        low, high = value
        return f"{low:.10g} to {high:.10g} {units}".rstrip() if low < high else ""  # equal ones are not set
    return ", ".join(value) if isinstance(value, list) else str(value)


def _row(name: str, text: str) -> str:
    return f"  {name:<18}{text}"
