"""What several commands have in their arguments: ports, devices, times, and the shares of a site that IOCs serve."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ioc.errors import MistakesError
from ioc.logs import JSON, TEXT, set_up_logging
from ioc.site.config import Site, only, shares


class ArgumentsError(MistakesError):
    """Arguments that do not go together, or with which nothing can be done."""

    subject = "the arguments"


def add_shares(parser: argparse.ArgumentParser) -> None:
    """Add ``--only`` for a site that several IOCs serve, each a share of its devices; it may be given several times."""
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


def part_of(args: argparse.Namespace, site: Site) -> Site:
    """Return what one IOC serves: the whole site, unless ``--only`` names devices. Raises SiteError."""
    return only(site, args.only) if args.only else site


def add_span(parser: argparse.ArgumentParser, since: str) -> None:
    """Add ``--since``, with this default, and ``--until``."""
    about = f"90s, 1h, 7d ... ago, or 2026-01-31T12:00 ({since})"
    parser.add_argument("--since", default=since, metavar="WHEN", help=about)
    parser.add_argument("--until", default="", metavar="WHEN", help="the same; now when left out")


def span_of(args: argparse.Namespace, command: str) -> tuple[float, float]:
    """Return begin and end of ``add_span`` as Unix time. Raises ArgumentsError."""
    from archiver.history.moments import moments  # noqa: PLC0415  with the history of the archiver, for few commands

    try:
        begin, end = moments(args.since, args.until, time.time_ns())
    except ValueError as error:
        raise ArgumentsError([f"{command}: {error}"]) from error
    return begin / 1e9, end / 1e9


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Add in which form and where the command logs."""
    parser.add_argument(
        "--log",
        choices=[TEXT, JSON],
        default=TEXT,
        help="one line, or one JSON object, for each event (default: text)",
    )
    parser.add_argument(
        "--log-file",
        type=Path,
        metavar="FILE",
        help="log to a file, opened anew when it has been put aside (default: standard error)",
    )


def begin_logging(args: argparse.Namespace) -> None:
    """Log as the arguments say. Raises OSError when the file cannot be opened."""
    set_up_logging(args.log, args.log_file)


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
