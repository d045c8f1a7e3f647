"""The self-test of a whole site: which servers run, what they show, and the devices themselves where none does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from archiver.config import ArchiverConfig
from ioc.client import Client
from ioc.database.dbfile import RecordDef
from ioc.selftest import checks
from ioc.selftest.findings import Finding, Report, Result
from ioc.selftest.surroundings import check_clock, check_databases, check_folder
from ioc.selftest.values import from_devices, from_server
from ioc.services.state import state_folder
from ioc.services.supervision import address_file
from ioc.site.config import Site
from ioc.site.expansion import expand
from labioc_pages.page import NotRunning, fetch

_BEATS = 1.5
"""Seconds between two looks at the heartbeat."""

_ALONE_SECONDS = 30.0
"""How long devices have to answer when they are read without a server."""


async def examine(
    name: str, parts: Sequence[Site], archiver: ArchiverConfig | None, env: Mapping[str, str], wait: float
) -> Report:
    """Test what each IOC of a site serves; ``wait`` is how long PVs may take, in seconds. Raises DatabaseError."""
    begun = time.time()
    found: list[Finding] = [check_clock(), check_folder("state of the server", state_folder(parts[0]))]
    sources = []
    async with Client(env) as client:
        for part in parts:
            source, findings = await _part(client, part, wait)
            sources.append(source)
            found += findings
        if archiver is not None:
            found.append(await _archiver(client, archiver, wait))
    if archiver is not None:
        found.append(check_folder("log of the archiver", archiver.directory))
        found += await asyncio.to_thread(lambda: list(check_databases(archiver.servers)))
    found.sort(key=lambda one: -one.result)
    return Report(name, "; ".join(dict.fromkeys(sources)), begun, found)


async def _part(client: Client, site: Site, wait: float) -> tuple[str, list[Finding]]:
    """Test what one IOC serves; returns also how the values were got."""
    records = expand(site).records
    own = f"{site.prefix}:{site.ioc}"
    first = await from_server(client, [name for name in records if name.startswith(f"{own}:")], wait)
    if not first[f"{own}:HEARTBEAT"].trouble:
        await asyncio.sleep(_BEATS)
        seen = await from_server(client, [name for name, one in records.items() if one.rtyp != "waveform"], wait)
        found = list(checks.check_server(site, first, seen, time.time()))
        source = "read over Channel Access"
    elif _runs(site):
        text = f"it runs on this computer, but no search at {', '.join(client.places) or 'any place'} finds it"
        return "not read", [Finding(Result.FAILED, "server", own, text)]
    else:
        seen = await from_devices(site, _ALONE_SECONDS)
        text = f"no answer at {', '.join(client.places) or 'any place'}: the devices were read without it"
        found = [Finding(Result.WARNING, "server", own, text)]
        source = "read from the devices, without a server"
    now = time.time()
    for settings in site.devices:
        mine = _of(f"{site.prefix}:{settings.name}:", records)
        found += checks.check_device(site, settings, mine, seen, now)
    found += checks.check_alarms(records, {name: one for name, one in seen.items() if name in records})
    found += checks.check_wires(site)
    return source, found


def _of(base: str, records: Mapping[str, RecordDef]) -> dict[str, RecordDef]:
    mine = {name.removeprefix(base): one for name, one in records.items() if name.startswith(base)}
    return {suffix: one for suffix, one in mine.items() if one.rtyp != "waveform"}


def _runs(site: Site) -> bool:
    """Whether a server of the site answers at its page on this computer: then its devices are left alone."""
    try:
        fetch(address_file(site, state_folder(site)), "/status", site.ioc)
    except NotRunning:
        return False
    return True


async def _archiver(client: Client, config: ArchiverConfig, wait: float) -> Finding:
    """Judge the bridge by its PVs."""
    names = [f"{config.prefix}:ARCH:STATE", f"{config.prefix}:ARCH:MSG"]
    state, message = (await from_server(client, names, wait)).values()
    name = names[0]
    if state.trouble:
        return Finding(Result.WARNING, "archiver", name, f"{state.trouble}: the archiver does not run")
    if state.severity:
        return Finding(Result.FAILED, "archiver", name, f"{state.text}: {message.text}")
    return Finding(Result.OK, "archiver", name, state.text)
