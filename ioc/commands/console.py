"""``labioc console SITE``: serve a site with a prompt in the terminal."""

from __future__ import annotations

import argparse
import asyncio

from ioc.commands.arguments import begin_logging
from ioc.commands.run import add_arguments, site_of
from ioc.console.console import run as run_console


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serve; raises SiteError, DatabaseError or OSError when it can't be started."""
    site = site_of(args)
    begin_logging(args)
    return asyncio.run(run_console(site, args.port))
