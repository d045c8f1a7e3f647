"""The formats that a whole site is exported in: one module of this package for each, with a function ``write``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from html import escape
from typing import Final

from ioc.export.plant import Plant

FORMATS: Final[Mapping[str, str]] = {
    "phoebus": "screens for Phoebus (.bob), to be opened at overview.bob",
    "alarm": "alarm tree for the alarm server of Phoebus (XML)",
    "alh": "alarm tree for the classic alarm handler ALH",
    "plt": "plots for the Data Browser of Phoebus",
    "saveset": "settings to save and restore, for import into Phoebus (CSV)",
    "archappl": "list of PVs and policy for the EPICS Archiver Appliance",
    "pvlist": "all PVs with descriptions and guidance, as a Markdown page",
}
"""What each format is for."""


def files_of(name: str, plant: Plant) -> dict[str, str]:
    """Return the files of one format by their paths; the same site gives the same bytes."""
    write = importlib.import_module(f"ioc.export.{name}").write
    files: dict[str, str] = write(plant)
    return files


def everything(plant: Plant) -> dict[str, str]:
    """Return the files of all formats, each in a folder of its name, and a page that lists them."""
    found = {f"{name}/{path}": text for name in FORMATS for path, text in files_of(name, plant).items()}
    return {"index.html": _index(plant, list(found)), **found}


def _index(plant: Plant, paths: list[str]) -> str:
    lines = ["<!DOCTYPE html>", '<html lang="en">', f"<head><meta charset='utf-8'><title>{plant.prefix}</title></head>"]
    lines += ["<body>", f"<h1>{plant.prefix}: files for other programs</h1>"]
    for name, about in FORMATS.items():
        lines += [f"<h2>{name}</h2>", f"<p>{escape(about[:1].upper() + about[1:])}.</p>", "<ul>"]
        own = [path for path in paths if path.startswith(f"{name}/")]
        lines += [f'<li><a href="{escape(path)}">{escape(path.removeprefix(f"{name}/"))}</a></li>' for path in own]
        lines.append("</ul>")
    return "\n".join([*lines, "</body>", "</html>", ""])
