"""``labioc tuned SITE``: list the alarm limits that clients have tuned at run time, beside those of the site file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.pvs import in_columns
from ioc.records import RecordSet
from ioc.services.thresholds import Finding, files, state_folder, weigh
from ioc.site.config import load_site
from ioc.site.expansion import expand_all

_HEADINGS = ("limit", "tuned", "site file", "on", "by", "")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    add_shares(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the list; raises SiteError or DatabaseError, and OSError for a file that can't be read."""
    site = load_site(args.site)
    parts, folder = shares_of(args, site), state_folder(site)
    records = RecordSet.build(expand_all(parts).records.values())
    paths = dict.fromkeys(path for part in parts for path in files(part, folder).values())
    rows = [_row(finding) for path in paths for finding in weigh(records, _entries(path))]
    print(in_columns([_HEADINGS, *rows]) if rows else f"no limit is tuned, says {folder}")
    return 0


def _entries(path: Path) -> dict[str, Any]:
    """Read a file without touching it; a server may be using it."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, dict):
        raise OSError(f"{path} cannot be read: it holds no JSON object")
    return entries


def _row(finding: Finding) -> tuple[str, ...]:
    limit = finding.limit
    if limit is None:
        return finding.key, "", finding.site, "", "", "cannot be used"
    note = ""
    if finding.record is None:
        note = "not served"
    elif not finding.holds:
        note = f"dropped at the next start: the site file had {limit.site} then"
    return finding.key, limit.value, finding.site, limit.when, limit.by, note
