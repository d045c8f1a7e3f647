"""What the commands for PVs have in common: names and wildcards, where the site is, and PVs that do not connect."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import Final

from ioc.client import Channel, Client
from ioc.commands.arguments import add_shares, shares_of
from ioc.commands.demo_site import site_at
from ioc.commands.output import complain
from ioc.errors import MistakesError
from ioc.site.config import Site
from ioc.site.expansion import expand_all

SITE_VARIABLE: Final = "LABIOC_SITE"
_SITE_HERE: Final = Path("site.toml")
_WILDCARD: Final = re.compile(r"[*?\[]")
_FEW: Final = 10


class NamesError(MistakesError):
    """Names of PVs that nothing can be done with."""

    subject = "the PVs"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The PVs that a command is about, the environment in which they are searched, and their site, if it is known."""

    names: list[str]
    env: Mapping[str, str]
    site: Site | None = None


def add_arguments(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add what all commands for PVs have; ``timeout`` in seconds."""
    parser.add_argument(
        "--site",
        metavar="SITE",
        help=f"the site file, or demo; for wildcards and names without prefix (${SITE_VARIABLE}, or {_SITE_HERE} here)",
    )
    add_wait(parser, timeout)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    add_shares(parser)


def add_wait(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add how long PVs may take, in seconds, with this default."""
    about = f"wait so many seconds ({timeout:g})"
    parser.add_argument("-w", "--wait", type=seconds, default=timeout, metavar="S", help=about)


def seconds(text: str) -> float:
    """Read a time of the command line in seconds. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def wanted(args: argparse.Namespace, patterns: Sequence[str]) -> Wanted:
    """Return the PVs that were named. Raises SiteError, and NamesError for a wildcard that stands for nothing."""
    path = args.site or os.environ.get(SITE_VARIABLE)
    wild = [pattern for pattern in patterns if _WILDCARD.search(_parts(pattern)[0])]
    if path is None and wild and _SITE_HERE.exists():
        path = str(_SITE_HERE)
    if path is None:
        if wild:
            raise NamesError(
                [f"{wild[0]}: a wildcard stands for PVs of a site: add --site SITE or set {SITE_VARIABLE}"]
            )
        return Wanted(list(dict.fromkeys(patterns)), os.environ)
    site = site_at(path)
    served = expand_all(shares_of(args, site)).served
    known = [*served, *chain.from_iterable(record.aliases for record in served.values())]
    names = list(dict.fromkeys(chain.from_iterable(_matching(pattern, known, site.prefix) for pattern in patterns)))
    return Wanted(names, environment(site), site)


def environment(site: Site) -> Mapping[str, str]:
    """Return the environment with the port of a site, and this computer, to search at unless it says otherwise."""
    env = dict(os.environ)
    if site.server.port and "EPICS_CA_SERVER_PORT" not in env:
        env["EPICS_CA_SERVER_PORT"] = str(site.server.port)
    if "EPICS_CA_ADDR_LIST" not in env and site.server.interfaces and all(map(_is_loopback, site.server.interfaces)):
        env["EPICS_CA_ADDR_LIST"] = "127.0.0.1"
    return env


async def connected(client: Client, names: Iterable[str], timeout: float) -> list[Channel]:
    """Return the channels that connect in time, in the order of their names; complain about the others."""
    try:
        channels = await client.connect(names, timeout)
    except ValueError as error:
        raise NamesError([str(error)]) from error
    missing = [channel.name for channel in channels if not channel.connected]
    if missing:
        complain(not_connected(missing, client, timeout))
    return [channel for channel in channels if channel.connected]


def not_connected(names: Sequence[str], client: Client, timeout: float) -> str:
    """Say which PVs no server has, where they were searched, and what to look at."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    places = ", ".join(client.places) or "no address at all"
    return (
        f"not connected within {timeout:g} s: {', '.join(names[:_FEW])}{more}\n"
        f"  searched at {places} (EPICS_CA_ADDR_LIST, EPICS_CA_AUTO_ADDR_LIST, EPICS_CA_SERVER_PORT)\n"
        "  check the name (labioc pvs SITE lists them), that its IOC is running, and that it can be reached there"
    )


def _parts(name: str) -> tuple[str, str]:
    """Divide a name before its field or filter; a dot or brace in a wildcard is none of the record name."""
    end = min((place for mark in ".{" if (place := name.find(mark)) >= 0), default=len(name))
    return name[:end], name[end:]


def _matching(pattern: str, known: Sequence[str], prefix: str) -> list[str]:
    """Return what a pattern stands for; with and without the prefix of the site. Raises NamesError for nothing."""
    base, rest = _parts(pattern)
    forms = base, f"{prefix}:{base}"
    if not _WILDCARD.search(base):
        name = base.removesuffix("$")
        return [f"{prefix}:{pattern}" if name not in known and f"{prefix}:{name}" in known else pattern]
    found = [name + rest for name in known if any(fnmatchcase(name, form) for form in forms)]
    if not found:
        raise NamesError([f"{pattern} matches no PV of the site"])
    return found


def _is_loopback(interface: str) -> bool:
    try:
        return ip_address(interface.partition(":")[0]).is_loopback
    except ValueError:
        return interface == "lo"
