"""``labioc health SITE``: ask the running servers of a site how they are."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ioc.commands.arguments import add_shares, shares_of
from ioc.services.health import NOTE
from ioc.services.state import state_folder
from ioc.services.supervision import address_file
from ioc.site.config import Site, load_site
from labioc_pages.page import NotRunning, fetch


def health_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``health``."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument("--json", action="store_true", help="one JSON object for each IOC")
    add_shares(parser)


def health(args: argparse.Namespace) -> int:
    """Print a line for each problem, or that there is none; returns 1 when there is one. Raises SiteError."""
    site = load_site(args.site)
    status = 0
    for part in shares_of(args, site):
        name = f"{part.prefix}:{part.ioc}"
        found = _ask(part, name)
        if any(one["kind"] != NOTE for one in found):
            status = 1
        if args.json:
            print(json.dumps({"ioc": name, "findings": found}))
        else:
            print("\n".join(f"{name}: {one['kind']}: {one['text']}" for one in found) or f"{name}: ok")
    return status


def _ask(site: Site, name: str) -> list[dict[str, Any]]:
    """Return what a server has to say, or that it does not answer."""
    try:
        _, body = fetch(address_file(site, state_folder(site)), "/status", f"IOC {name}")
        found: list[dict[str, Any]] = json.loads(body)
    except (NotRunning, ValueError) as error:
        return [{"kind": "failing", "text": str(error)}]
    return found
