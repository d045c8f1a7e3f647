"""The formats that a whole site is exported in: one module of this package for each, with a function ``write``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from html import escape
from typing import Final

from ioc.export.plant import Plant
from ioc.site.config import SiteError

FORMATS: Final[Mapping[str, str]] = {
    "phoebus": "screens for Phoebus (.bob), to be opened at overview.bob",
    "alarm": "alarm tree for the alarm server of Phoebus (XML)",
    "alh": "alarm tree for the classic alarm handler ALH",
    "plt": "plots for the Data Browser of Phoebus",
    "saveset": "settings to save and restore, for import into Phoebus (CSV)",
    "archappl": "list of PVs and policy for the EPICS Archiver Appliance",
    "grafana": "dashboards, alert rules and data source for Grafana, for InfluxQL and for Flux",
    "zabbix": "template for Zabbix 6.0, and what its agent 2 needs",
    "systemd": "units for systemd: a service for each IOC of the site and one for the archiver",
    "compose": "a compose file with IOC, archiver, InfluxDB and Grafana in containers",
    "pvlist": "all PVs with descriptions and guidance, as a Markdown page",
}
"""What each format is for."""


def files_of(name: str, plant: Plant) -> dict[str, str]:
    """Return the files of one format by their paths; the same site gives the same bytes."""
    write = importlib.import_module(f"ioc.export.{name}").write
    files: dict[str, str] = write(plant)
    return files


def everything(plant: Plant) -> dict[str, str]:
    """Return the files of all formats, each in a folder of its name, and a page that lists them.

    A format that the site file rules out is left out; the page says why.
    """
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name in FORMATS:
        try:
            found |= {f"{name}/{path}": text for path, text in files_of(name, plant).items()}
        except SiteError as error:
            missing[name] = str(error)
    return {"index.html": _index(plant, list(found), missing), **found}


def _index(plant: Plant, paths: list[str], missing: Mapping[str, str]) -> str:
    lines = ["<!DOCTYPE html>", '<html lang="en">', f"<head><meta charset='utf-8'><title>{plant.prefix}</title></head>"]
    lines += ["<body>", f"<h1>{plant.prefix}: files for other programs</h1>"]
    for name, about in FORMATS.items():
        lines += [f"<h2>{name}</h2>", f"<p>{escape(about[:1].upper() + about[1:])}.</p>"]
        if name in missing:
            lines.append(f"<p>Not written: {escape(missing[name])}</p>")
        own = [path for path in paths if path.startswith(f"{name}/")]
        links = [f'<li><a href="{escape(path)}">{escape(path.removeprefix(f"{name}/"))}</a></li>' for path in own]
        lines += ["<ul>", *links, "</ul>"] if links else []
    return "\n".join([*lines, "</body>", "</html>", ""])
