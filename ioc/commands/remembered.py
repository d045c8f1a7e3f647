"""``labioc journal`` and ``trips``: the puts and the trips that the servers of a site remember."""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from archiver.cli import TERMINAL
from archiver.config import PvSpec
from archiver.history import plot
from archiver.history.samples import Sample
from ioc.automation import trip_files
from ioc.automation.trip_files import Trip
from ioc.clock import local_time
from ioc.commands.arguments import add_shares, add_span, shares_of, span_of
from ioc.commands.output import complain
from ioc.logs import printable
from ioc.services.journal import APPLIED, REFUSED, Entry, Follower, journal_files, stored
from ioc.services.state import state_folder
from ioc.site.config import Site, load_site

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
        shown = _print_puts(
            (entry for entry in found if begin <= entry.time and (entry.time <= end or not args.until)), args
        )
        if not shown and not args.follow:
            print(f"no such put in {folder} since {local_time(begin)}", file=sys.stderr)
        while args.follow:
            sys.stdout.flush()
            time.sleep(_LOOK)
            new = [entry for follower in followers for entry in follower.new()]
            _print_puts(sorted(new, key=lambda entry: entry.time), args)
    return 0


def merged(paths: Iterable[Path]) -> Iterator[Entry]:
    """Yield the entries of several files by the time at which the puts came, as far as each file is in order."""
    return heapq.merge(*map(stored, paths), key=lambda entry: entry.time)


def _print_puts(entries: Iterable[Entry], args: argparse.Namespace) -> int:
    """Print those that were asked for, and return how many."""
    count = 0
    for entry in entries:
        if _is_wanted(entry, args):
            print(entry.line() if args.json else _as_text(entry), end="" if args.json else "\n")
            count += 1
    return count


def _is_wanted(entry: Entry, args: argparse.Namespace) -> bool:
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


_NS = 1_000_000_000
_DRAWN = {"VMON": "V", "IMON": "uA", "VSET:RBV": "V"}
"""What is drawn of a trip, with its unit."""


def trips_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trips``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    add_span(parser, "30d")
    parser.add_argument(
        "--channel", default="*", metavar="CHANNEL", help="a channel, LAB:HV1:CH00 or its alias, or a wildcard"
    )
    parser.add_argument("--json", action="store_true", help="with every sample, as JSON")
    parser.add_argument(
        "--plot",
        nargs="?",
        const=TERMINAL,
        default="",
        metavar="FILE",
        help="draw the last one: in the terminal, or FILE.png, .svg or .pdf",
    )


def trips(args: argparse.Namespace) -> int:
    """Print the list; raises ArgumentsError, SiteError, and OSError for a file that can't be read."""
    site = load_site(args.site)
    begin, end = span_of(args, "trips")
    folder = trip_files.folder_of(state_folder(site))
    found = sorted(_trips(site, folder, args.channel), key=lambda pair: pair[1].time)
    found = [pair for pair in found if begin <= pair[1].time <= end]
    if args.json:
        print(json.dumps([asdict(trip) | {"alias": alias} for alias, trip in found], indent=2))
    elif not found:
        print(f"no such trip in {folder} since {local_time(begin)}", file=sys.stderr)
    elif not args.plot:
        for line in _table(found):
            print(line)
    if found and args.plot:
        return _draw(args.plot, found[-1][1])
    return 0


def _trips(site: Site, folder: Path, pattern: str) -> Iterator[tuple[str, Trip]]:
    """Yield the trips of the channels that a pattern means, each with the alias of its channel."""
    for device in site.devices:
        for number in range(device.channels):
            name, alias = (
                f"{site.prefix}:{device.name}:CH{number:02d}",
                site.tuning[device.name].aliases.get(number, ""),
            )
            if not any(fnmatchcase(one, pattern) for one in (name, alias)):
                continue
            for path in trip_files.stored(folder, trip_files.stem(site, device, f"CH{number:02d}")):
                if (trip := trip_files.load(path)) is not None:
                    yield alias, trip


def _table(found: Sequence[tuple[str, Trip]]) -> Iterator[str]:
    """Yield a line for each trip: when, which channel, what was there before, what was seen."""
    width = max(len(trip.pv) for _, trip in found)
    aliases = max(len(alias) for alias, _ in found)
    for alias, trip in found:
        name = f"{trip.pv:{width}}  {alias:{aliases}}" if aliases else f"{trip.pv:{width}}"
        before = f"{_number(trip.volts, 1):>8} V  {_number(trip.current, 3):>10} uA"
        seen = ", ".join((trip.state, *trip.bits))
        yield f"{local_time(trip.time)}  {name}  {before}  {len(trip.samples['T']):4} samples  {seen}"


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _draw(path: str, trip: Trip) -> int:
    """Draw voltage, current and voltage setting around a trip."""
    times = [round((trip.time + (moment or 0.0)) * _NS) for moment in trip.samples["T"]]
    since, until = times[0], times[-1]
    histories, pvs = {}, {}
    for column, unit in _DRAWN.items():
        name, values = f"{trip.pv}:{column}", trip.samples[column]
        pvs[name] = PvSpec(name, unit=unit)
        histories[name] = [
            Sample(moment, value, plot.INVALID if value is None else None)
            for moment, value in zip(times, values, strict=True)
        ]
    if path == TERMINAL:
        for name, samples in histories.items():
            title = f"{name} [{pvs[name].unit}]   trip at {local_time(trip.time)}"
            print(plot.terminal(title, plot.segments(samples, since, until)))
        return 0
    try:
        plot.figure(Path(path), histories, pvs, since, until)
    except plot.PlotError as error:
        complain(str(error))
        return 1
    print(f"plot of the trip of {trip.pv} at {local_time(trip.time)} in {path}", file=sys.stderr)
    return 0
