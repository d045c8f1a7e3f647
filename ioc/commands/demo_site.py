"""The site of the demo: one simulated device of each family. Commands know it by the name ``demo``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from devices.registry import FAMILIES
from devices.rules.state_file import default_folder
from ioc.site.config import Site, load_site, parse_site

NAME = "demo"
PREFIX = "LAB"

ADAPTERS: Mapping[str, Mapping[str, str]] = {"main": {"interface": "virtual"}}
"""CAN adapters, as in a site file; a simulated module brings its own bus."""


def demo_site() -> Site:
    """Return the site that ``labioc demo`` serves."""
    devices = [
        {**family.example, "type": family.type, "simulated": True} for family in FAMILIES.values() if family.demo
    ]
    server = {"state_dir": str(default_folder() / NAME)}  # for its console; the demo keeps nothing
    return parse_site({"site": {"prefix": PREFIX}, "server": server, "can": ADAPTERS, "device": devices})


def site_at(path: str) -> Site:
    """Load a site file, or take the site of the demo by its name. Raises SiteError."""
    if path != NAME or Path(path).exists():
        return load_site(path)
    site = demo_site()
    return replace(site, server=replace(site.server, interfaces=("127.0.0.1",)))  # it is found on this computer only
