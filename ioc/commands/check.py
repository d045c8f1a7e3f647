"""``labioc check SITE``: tell every mistake in a site file without starting anything."""

from __future__ import annotations

import argparse

from ioc.commands.shares import add_shares, shares_of
from ioc.records import RecordSet
from ioc.site.config import load_site
from ioc.site.expansion import expand_all


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("check", help="check a site file and tell every mistake")
    parser.add_argument("site", metavar="SITE", help="the site file")
    add_shares(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Check the file, and that its records can be made; raises SiteError or DatabaseError."""
    parts = shares_of(args, load_site(args.site))
    database = expand_all(parts)
    RecordSet.build(database.records.values())
    count = sum(len(part.devices) for part in parts)
    devices = f"{count} device{'' if count == 1 else 's'}"
    print(f"{args.site}: good, {devices}, {len(database.records)} PVs, {len(database.aliases)} aliases")
    return 0
