"""``labioc journal SITE``: list the puts that clients have made, from the journal that the servers of a site keep."""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from fnmatch import fnmatchcase
from pathlib import Path

from ioc.clock import local_time
from ioc.commands.arguments import add_shares, add_span, shares_of, span_of
from ioc.logs import printable
from ioc.services.journal import APPLIED, REFUSED, Entry, Follower, journal_files, stored
from ioc.services.state import state_folder
from ioc.site.config import load_site

_LOOK = 0.5
"""Seconds between two looks at the files for ``--follow``."""


def journal_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``journal``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    add_span(parser, "1d")
    parser.add_argument("--pv", default="*", metavar="PV", help="a PV, with its field if any, or a wildcard")
    parser.add_argument("--user", default="*", metavar="USER", help="a user, as user or user@host, or a wildcard")
    parser.add_argument("--refused", action="store_true", help="only puts that were not done as they were asked for")
    parser.add_argument("--json", action="store_true", help="the lines as they stand in the journal")
    parser.add_argument("--follow", action="store_true", help="go on with those that come, until Ctrl-C")
    add_shares(parser)


def journal(args: argparse.Namespace) -> int:
    """Print the list; raises ArgumentsError, SiteError, and OSError for a file that can't be read."""
    site = load_site(args.site)
    folder = state_folder(site)
    paths = [path for part in shares_of(args, site) for path in journal_files(part, folder)]
    begin, end = span_of(args, "journal")
    with ExitStack() as stack:
        followers = [stack.enter_context(closing(Follower(path))) for path in paths if args.follow]
        found = merged(paths)
        shown = _print(
            (entry for entry in found if begin <= entry.time and (entry.time <= end or not args.until)), args
        )
        if not shown and not args.follow:
            print(f"no such put in {folder} since {local_time(begin)}", file=sys.stderr)
        while args.follow:
            sys.stdout.flush()
            time.sleep(_LOOK)
            new = [entry for follower in followers for entry in follower.new()]
            _print(sorted(new, key=lambda entry: entry.time), args)
    return 0


def merged(paths: Iterable[Path]) -> Iterator[Entry]:
    """Yield the entries of several files by the time at which the puts came, as far as each file is in order."""
    return heapq.merge(*map(stored, paths), key=lambda entry: entry.time)


def _print(entries: Iterable[Entry], args: argparse.Namespace) -> int:
    """Print those that were asked for, and return how many."""
    count = 0
    for entry in entries:
        if _wanted(entry, args):
            print(entry.line() if args.json else _as_text(entry), end="" if args.json else "\n")
            count += 1
    return count


def _wanted(entry: Entry, args: argparse.Namespace) -> bool:
    users = entry.user, f"{entry.user}@{entry.host}"
    return (
        fnmatchcase(entry.pv, args.pv)
        and any(fnmatchcase(user, args.user) for user in users)
        and (not args.refused or entry.outcome != APPLIED)
    )


def _as_text(entry: Entry) -> str:
    """Return an entry as one line; values that are the same are written once."""
    change = f"{entry.old} -> {entry.new}" if entry.old else entry.new
    if entry.outcome != REFUSED and entry.read_back not in ("", entry.new):
        change += f", reads back {entry.read_back}"
    outcome = entry.outcome if not entry.reason else f"{entry.outcome}: {entry.reason}"
    return printable(f"{local_time(entry.time)}  {entry.pv}  {change}  {entry.who}  {outcome}  {entry.seconds:.3f} s")
