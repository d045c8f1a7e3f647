"""``labioc pvs SITE``: list the PVs of a site."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence

from ioc.commands.arguments import add_shares, shares_of
from ioc.database.dbfile import RecordDef
from ioc.site.config import load_site
from ioc.site.expansion import expand_all

_HEADINGS = ("name", "type", "unit", "scan", "access", "description")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="as JSON, with aliases and all info tags")
    add_shares(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list; raises SiteError or DatabaseError."""
    records = expand_all(shares_of(args, load_site(args.site))).served.values()
    print(_as_json(records) if args.json else _as_table(records))
    return 0


def _row(record: RecordDef) -> tuple[str, ...]:
    fields = record.fields
    unit, scan = fields.get("EGU", ""), fields.get("SCAN", "Passive")
    return record.name, record.rtyp, unit, scan, record.info.get("access", ""), fields.get("DESC", "")


def _as_table(records: Iterable[RecordDef]) -> str:
    return in_columns([_HEADINGS, *map(_row, records)])


_WIDEST = 60
"""Characters of a cell that the others are aligned with; a name has no more."""


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table; a very long text moves what stands behind it, and not the columns of all rows."""
    widths = [max(len(cell) for cell in (*column, "") if len(cell) <= _WIDEST) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _as_json(records: Iterable[RecordDef]) -> str:
    entries = [
        {**dict(zip(_HEADINGS, _row(record), strict=True)), "aliases": record.aliases, "info": record.info}
        for record in records
    ]
    return json.dumps(entries, indent=2)
