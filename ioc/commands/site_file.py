"""``labioc check``, ``pvs`` and ``schema``: what a site file says, without a server and without a device."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ioc.access.policy import Access, is_own_address
from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.output import in_columns
from ioc.database.dbfile import RecordDef
from ioc.records import RecordSet
from ioc.site.config import SiteError, load_site
from ioc.site.expansion import expand_all
from ioc.site.report import BUSY, wire_loads
from ioc.site.schema import site_schema


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON; the exit status is the same")
    add_shares(parser)


def check(args: argparse.Namespace) -> int:
    """Check the file, and that its records can be made; raises SiteError or DatabaseError."""
    try:
        found = _checked(args)
    except SiteError as error:
        if not args.json:
            raise
        print(json.dumps({"file": args.site, "good": False, "mistakes": error.details}, indent=2))
        return 2
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    count = found["devices"]
    devices = f"{count} device{'' if count == 1 else 's'}"
    print(f"{args.site}: good, {devices}, {found['pvs']} PVs, {found['aliases']} aliases")
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    for wire in found["wires"]:
        busy = "; that is too much, choose a longer period or a faster line" if wire["load"] > BUSY else ""
        print(f"{wire['wire']}: reading {', '.join(wire['devices'])} takes {wire['load']:.0%} of its time{busy}")
    return 0


def _checked(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the site is made of. Raises SiteError or DatabaseError."""
    site = load_site(args.site)
    parts = shares_of(args, site)
    if errors := list(_interface_mistakes(site.server.interfaces)):
        raise SiteError(errors)
    warnings = _access_warnings(site.access)
    database = expand_all(parts)
    RecordSet.build(database.records.values())
    wires = [{"wire": wire, "load": load, "devices": names} for wire, (load, names) in wire_loads(site).items()]
    return {
        "file": args.site,
        "good": True,
        "devices": sum(len(part.devices) + len(part.pvgroups) for part in parts),
        "pvs": len(database.served),
        "aliases": len(database.aliases),
        "wires": wires,
        "warnings": warnings,
    }


def _access_warnings(access: Access) -> list[str]:
    """Return what is strange in the access security file, if there is one. Raises SiteError for a bad one."""
    if access.acf is None:
        return []
    from ioc.access.acf import AcfError, load_acf  # noqa: PLC0415  most sites have no such file

    try:
        return load_acf(access).warnings
    except AcfError as error:
        raise SiteError(error.errors) from error


def _interface_mistakes(interfaces: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each address that the server could not listen at on this computer."""
    if not interfaces:
        return
    from ioc.server.network import ANY, NetworkError, interface_address  # noqa: PLC0415  the server takes long to import

    for number, name in enumerate(interfaces):
        where = f"server.interfaces[{number}]"
        try:
            address = interface_address(where, name)
            if address != ANY and not is_own_address(address):
                yield f"{where}: found {name!r}, allowed: an IPv4 address of this computer"
        except NetworkError as error:
            yield str(error)


_HEADINGS = ("name", "type", "unit", "scan", "access", "description")


def pvs_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``pvs``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="as JSON, with aliases and all info tags")
    add_shares(parser)


def pvs(args: argparse.Namespace) -> int:
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


def _as_json(records: Iterable[RecordDef]) -> str:
    entries = [
        {**dict(zip(_HEADINGS, _row(record), strict=True)), "aliases": record.aliases, "info": record.info}
        for record in records
    ]
    return json.dumps(entries, indent=2)


def schema_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``schema``."""


def schema(_args: argparse.Namespace) -> int:
    """Print the schema that every check uses."""
    print(json.dumps(site_schema(), indent=2))
    return 0
