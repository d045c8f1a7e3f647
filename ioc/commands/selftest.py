"""``labioc selftest SITE``: read everything of a site, change nothing, and report what is wrong."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from ioc.commands.archive import archiver_config
from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.pv_arguments import environment, seconds
from ioc.selftest.whole import examine
from ioc.site.config import load_site


def selftest_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``selftest``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--all", action="store_true", help="also list what is in order")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the report as a page")
    parser.add_argument("-w", "--wait", type=seconds, default=5.0, metavar="S", help="wait so long for PVs (5)")
    add_shares(parser)


def selftest(args: argparse.Namespace) -> int:
    """Print the report; returns 1 when a check has failed. Raises SiteError, DatabaseError, or OSError for the page."""
    site = load_site(args.site)
    archiver = archiver_config(site, Path(args.site).parent) if site.archiver else None
    report = asyncio.run(examine(args.site, shares_of(args, site), archiver, environment(site), args.wait))
    if args.html is not None:
        args.html.write_text(report.as_html(), encoding="utf-8")
    if args.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        print("\n".join(report.lines(args.all)))
    return int(report.failed)
