"""``labioc archive`` and ``history``: forward every event of a site to InfluxDB, and show what PVs did."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from archiver import cli
from archiver.config import ArchiverConfig, ConfigError, PvSpec, default_directory, read_config, select, shard
from archiver.points.catalogue import catalogue
from archiver.points.series import conflicts
from ioc.archiver_status import ArchiverPvs
from ioc.commands.arguments import ArgumentsError, add_logging, add_shares, add_span, begin_logging, shares_of
from ioc.server.network import ANY, LOOPBACK, interface_address
from ioc.site.archiver_pvs import archiver_pvs, bridge_prefix, measurements
from ioc.site.config import Site, SiteError, load_site
from ioc.site.expansion import expand_all
from labioc_ca.environment import SERVER_PORT


def archive_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``archive``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "action",
        nargs="?",
        choices=["status", "verify", "backfill"],
        help="status: how a running bridge is, and each PV; verify: compare the log with each database;"
        " backfill: compute the downsampled windows again",
    )
    parser.add_argument(
        "--since",
        "--from",
        default="1h",
        metavar="WHEN",
        help="for verify and backfill: 1h, 7d ... ago, or a date (1h)",
    )
    parser.add_argument("--until", "--to", default="", metavar="WHEN", help="the same; now when left out")
    parser.add_argument(
        "--setup", action="store_true", help="create database, retention and downsampling where missing, and end"
    )
    parser.add_argument(
        "--shard",
        type=shard_number,
        default=(1, 1),
        metavar="K/N",
        help="be bridge K of N, each with its part of the PVs and a log of its own",
    )
    add_shares(parser)
    add_logging(parser)


def archive(args: argparse.Namespace) -> int:
    """Run the bridge, or do what is asked instead; raises SiteError, DatabaseError or OSError."""
    site = load_site(args.site)
    config = archiver_config(site, Path(args.site).parent, *args.shard)
    if args.action == "status":
        return cli.show_status(config.directory)
    if args.action == "verify":
        return cli.verify_servers(config.directory, config.servers, args.since, args.until)
    if args.action == "backfill":
        return cli.backfill_servers(config.servers, args.since, args.until)
    if args.setup:
        return cli.set_up_servers(config.servers)
    pvs = shard(archived(site, config, shares_of(args, site)), *args.shard)
    begin_logging(args)
    config = replace(config, addresses=(*config.addresses, *ioc_addresses(site, os.environ)))
    return cli.run_bridge(config, pvs, ArchiverPvs(config.prefix, config.port, config.local_only, site.server))


def ioc_addresses(site: Site, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return where to search for the IOC of a site on this computer, when a search by the environment misses it.

    What a search by broadcast finds anyhow is left out: it would be found twice. Raises NetworkError for an interface
    that cannot be.
    """
    port = site.server.port or SERVER_PORT
    interfaces = [interface_address("server.interfaces", name) for name in site.server.interfaces]
    alone = bool(interfaces) and all(address.startswith("127.") for address in interfaces)
    if not alone and str(port) == (env.get("EPICS_CA_SERVER_PORT", "").strip() or str(SERVER_PORT)):
        return ()
    return tuple(f"{LOOPBACK if address == ANY else address}:{port}" for address in interfaces or (ANY,))


def archiver_config(site: Site, base: Path, number: int = 1, of: int = 1) -> ArchiverConfig:
    """Return the settings of one bridge of a site; several on one computer keep apart. Raises SiteError."""
    try:
        config = read_config(site.archiver, site.prefix, base, measurements())
    except ConfigError as error:
        raise SiteError(error.errors) from error
    if of == 1:
        return config
    prefix = bridge_prefix(config.prefix, number, of)
    return replace(config, directory=config.directory / f"shard-{number}-of-{of}", prefix=prefix)


def archived(site: Site, config: ArchiverConfig, parts: Sequence[Site] = ()) -> list[PvSpec]:
    """Return the PVs of a site, and others, that are to be archived; ``parts`` is how several IOCs share it out.

    Raises SiteError or DatabaseError.
    """
    try:
        pvs = select(archiver_pvs(site, expand_all(parts or [site])), config.entries)
    except ConfigError as error:
        raise SiteError(error.errors) from error
    errors = conflicts(pvs, config.schema)
    if errors:
        raise SiteError(errors)
    return pvs


def shard_number(text: str) -> tuple[int, int]:
    """Read ``K/N`` of the command line, 1/1 to N/N. Raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
    if match and 1 <= int(match[1]) <= int(match[2]):
        return int(match[1]), int(match[2])
    raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K from 1 to N")


def history_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``history``."""
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


def history(args: argparse.Namespace) -> int:
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
