"""``labioc export FORMAT SITE``: write files for other programs from the expanded database."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ioc.commands.arguments import add_shares, device_names, part_of, shares_of
from ioc.export.db import write_db
from ioc.export.epics_containers import write_values
from ioc.export.formats import FORMATS, everything, files_of
from ioc.export.plant import Plant
from ioc.site.config import load_site
from ioc.site.expansion import expand, expand_all
from ioc.version import release


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the formats."""
    formats = parser.add_subparsers(metavar="FORMAT", required=True)
    db = formats.add_parser("db", help="the expanded database as one EPICS .db file")
    db.add_argument("site", metavar="SITE", help="the site file")
    db.add_argument("--soft", action="store_true", help="soft channels in place of devices, for a C softIoc")
    add_shares(db)
    db.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there, not to standard output")
    db.set_defaults(func=export_db)
    helm = formats.add_parser("epics-containers", help="the values of a Helm chart of epics-containers for one IOC")
    helm.add_argument("site", metavar="SITE", help="the site file; it belongs into the service's folder config")
    helm.add_argument("--image", metavar="IMAGE", default=f"labioc:{release()}", help="container image with labioc")
    helm.add_argument("--only", type=device_names, metavar="DEV,...", help="for an IOC that serves only these devices")
    helm.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there, not to standard output")
    helm.set_defaults(func=export_epics_containers)
    for name, about in {**FORMATS, "all": "all of these, each in a folder of its own, with an index page"}.items():
        _add_folder_format(formats, name, about)


def _add_folder_format(formats: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str) -> None:
    parser = formats.add_parser(name, help=about)
    parser.add_argument("site", metavar="SITE", help="the site file")
    add_shares(parser)
    parser.add_argument(
        "--shards",
        type=_count,
        default=1,
        metavar="N",
        help="the archiver runs as N bridges, labioc archive --shard K/N",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, default=Path(), help="folder to write into, made if missing"
    )
    parser.set_defaults(format=name)


def export_db(args: argparse.Namespace) -> int:
    """Write the database; raises SiteError, DatabaseError or OSError."""
    records = expand_all(shares_of(args, load_site(args.site))).records
    return _write(write_db(records.values(), soft=args.soft), args.output)


def export_epics_containers(args: argparse.Namespace) -> int:
    """Write the values file; raises SiteError, DatabaseError or OSError."""
    site = part_of(args, load_site(args.site))
    records = len(expand(site).records)
    return _write(write_values(site, Path(args.site).name, records, args.image, args.only or ()), args.output)


def export(args: argparse.Namespace) -> int:
    """Write the files of a format, or of all; raises SiteError, DatabaseError or OSError."""
    plant = Plant.build(shares_of(args, load_site(args.site)), args.shards)
    files = everything(plant) if args.format == "all" else files_of(args.format, plant)
    for name, text in files.items():
        path = args.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {args.output}")
    return 0


def _count(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 9999:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 9999")


def _write(text: str, output: Path | None) -> int:
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
    return 0
