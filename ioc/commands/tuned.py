"""``labioc tuned SITE``: list what clients have tuned at run time, beside what the site file says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.pvs import in_columns
from ioc.records import RecordSet
from ioc.services.state import Finding, sections, state_folder, state_path, weigh
from ioc.site.config import load_site
from ioc.site.expansion import expand_all

_HEADINGS = ("PV", "tuned", "site file", "on", "by", "")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    add_shares(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the list; raises SiteError or DatabaseError, and OSError for a file that can't be read."""
    site = load_site(args.site)
    parts, path = shares_of(args, site), state_path(site, state_folder(site))
    records = RecordSet.build(expand_all(parts).records.values())
    own = {section for part in parts for section in sections(part).values()}
    found = [
        finding
        for section, entries in _sections(path).items()
        for finding in weigh(records if section in own else {}, entries)
    ]
    if args.json:
        print(json.dumps([dict(zip(("pv", "tuned", "site", "on", "by", "note"), _row(one), strict=True))
                          for one in found], indent=2))  # fmt: skip
    else:
        print(in_columns([_HEADINGS, *map(_row, found)]) if found else f"nothing is tuned, says {path}")
    return 0


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
