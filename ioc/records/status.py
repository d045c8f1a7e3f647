"""Alarm status and severity, event masks: the numbers that Channel Access and the EPICS menus share."""

from __future__ import annotations

from typing import Final

from ioc.records.fieldtable import menu

STATUS_NAMES: Final = menu("menuAlarmStat")
SEVERITY_NAMES: Final = menu("menuAlarmSevr")

NO_ALARM: Final = 0
MINOR: Final = 1
MAJOR: Final = 2
INVALID: Final = 3

HIHI: Final = STATUS_NAMES.index("HIHI")
HIGH: Final = STATUS_NAMES.index("HIGH")
LOLO: Final = STATUS_NAMES.index("LOLO")
LOW: Final = STATUS_NAMES.index("LOW")
STATE: Final = STATUS_NAMES.index("STATE")
COS: Final = STATUS_NAMES.index("COS")
LINK: Final = STATUS_NAMES.index("LINK")
SOFT: Final = STATUS_NAMES.index("SOFT")
UDF: Final = STATUS_NAMES.index("UDF")
DISABLE: Final = STATUS_NAMES.index("DISABLE")

DBE_VALUE: Final = 1
DBE_LOG: Final = 2
DBE_ALARM: Final = 4
DBE_PROPERTY: Final = 8

#: Seconds from the Unix epoch to that of EPICS, 1990-01-01 00:00 UTC.
EPICS_EPOCH: Final = 631152000


def alarm_status(name: str) -> int:
    """Number of a Channel Access alarm status (``COMM``). Raises ValueError for an unknown name."""
    return STATUS_NAMES.index(name)
