"""``labioc tuned SITE``: list what clients have tuned at run time, beside what the site file says, or reset it."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from devices.rules.state_file import SharedStateFile
from ioc.client import Client, PutError
from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.output import complain, in_columns
from ioc.commands.put import words_of
from ioc.commands.pv_arguments import environment
from ioc.records import RecordSet
from ioc.services.state import IN_FORCE, Finding, sections, state_folder, state_path, weigh
from ioc.site.config import Site, load_site
from ioc.site.expansion import expand_all

_HEADINGS = ("PV", "tuned", "site file", "on", "by", "")
_KEYS = ("pv", "tuned", "site", "on", "by", "note")

_WAIT: Final = 3.0
"""Seconds for a PV to connect, and for a put."""


def tuned_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``tuned``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "--reset",
        action="append",
        default=[],
        metavar="PATTERN",
        help="put what matches back to what the site file says, LAB:HV1:*.HIHI for example; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    add_shares(parser)


def tuned(args: argparse.Namespace) -> int:
    """Print the list, or reset; raises SiteError or DatabaseError, and OSError for a file that can't be read."""
    site = load_site(args.site)
    parts, path = shares_of(args, site), state_path(site, state_folder(site))
    records = RecordSet.build(expand_all(parts).records.values())
    own = {section for part in parts for section in sections(part).values()}
    found = [
        (section, finding)
        for section, entries in _sections(path).items()
        for finding in weigh(records if section in own else {}, entries)
    ]
    if args.reset:
        chosen = [(section, one) for section, one in found if _matches(one.key, args.reset, site.prefix)]
        return _reset(site, path, chosen)
    rows = [_row(finding) for _, finding in found]
    if args.json:
        print(json.dumps([dict(zip(_KEYS, row, strict=True)) for row in rows], indent=2))
    else:
        print(in_columns([_HEADINGS, *rows]) if rows else f"nothing is tuned, says {path}")
    return 0


def _matches(key: str, patterns: Sequence[str], prefix: str) -> bool:
    return any(fnmatchcase(key, form) for pattern in patterns for form in (pattern, f"{prefix}:{pattern}"))


def _reset(site: Site, path: Path, chosen: Sequence[tuple[str, Finding]]) -> int:
    """Take entries out of the file, or have the running server do it by a put; returns 1 when one stays."""
    if not chosen:
        complain("nothing that is tuned matches")
        return 1
    file = SharedStateFile(path)
    with file.unused() as unused:
        if unused:
            left = {section: dict(entries) for section, entries in _sections(path).items()}
            for section, finding in chosen:
                del left[section][finding.key]
                print(f"{finding.key}: reset")
            return int(not file.store_now(left))
    return asyncio.run(_put_back(site, [finding for _, finding in chosen]))


async def _put_back(site: Site, findings: Sequence[Finding]) -> int:
    good = [finding for finding in findings if finding.reason == IN_FORCE]
    for finding in findings:
        if finding.reason != IN_FORCE:
            complain(f"{finding.key}: {finding.reason}; stop the IOC to take it out")
    failures = len(findings) - len(good)
    async with Client(environment(site)) as client:
        for channel, finding in zip(await client.connect([one.key for one in good], _WAIT), good, strict=True):
            asked = time.time()
            try:
                await channel.put(finding.site, _WAIT)
            except PutError as error:
                complain(f"{finding.key}: {await words_of(client, site, channel, error, asked)}")
                failures += 1
            else:
                print(f"{finding.key}: reset to {finding.site}")
    return int(failures > 0)


def _sections(path: Path) -> dict[str, Any]:
    """Read the file without touching it; a server may be using it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(entries, dict) for entries in found.values()):
        raise OSError(f"{path} cannot be read: it holds no JSON object of sections")
    return found


def _row(finding: Finding) -> tuple[str, ...]:
    tuned = finding.tuned
    if tuned is None:
        return finding.key, "", finding.site, "", "", finding.reason
    return finding.key, tuned.value, finding.site, tuned.when, tuned.by, finding.reason
