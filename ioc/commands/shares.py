"""The option ``--only`` of commands that read a site which several IOCs serve, each a share of its devices."""

from __future__ import annotations

import argparse

from ioc.commands.run import device_names
from ioc.site.config import Site, shares


def add_shares(parser: argparse.ArgumentParser) -> None:
    """Add the option; it may be given several times."""
    parser.add_argument(
        "--only",
        type=device_names,
        action="append",
        default=[],
        metavar="DEV,...",
        help="as served by an IOC that runs with the same --only; once for each IOC of the site",
    )


def shares_of(args: argparse.Namespace, site: Site) -> list[Site]:
    """Return what each IOC serves: the whole site, unless shares are named. Raises SiteError."""
    return shares(site, args.only)
