"""The computer that this program runs on: since when, and whether its clock is right."""

from __future__ import annotations

import ctypes
import sys
import time
from contextlib import suppress
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_FROM_HOST = ("kvm", "hyperv", "xen")  # clock sources of virtual machines, whose clock the host sets
_TIME_ERROR = 5  # what adjtimex returns for a clock that is not synchronised (adjtimex(2))
_TIMEX_SIZE = 512  # bytes, more than struct timex of any architecture


class Computer:
    """``boot`` is another text after each start of the computer, empty where the system has none.

    A computer without a clock chip starts with the time at which it was switched off, or an older one, and is set some
    time later over the network.
    """

    def __init__(self) -> None:
        self.boot = ""
        self._set = False
        with suppress(OSError):
            self.boot = _BOOT_ID.read_text(encoding="ascii").strip()

    def uptime(self) -> float:
        """Return the seconds since the computer started, those of suspension included."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def clock_is_set(self) -> bool:
        """Whether the clock was set since the start: from a clock chip, by the host or over the network."""
        self._set = self._set or _clock_is_set()
        return self._set


def _clock_is_set() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    with suppress(OSError):
        if any(name in _CLOCK_SOURCE.read_text(encoding="ascii") for name in _FROM_HOST):
            return True
    for chip in Path("/sys/class/rtc").glob("rtc*/hctosys"):
        with suppress(OSError):
            if chip.read_text(encoding="ascii").strip() == "1":
                return True
    if _TIMESYNCD.exists():
        return True
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE)))
    except (OSError, AttributeError):
        return True  # nothing tells
    return 0 <= state < _TIME_ERROR
