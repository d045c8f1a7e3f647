"""A snapshot: the settings of a site at one moment, as JSON or as Phoebus save-and-restore exports one (CSV)."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

from ioc.client.reading import Reading, Scalar
from ioc.errors import MistakesError
from ioc.version import release

VERSION: Final = 1
_FORMATS: Final = (".json", ".csv")
_COLUMNS: Final = (
    "PV", "SELECTED", "TIMESTAMP", "STATUS", "SEVERITY", "VALUE_TYPE", "VALUE", "READBACK", "READBACK_VALUE", "DELTA",
    "READ_ONLY", "UNITS",
)  # fmt: skip
"""Columns of a snapshot that Phoebus exports; it passes over the last one, which is ours."""

_NUMBERS: Final = {"double": float, "float": float, "int": int, "long": int, "short": int, "byte": int}


class SnapshotError(MistakesError):
    """A snapshot cannot be made, read or restored; ``errors`` holds one sentence for each reason."""

    subject = "the snapshot"


@dataclass(frozen=True, slots=True)
class Saved:
    """One setting: its value as number, or as text, which is that of the state where there are states.

    ``value`` is what the device had, by the read-back where there is one. ``demand`` is what was set. ``units`` is None
    where the file does not tell. A setting that is not ``restored`` is there to be compared: what only ``--outputs``
    switches, and what other settings get their meaning from.
    """

    pv: str
    value: Scalar
    units: str | None
    restored: bool = True
    demand: Scalar = ""
    readback: str = ""
    time: float = 0.0
    severity: str = "NO_ALARM"
    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The settings of a site in its order; ``time`` is Unix time, ``prefix`` empty where the file tells none."""

    prefix: str
    time: float
    settings: tuple[Saved, ...]


def plain(reading: Reading) -> Scalar | tuple[Scalar, ...]:
    """Return a value as a snapshot has it: a state by its text."""
    return reading.text if reading.meta.states else reading.value


def checked_path(text: str) -> Path:
    """Return a path of a snapshot. Raises SnapshotError for one whose ending names no format."""
    path = Path(text)
    if path.suffix not in _FORMATS:
        raise SnapshotError([f"{path}: found {path.suffix!r}, allowed: a name that ends in {' or '.join(_FORMATS)}"])
    return path


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a file that is there whole or not at all. Raises OSError, and SnapshotError for what it cannot hold."""
    text = as_csv(snapshot, path.stem) if path.suffix == ".csv" else as_json(snapshot)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def read(path: Path) -> Snapshot:
    """Read a file. Raises SnapshotError with every mistake in it, and OSError."""
    try:
        text = path.read_text(encoding="utf-8")
        return _of_csv(text, path) if path.suffix == ".csv" else _of_json(text, path)
    except ValueError as error:
        raise SnapshotError([f"{path}: {error}"]) from error


# ---- JSON


def as_json(snapshot: Snapshot) -> str:
    """Return a snapshot as JSON, a line for each setting."""
    head = {"labioc": release(), "snapshot": VERSION, "prefix": snapshot.prefix, "time": _iso(snapshot.time)}
    rows = ",\n".join(f"    {json.dumps(_entry(saved))}" for saved in snapshot.settings)
    return f'{json.dumps(head, indent=2)[:-2]},\n  "settings": [\n{rows}\n  ]\n}}\n'


def _entry(saved: Saved) -> dict[str, Any]:
    about = {"demand": saved.demand} if saved.demand not in ("", saved.value) else {}
    return {
        "pv": saved.pv, "value": saved.value, "units": saved.units or "", "restored": saved.restored,
        "readback": saved.readback, "time": _iso(saved.time), "severity": saved.severity,
        "states": list(saved.states), **about,
    }  # fmt: skip


def _of_json(text: str, path: Path) -> Snapshot:
    """Raise ValueError or SnapshotError."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("snapshot") != VERSION or not isinstance(data.get("settings"), list):
        raise ValueError(f"it is no snapshot of version {VERSION}")
    errors: list[str] = []
    found = [_of_entry(entry, f"{path}: setting {number}", errors) for number, entry in enumerate(data["settings"], 1)]
    prefix, time = data.get("prefix"), data.get("time")
    if not isinstance(prefix, str) or not isinstance(time, str):
        errors.append(f"{path}: prefix and time have to be texts")
    return _whole(str(prefix), _seconds(str(time)) if not errors else 0.0, found, errors)


def _of_entry(entry: Any, place: str, errors: list[str]) -> Saved | None:
    entry = entry if isinstance(entry, dict) else {}
    pv, value, units, restored = (entry.get(key) for key in ("pv", "value", "units", "restored"))
    if not isinstance(pv, str) or not isinstance(units, str) or not isinstance(restored, bool):
        errors.append(f"{place}: found {entry}, needed: pv and units as text, restored as true or false")
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)) or not _finite(value):
        errors.append(f"{place}, {pv}: found {value!r}, allowed: a number or a text")
    else:
        return Saved(pv, value, units, restored)
    return None


# ---- CSV


def as_csv(snapshot: Snapshot, name: str) -> str:
    """Return a snapshot as Phoebus exports one. What a restore must not write is read-only there, too.

    Raises SnapshotError for a text with quotes or line ends, which Phoebus does not mask.
    """
    if errors := [
        f"{saved.pv}: found {saved.value!r}, a table can't have quotes and line ends; .json can"
        for saved in snapshot.settings
        if isinstance(saved.value, str) and set('"\r\n') & set(saved.value)
    ]:
        raise SnapshotError(errors)
    date = datetime.fromtimestamp(snapshot.time).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    tags = {
        "Hierarchy": f"labioc/{snapshot.prefix}",
        "Snapshot name": name,
        "Description": f"Settings of {snapshot.prefix}",
        "Creator": f"labioc {release()}",
        "Date": date,
    }
    lines = list(chain.from_iterable((f"# {tag}:", f"# {text}") for tag, text in tags.items()))
    return "\n".join([*lines, ",".join(_COLUMNS), *map(_row, snapshot.settings)]) + "\n"


def _row(saved: Saved) -> str:
    kind = "enum" if saved.states else _kind(saved.value)
    value = f"{saved.value}~[{';'.join(saved.states)}]" if saved.states else str(saved.value)
    seconds, part = divmod(saved.time, 1)
    severity = saved.severity.replace("NO_ALARM", "NONE")
    readback = f'"{value}"' if saved.readback else '"---"'
    return ",".join([
        saved.pv, "1", f"{int(seconds)}.{int(part * 1e9)}", "NONE", severity, kind, f'"{value}"',
        saved.readback, readback, "", str(int(not saved.restored)), saved.units or "",
    ])  # fmt: skip


def _kind(value: Scalar) -> str:
    return "string" if isinstance(value, str) else "double" if isinstance(value, float) else "int"


def _of_csv(text: str, path: Path) -> Snapshot:
    """Raise ValueError or SnapshotError."""
    lines = text.split("\n")
    numbers = [number for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    rows = [next(csv.reader([lines[number - 1]])) for number in numbers]
    header = rows[0] if rows else []
    if missing := [name for name in ("PV", "VALUE_TYPE", "VALUE") if name not in header]:
        raise ValueError(f"it is no snapshot: there is no column {' nor '.join(missing)}")
    tags = dict(pairwise(lines))
    errors: list[str] = []
    found = [
        _of_row(dict(zip(header, row, strict=False)), f"{path}:{number}", errors)
        for number, row in zip(numbers[1:], rows[1:], strict=True)
    ]
    place = tags.get("# Hierarchy:", "").removeprefix("#").strip()
    prefix = place.removeprefix("labioc/") if place.startswith("labioc/") else ""
    date = tags.get("# Date:", "").removeprefix("#").strip()
    return _whole(prefix, _seconds(date) if date else 0.0, found, errors)


def _of_row(row: Mapping[str, str], place: str, errors: list[str]) -> Saved | None:
    pv, kind, text = (row.get(name, "").strip() for name in ("PV", "VALUE_TYPE", "VALUE"))
    value: Scalar
    if kind == "enum":
        value = text.partition("~")[0]
    elif kind == "string":
        value = text
    else:
        try:
            value = _NUMBERS[kind](text)
        except (KeyError, ValueError):
            value = math.nan
    if not pv or not _finite(value):
        errors.append(
            f"{place}: {pv or 'no PV'}: found {text!r} of type {kind!r}, allowed: a number, an enum or a string"
        )
        return None
    return Saved(pv, value, row.get("UNITS"), row.get("READ_ONLY", "0") in ("0", "false"))


# ----


def _whole(prefix: str, time: float, found: Iterable[Saved | None], errors: list[str]) -> Snapshot:
    """Put a snapshot together. Raises SnapshotError with every mistake."""
    settings = tuple(saved for saved in found if saved is not None)
    errors += _twice(settings)
    if errors:
        raise SnapshotError(errors)
    return Snapshot(prefix, time, settings)


def _twice(settings: Iterable[Saved]) -> Iterator[str]:
    seen: set[str] = set()
    for saved in settings:
        if saved.pv in seen:
            yield f"{saved.pv} is in the file twice"
        seen.add(saved.pv)


def _finite(value: Scalar) -> bool:
    return isinstance(value, str) or math.isfinite(value)


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time).astimezone().isoformat(timespec="milliseconds")


def _seconds(text: str) -> float:
    """Read a date. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()
