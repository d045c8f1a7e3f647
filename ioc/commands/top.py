"""``labioc top SITE``: the state of a site in a terminal, live."""

from __future__ import annotations

import argparse
import sys

from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.demo_site import site_at
from ioc.commands.output import complain
from ioc.commands.pv_arguments import environment
from ioc.export.plant import Plant
from ioc.top.rows import tables


def top_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``top``."""
    parser.add_argument("site", metavar="SITE", help="the site file, or demo")
    add_shares(parser)


def top(args: argparse.Namespace) -> int:
    """Show it until q; raises SiteError and DatabaseError, and SettingsError for a wrong EPICS_CA_* variable."""
    site = site_at(args.site)
    plant = Plant.build(shares_of(args, site))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        complain("top needs a terminal; labioc get and monitor write to files and pipes")
        return 1
    try:
        from ioc.top.screen import Top  # noqa: PLC0415  of an extra that may be missing
    except ImportError:
        complain("top needs textual: pip install 'labioc[terminal]'")
        return 1
    Top(site.prefix, tables(plant), environment(site)).run()
    return 0
