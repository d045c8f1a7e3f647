"""Alarm status and severity, event masks: the numbers that Channel Access and the EPICS menus share."""

from __future__ import annotations

from typing import Final

from ioc.records.fieldtable import menu

STATUS_NAMES: Final = menu("menuAlarmStat")
SEVERITY_NAMES: Final = menu("menuAlarmSevr")

NO_ALARM, MINOR, MAJOR, INVALID = range(4)
"""Severities."""

HIHI, HIGH, LOLO, LOW = map(STATUS_NAMES.index, ("HIHI", "HIGH", "LOLO", "LOW"))
STATE, COS, LINK = map(STATUS_NAMES.index, ("STATE", "COS", "LINK"))
UDF, DISABLE = map(STATUS_NAMES.index, ("UDF", "DISABLE"))

DBE_VALUE: Final = 1
DBE_LOG: Final = 2
DBE_ALARM: Final = 4
DBE_PROPERTY: Final = 8

#: Seconds from the Unix epoch to that of EPICS, 1990-01-01 00:00 UTC.
EPICS_EPOCH: Final = 631152000


def alarm_status(name: str) -> int:
    """Number of a Channel Access alarm status (``COMM``). Raises ValueError for an unknown name."""
    return STATUS_NAMES.index(name)
