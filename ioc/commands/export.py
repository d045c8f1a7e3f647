"""``labioc export FORMAT SITE``: write files for other programs from the expanded database."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ioc.config import load_site
from ioc.database import expand
from ioc.export.db import write_db


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command and its formats."""
    parser = subparsers.add_parser("export", help="write files for other programs")
    formats = parser.add_subparsers(metavar="FORMAT", required=True)
    db = formats.add_parser("db", help="the expanded database as one EPICS .db file")
    db.add_argument("site", metavar="SITE", help="the site file")
    db.add_argument("--soft", action="store_true", help="soft channels in place of devices, for a C softIoc")
    db.add_argument("-o", "--output", metavar="FILE", type=Path, help="write there, not to standard output")
    db.set_defaults(func=export_db)


def export_db(args: argparse.Namespace) -> int:
    """Write the database; raises SiteError, DatabaseError or OSError."""
    text = write_db(expand(load_site(args.site)).records.values(), soft=args.soft)
    if args.output is None:
        sys.stdout.write(text)
    else:
        args.output.write_text(text, encoding="utf-8")
    return 0
