"""``labioc put PV VALUE``: set a PV over Channel Access and wait until it is done."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import suppress

from ioc.client import Channel, Client, PutError, ReadError, Reading, reason_of
from ioc.client.reading import Scalar
from ioc.commands.output import complain
from ioc.commands.pv_arguments import NamesError, Wanted, add_arguments, connected, wanted
from ioc.services.journal import journal_files, stored
from ioc.services.state import state_folder
from ioc.site.config import Site

_CONNECT_SECONDS = 3.0
_READ_SECONDS = 3.0
_ROUNDED = 0.001
"""Seconds to which the journal rounds its times."""

_LOOKS = 6
_LOOK_SECONDS = 0.1
"""How often, and after which pauses, the journal is looked at for a put that has just been refused."""


def put_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``put``."""
    parser.add_argument("pv", metavar="PV", help="a PV, with its field if any")
    parser.add_argument("value", metavar="VALUE", nargs="+", help="a number, a state or a text; several for an array")
    parser.add_argument(
        "--no-completion", action="store_true", help="end when it is sent; nothing is known of what becomes of it"
    )
    add_arguments(parser, timeout=30.0)


def put(args: argparse.Namespace) -> int:
    """Put; 1 when it was refused, or its outcome is not known. Raises SiteError and NamesError."""
    what = wanted(args, [args.pv])
    if len(what.names) > 1:
        raise NamesError([f"{args.pv} matches {len(what.names)} PVs; a put is for one"])
    try:
        return asyncio.run(_put(what, args))
    except KeyboardInterrupt:
        complain(f"{what.names[0]}: given up; if it was sent its outcome is unknown")
        raise


async def _put(what: Wanted, args: argparse.Namespace) -> int:
    value: Scalar | tuple[Scalar, ...] = args.value[0] if len(args.value) == 1 else tuple(args.value)
    async with Client(what.env) as client:
        channels = await connected(client, what.names, min(args.wait, _CONNECT_SECONDS))
        if not channels:
            return 1
        (channel,) = channels
        before = await _read(channel)
        began, asked, failure = time.monotonic(), time.time(), None
        try:
            if args.no_completion:
                channel.send_put(value)
            else:
                await channel.put(value, args.wait)
        except PutError as error:
            failure = error
        took = time.monotonic() - began
        after = await _read(channel)
        reason = "" if failure is None else await words_of(client, what.site, channel, failure, asked)
    if args.json:
        outcome = _outcome(failure, args.no_completion)
        print(json.dumps(_as_json(channel, before, after) | {"outcome": outcome, "reason": reason, "seconds": took}))
    elif failure is None:
        sent = "  (sent; the outcome is unknown)" if args.no_completion else ""
        print(f"{channel.name}  {_quantity(before)} -> {_quantity(after)}{sent}")
    if failure is not None and not args.json:
        complain(f"{channel.name}: {'' if failure.unknown else 'refused: '}{reason}")
    return int(failure is not None)


def _outcome(failure: PutError | None, no_completion: bool) -> str:
    if failure is None:
        return "sent" if no_completion else "done"
    return "unknown" if failure.unknown else "refused"


async def words_of(client: Client, site: Site | None, channel: Channel, failure: PutError, asked: float) -> str:
    """Return the words of the device or the journal where there are some, or else what Channel Access has to say."""
    words = None
    if failure.answered and channel.connected:
        words = await reason_of(client, channel, _READ_SECONDS)
        if words is None and site is not None:
            words = await _of_journal(site, client, channel.name, asked)
    return words or str(failure)


async def _of_journal(site: Site, client: Client, name: str, asked: float) -> str | None:
    """Return the reason that the journal of a site has, when that is on this computer; it is written a little later."""
    _, refused = journal_files(site, state_folder(site))
    for _ in range(_LOOKS if refused.parent.exists() else 0):
        with suppress(OSError):
            for entry in reversed(list(stored(refused))):
                if entry.time < asked - _ROUNDED:
                    break
                if entry.pv == name.removesuffix(".VAL") and (entry.user, entry.host) == (client.user, client.host):
                    return entry.reason
        await asyncio.sleep(_LOOK_SECONDS)
    return None


async def _read(channel: Channel) -> Reading | None:
    """Read it, if that is possible: a put may be permitted where reading is not."""
    try:
        return await channel.read(_READ_SECONDS)
    except ReadError:
        return None


def _quantity(reading: Reading | None) -> str:
    if reading is None:
        return "(not readable)"
    return reading.quantity + (f"  {reading.alarm}" if reading.alarm else "")


def _as_json(channel: Channel, before: Reading | None, after: Reading | None) -> dict[str, object]:
    texts = {"old": before, "new": after}
    return {"pv": channel.name} | {key: reading.as_json() if reading else None for key, reading in texts.items()}
