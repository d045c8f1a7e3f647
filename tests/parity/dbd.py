"""Field names of record types, from the record definitions (*.dbd) that epicscorelibs ships."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from tests.machines import needs

_FIELD = re.compile(r"\bfield\((\w+)\s*,\s*DBF_(\w+)\)")
_INCLUDE = re.compile(r'\binclude\s+"([^"]+)"')


@cache
def fields(rtyp: str) -> dict[str, str]:
    """Name and DBF type of each field of a record type, those of dbCommon first, without the NOACCESS ones."""
    return {name: dbf for name, dbf in _read(f"{rtyp}Record.dbd").items() if dbf != "NOACCESS"}


def _read(name: str) -> dict[str, str]:
    needs("epicscorelibs")
    from epicscorelibs import path

    text = (Path(path.base_path) / "dbd" / name).read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("%", "#")))
    found: dict[str, str] = {}
    for include in _INCLUDE.findall(code):
        found.update(_read(include))
    found.update(_FIELD.findall(code))
    return found
