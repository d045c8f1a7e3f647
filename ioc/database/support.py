"""Device support: what labioc reads in the fields of a record, DTYP, INP or OUT, and SCAN."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

DEVICE_TYPE: Final = "labioc"
"""DTYP of a record whose INP or OUT names a device and a signal: ``@HV1 CH00.VMON``."""

PERIODS: Final[dict[str, float]] = {
    ".1 second": 0.1,
    ".2 second": 0.2,
    ".5 second": 0.5,
    "1 second": 1,
    "2 second": 2,
    "5 second": 5,
    "10 second": 10,
}
"""Period in seconds of each periodic choice of EPICS' menuScan; the other choices are not periodic."""

SERVER: Final = "IOC"
"""Name in links of the pseudo device that is the server itself."""

SERVER_SIGNALS: Final = frozenset(
    {
        "HEARTBEAT", "UPTIME", "STARTTOD", "HOSTNAME", "PROCESS_ID", "MEM_USED", "VERSION", "CFG.ID", "LAG",
        "ARMED", "PUTS", "TOD", "ENGINEER", "LOCATION", "ACCESS", "EPICS_VERS", "CA_CLNT_CNT", "CA_CONN_CNT",
        "SYS_CPU_LOAD", "IOC_CPU_LOAD", "FD_CNT", "FD_MAX",
    }
)  # fmt: skip
"""Signals of that pseudo device."""

GROUPS: Final = "GRP"
"""Name in links of the pseudo device that acts on several devices at once."""

GROUP_SIGNALS: Final = ("GO", "STATE", "PLAN.MSG", "PROGRESS", "HOLD.CMD", "MSG")
"""Signals of each group of that pseudo device, after the name of the group; ALL has the first and the last."""

INTERLOCKS: Final = "ILK"
"""Name in links of the pseudo device that the interlocks are."""

INTERLOCK_SIGNALS: Final = ("OK", "MSG", "BYPASS", "ACK.CMD")
"""Signals of each of them, after its name."""

OFF_TAG: Final = "off"
OFF_ALL: Final = "all"
"""Info tag, and its only value, of a switch (bo) that ``ALL.GO`` puts to 0."""

KEEP_TAG: Final = "keep"
"""Info tag of an output of the server itself whose value survives a restart; the tag has its first value, as text."""

RESTORE_TAG: Final = "restore"
"""Info tag of a setting: its part in the order of a restore, one of ``RESTORE_PARTS``."""

VALUE: Final = "value"
RAMP: Final = "ramp"
HIGH_LIMIT: Final = "high limit"
LOW_LIMIT: Final = "low limit"
RANGE: Final = "range"
RESTORE_PARTS: Final = frozenset({VALUE, RAMP, HIGH_LIMIT, LOW_LIMIT, RANGE})
"""What is bounded; how fast it moves; what bounds it from above or from below, a protection too; a choice of ranges,
the widest first, that bounds the high limits. Without the tag a switch (bo) is an output, another setting of operators
a value."""

STATUS_SIGNALS: Final = frozenset(
    {
        "COMM", "COMM.AGE", "COMM.RTT", "COMM.ERRORS", "COMM.RECONN", "COMM.MSG", "SCAN.TIME", "SCAN.LATE",
        "DISABLE", "SIM", "READONLY", "PUT.MSG", "PUT.REFUSED",
    }
)  # fmt: skip
"""Signals of each device that the server knows by itself and never asks of a driver."""

CHANNEL_SIGNALS: Final = frozenset(
    {"BBOX.V", "BBOX.I", "BBOX.T", "REC.MODE", "REC.STATE", "REC.TRIES", "REC.LEFT", "REC.MSG"}
)
"""Signals of each high-voltage channel that the server knows by itself: ``CH00.BBOX.V``."""

RECOVERY_TAG: Final = "recovery"
RECOVERY_CAUSE: Final = "cause"
RECOVERY_IDENTITY: Final = "identity"
"""Info tag of what counts for the recovery from a trip, of a channel or of its whole device.

On a bit (bi) ``cause`` is with which the unit reports a trip, ``0`` or ``1`` the value without which nothing is
switched on again. ``identity`` is on what is MAJOR while the device is another one than the site file says.
"""


def is_of_server(signal: str) -> bool:
    """Return whether a signal in the link to a device is the server's own, which no driver is asked for."""
    return signal in STATUS_SIGNALS or signal.partition(".")[2] in CHANNEL_SIGNALS


@lru_cache(maxsize=4096)
def parse_link(text: str) -> tuple[str, str]:
    """Return device and signal of the INP or OUT of a record of this device type. Raises ValueError."""
    words = text.split()
    if len(words) != 2 or not text.startswith("@"):
        raise ValueError(f"found {text!r}, allowed: @DEVICE SIGNAL")
    return words[0].removeprefix("@"), words[1]
