"""``labioc get PV...``: read PVs over Channel Access."""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from ioc.client import Channel, Client, ReadError, Reading
from ioc.client.reading import STRING
from ioc.commands.pv_arguments import Wanted, add_arguments, complain, connected, wanted
from ioc.commands.pvs import in_columns

_FEW = 5
"""Elements of an array that are shown."""

_CUT = 39
"""Characters of a string that Channel Access shows at most; a long one is read as NAME$."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pv", metavar="PV", nargs="+", help="a PV, with its field if any, or a wildcard")
    parser.add_argument("-t", "--terse", action="store_true", help="the values alone, one on a line")
    add_arguments(parser, timeout=3.0)


def run(args: argparse.Namespace) -> int:
    """Print them; 1 when one could not be read. Raises SiteError and NamesError."""
    return asyncio.run(_get(wanted(args, args.pv), args))


async def _get(what: Wanted, args: argparse.Namespace) -> int:
    async with Client(what.env) as client:
        channels = await connected(client, what.names, args.wait)
        found = await asyncio.gather(*(whole(client, channel, args.wait) for channel in channels))
    readings = [(channel, one) for channel, one in zip(channels, found, strict=True) if isinstance(one, Reading)]
    for channel, one in zip(channels, found, strict=True):
        if isinstance(one, ReadError):
            complain(f"{channel.name}: {one}")
    if args.json:
        for channel, reading in readings:
            print(json.dumps({"pv": channel.name, **reading.as_json()}))
    elif args.terse:
        for _, reading in readings:
            print(reading.text)
    elif readings:
        now = time.time()
        print(in_columns([(channel.name, *columns(reading, now)) for channel, reading in readings]))
    return int(len(readings) < len(what.names))


def columns(reading: Reading, now: float) -> tuple[str, str, str]:
    """Return value with unit, age and alarm."""
    age, value = reading.age(now), reading.quantity
    if isinstance(reading.value, tuple) and len(reading.value) > _FEW:
        value = f"{len(reading.value)} values: {' '.join(value.split()[:_FEW])} ..."
    return value, f"{age} ago" if reading.stamp else age, reading.alarm


async def whole(client: Client, channel: Channel, timeout: float) -> Reading | ReadError:
    """Read a PV, also a text that is longer than a Channel Access string; an error is returned."""
    try:
        reading = await channel.read(timeout)
    except ReadError as error:
        return error
    if channel.native == STRING and isinstance(reading.value, str) and len(reading.value.encode()) >= _CUT:
        (long,) = await client.connect([f"{channel.name}$"], min(timeout, 1.0))
        if long.connected:
            return await whole(client, long, timeout)
    return reading
