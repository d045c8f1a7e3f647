"""``labioc check SITE``: report every mistake in a site file without starting anything."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from ioc.access.acf import AcfError, load_acf
from ioc.access.policy import Access, is_own_address
from ioc.commands.arguments import add_shares, shares_of
from ioc.records import RecordSet
from ioc.site.config import SiteError, load_site
from ioc.site.expansion import expand_all
from ioc.site.report import BUSY, wire_loads


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON; the exit status is the same")
    add_shares(parser)


def run(args: argparse.Namespace) -> int:
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
