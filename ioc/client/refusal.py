"""Why a server refused a put: Channel Access answers with a number, the words are in a PV of the device."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Final

from ioc.client.channel import Channel, ReadError
from ioc.client.client import Client

_LINK: Final = re.compile(r"@(\S+) ")
_LOOK_SECONDS: Final = 1.0
"""How long a PV is looked for that a server of another kind does not have."""


async def reason_of(client: Client, channel: Channel, timeout: float) -> str | None:
    """Return why this client's last put to a PV was refused, as ``PUT:MSG`` of its device has it.

    None when there is no such message about this put: the server is another program, or the PV belongs to no device.
    """
    base, _, field = channel.name.partition("{")[0].rstrip("$").partition(".")
    name = await _text(client, [f"{base}.NAME"], timeout) or base
    link = _LINK.match(await _text(client, [f"{base}.OUT", f"{base}.INP"], timeout))
    device = link[1] if link else ""
    start, colon, _ = name.partition(f":{device}:")
    if not device or not colon:
        return None
    message = await _text(client, [f"{start}:{device}:PUT:MSG$"], timeout)
    reason, bracket, what = message.rpartition(" [")
    put = name if field in ("", "VAL") else f"{name}.{field}"
    mine = what.startswith(f"{put} = ") and f" by {client.user}@{client.host} " in what
    return reason.removeprefix(f"{put}: ") if bracket and mine else None


async def _text(client: Client, names: list[str], timeout: float) -> str:
    """Read the one of several PVs that is there; empty when none is."""
    channels = client.channels(names)
    waiting = [channel.connection for channel in channels]
    await asyncio.wait(waiting, timeout=min(timeout, _LOOK_SECONDS), return_when=asyncio.FIRST_COMPLETED)
    for channel in channels:
        if channel.connected:
            with suppress(ReadError):
                return (await channel.read(timeout)).text
    return ""
