"""What GR and CTRL requests tell about a field: units, precision and limits, by the rules of each record support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ioc.records.convert import INTEGER_RANGES
from ioc.records.fieldtable import FLOAT_TYPES

NAN: Final = math.nan


@dataclass(slots=True)
class Meta:
    """Metadata of one field; alarm limits that do not count are NaN, as in base."""

    units: str = ""
    precision: int = 0
    disp_high: float = 0.0
    disp_low: float = 0.0
    hihi: float = NAN
    high: float = NAN
    low: float = NAN
    lolo: float = NAN
    ctrl_high: float = 0.0
    ctrl_low: float = 0.0


def type_range(dbf: str) -> tuple[float, float]:
    """Highest and lowest value of a field type, what recGblGetGraphicDouble gives where a record has no limits."""
    if dbf == "FLOAT":
        return 1e30, -1e30
    if dbf in FLOAT_TYPES:
        return 1e300, -1e300
    low, high = INTEGER_RANGES.get(dbf, (0, 0)) if dbf not in ("MENU", "DEVICE") else (0, 0)
    return float(high), float(low)


def default_precision(dbf: str, precision: int) -> int:
    """Precision of a field other than the value: none for integers, at most 15 (recGblGetPrec of base)."""
    if dbf not in FLOAT_TYPES:
        return 0
    return precision if 0 <= precision <= 15 else 15
