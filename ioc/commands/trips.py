"""``labioc trips SITE``: list the trips that the servers of a site remember, or draw what happened around one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

from archiver.cli import TERMINAL
from archiver.config import PvSpec
from archiver.history import plot
from archiver.history.samples import Sample
from ioc.automation.trip_files import Trip, folder_of, load, stem, stored
from ioc.clock import local_time
from ioc.commands.arguments import add_span, span_of
from ioc.services.state import state_folder
from ioc.site.config import Site, load_site

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
    folder = folder_of(state_folder(site))
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
            for path in stored(folder, stem(site, device, f"CH{number:02d}")):
                if (trip := load(path)) is not None:
                    yield alias, trip


def _table(found: Sequence[tuple[str, Trip]]) -> Iterator[str]:
    """Yield a line for each trip: when, which channel, what was there before, what was seen."""
    width = max(len(trip.pv) for _, trip in found)
    aliases = max(len(alias) for alias, _ in found)
    for alias, trip in found:
        name = f"{trip.pv:{width}}  {alias:{aliases}}" if aliases else f"{trip.pv:{width}}"
        before = f"{_text(trip.volts, 1):>8} V  {_text(trip.current, 3):>10} uA"
        seen = ", ".join((trip.state, *trip.bits))
        yield f"{local_time(trip.time)}  {name}  {before}  {len(trip.samples['T']):4} samples  {seen}"


def _text(value: float | None, digits: int) -> str:
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
        print(f"labioc: {error}", file=sys.stderr)
        return 1
    print(f"plot of the trip of {trip.pv} at {local_time(trip.time)} in {path}", file=sys.stderr)
    return 0
