"""``labioc run SITE``: serve a site until told to stop."""

from __future__ import annotations

import argparse
import asyncio

from ioc.app import run as run_app
from ioc.app import set_up_logging
from ioc.site.config import Site, load_site, only


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("run", help="serve a site until Ctrl-C or SIGTERM")
    add_arguments(parser)
    parser.set_defaults(func=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which site to serve, and where."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help="Channel Access port, 0 for any (default: the site file, EPICS_CA_SERVER_PORT, or 5064)",
    )
    parser.add_argument(
        "--only",
        type=device_names,
        metavar="DEV,...",
        help="serve only these devices of the site; other processes serve the others",
    )


def run(args: argparse.Namespace) -> int:
    """Serve; raises SiteError, DatabaseError or OSError when it can't be started."""
    site = site_of(args)
    set_up_logging()
    asyncio.run(run_app(site, args.port))
    return 0


def site_of(args: argparse.Namespace) -> Site:
    """Load the site, or the part of it that is to be served. Raises SiteError."""
    site = load_site(args.site)
    return only(site, args.only) if args.only else site


def port_number(text: str) -> int:
    """Read a port number of the command line, 0 to 65535. Raises ArgumentTypeError."""
    if text.isascii() and text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number, 0 to 65535")


def device_names(text: str) -> list[str]:
    """Split the names of ``--only``. Raises ArgumentTypeError when there is an empty one."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of devices, HV1,HV2 for example")
    return names
