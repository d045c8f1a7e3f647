"""``labioc history PV ...``: what PVs did, from the log of the bridge or from an InfluxDB."""

from __future__ import annotations

import argparse
from pathlib import Path

from archiver import cli
from archiver.config import default_directory
from archiver.points.catalogue import catalogue
from ioc.commands.archive import archived, archiver_config
from ioc.site.config import SiteError, load_site


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("pvs", nargs="+", metavar="PV", help="a PV, or a wildcard like 'LAB:HV1:CH0?:VMON'")
    parser.add_argument("--since", default="1h", metavar="WHEN", help="90s, 1h, 7d ... ago, or 2026-01-31T12:00 (1h)")
    parser.add_argument("--until", default="", metavar="WHEN", help="the same; now when left out")
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
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Show the history; raises SiteError, DatabaseError or OSError."""
    request = cli.HistoryRequest(tuple(args.pvs), args.since, args.until, args.csv, args.plot)
    if args.site is None:
        if args.influxdb:
            raise SiteError(["--influxdb needs --site, which names the server"])
        return cli.show_history(request, args.directory or _usual_directory(args.pvs[0]), None, None)
    site = load_site(args.site)
    config = archiver_config(site, Path(args.site).parent)
    if not args.influxdb:
        return cli.show_history(request, config.directory, None, None)
    if not config.servers:
        raise SiteError(["archiver.influxdb: there is no server to read from"])
    return cli.show_history(
        request, config.directory, config.servers[0], catalogue(archived(site, config), config.schema)
    )


def _usual_directory(pv: str) -> Path:
    """Return where the log of a PV lies when nobody said otherwise: in the folder of the longest prefix that fits."""
    parts = pv.split(":")
    places = [default_directory(":".join(parts[:count])) for count in range(len(parts), 0, -1)]
    return next((place for place in places if place.is_dir()), places[-1])
