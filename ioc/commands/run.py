"""``labioc run SITE``: serve a site until it is stopped."""

from __future__ import annotations

import argparse
import asyncio
import socket
from functools import partial

from ioc.app import run as run_app
from ioc.commands.arguments import add_logging, begin_logging, device_names, part_of, port_number
from ioc.console.server import consoles
from ioc.site.config import load_site


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)
    parser.add_argument("--console-fd", type=int, help=argparse.SUPPRESS)  # the connection of labioc console --serve


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
    parser.add_argument(
        "--force",
        action="store_true",
        help="start although another server has these PVs or devices",
    )
    add_logging(parser)


def run(args: argparse.Namespace) -> int:
    """Serve; raises SiteError, DatabaseError or OSError when it can't be started."""
    site = part_of(args, load_site(args.site))
    begin_logging(args)
    sock = None if args.console_fd is None else socket.socket(fileno=args.console_fd)
    asyncio.run(run_app(site, args.port, partial(consoles, sock=sock), args.force))
    return 0
