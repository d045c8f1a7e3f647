"""``labioc history PV ...``: what PVs did, from the log of the bridge or from an InfluxDB."""

from __future__ import annotations

import argparse
from pathlib import Path

from archiver import cli
from archiver.config import default_directory
from archiver.points.catalogue import catalogue
from ioc.commands.archive import archived, archiver_config
from ioc.commands.arguments import ArgumentsError, add_span
from ioc.site.config import SiteError, load_site


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pvs", nargs="*", metavar="PV", help="a PV, or a wildcard like 'LAB:HV1:CH0?:VMON'")
    parser.add_argument(
        "--events", action="store_true", help="the events of the site instead: trips, puts, links, power interruptions"
    )
    add_span(parser, "1h")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a table, as the Data Browser of Phoebus imports it"
    )
    parser.add_argument(
        "--plot", default="", metavar="FILE|terminal", help="draw FILE.png, .svg or .pdf; or in the terminal"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--site", metavar="SITE", help="a site file, when the log is not in its usual place")
    where.add_argument("--directory", type=Path, metavar="DIR", help="the folder of the log")
    parser.add_argument(
        "--influxdb", action="store_true", help="read the first InfluxDB of the site file instead of the log"
    )


def run(args: argparse.Namespace) -> int:
    """Show the history; raises ArgumentsError, SiteError, DatabaseError or OSError."""
    files = [name for name in args.pvs if name.endswith(".toml")]
    if files:
        raise ArgumentsError([f"history: {name} is no PV; a site file is named with --site {name}" for name in files])
    if not args.pvs and not args.events:
        raise ArgumentsError(["history: name a PV, or --events"])
    server, known = None, None
    if args.site is None:
        if args.influxdb:
            raise ArgumentsError(["history: --influxdb needs --site, which names the server"])
        if not args.pvs and args.directory is None:
            raise ArgumentsError(["history: --events needs --site or --directory, which say whose events"])
        directory = args.directory or _usual_directory(args.pvs[0])
    else:
        site = load_site(args.site)
        config = archiver_config(site, Path(args.site).parent)
        directory = config.directory
        if args.influxdb:
            if not config.servers:
                raise SiteError(["archiver.influxdb: there is no server to read from"])
            server = config.servers[0]
            known = catalogue(archived(site, config), config.schema)
    if args.events:
        return cli.show_events(directory, server, args.since, args.until)
    request = cli.HistoryRequest(tuple(args.pvs), args.since, args.until, args.csv, args.plot)
    return cli.show_history(request, directory, server, known)


def _usual_directory(pv: str) -> Path:
    """Return where the log of a PV lies by default: in the folder of the longest prefix that fits."""
    parts = pv.split(":")
    places = [default_directory(":".join(parts[:count])) for count in range(len(parts), 0, -1)]
    return next((place for place in places if place.is_dir()), places[-1])
