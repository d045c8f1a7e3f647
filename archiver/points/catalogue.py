"""Which PV is which series: kept beside the log, so that a history can be read without the site file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from archiver.config import PvSpec, Schema

_FILE = "pvs.json"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The PVs of a log by name, and how their events became points."""

    pvs: dict[str, PvSpec]
    schema: Schema

    def save(self, directory: Path) -> None:
        """Replace the file in a folder; PVs of earlier runs stay known. Raises OSError."""
        known = {}
        try:
            known = load(directory).pvs
        except (FileNotFoundError, ValueError):
            directory.mkdir(parents=True, exist_ok=True)
        pvs = [asdict(pv) for pv in {**known, **self.pvs}.values()]
        fresh = directory / f".{_FILE}.new"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"schema": asdict(self.schema), "pvs": pvs}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(directory / _FILE)


def catalogue(pvs: Iterable[PvSpec], schema: Schema) -> Catalogue:
    """Make the catalogue of some PVs."""
    return Catalogue({pv.name: pv for pv in pvs}, schema)


def load(directory: Path) -> Catalogue:
    """Read the catalogue of a log. Raises FileNotFoundError, or ValueError when it cannot be understood."""
    text = (directory / _FILE).read_text(encoding="utf-8")
    try:
        data = json.loads(text)
        pvs = (PvSpec(**{**pv, "states": tuple(pv.get("states", ()))}) for pv in data["pvs"])
        return catalogue(pvs, Schema(**data["schema"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{directory / _FILE}: {error}") from error
