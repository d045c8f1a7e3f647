"""Errors that a driver raises on purpose.

    DeviceError
     +-- LinkDown        nothing could be sent
     +-- ReplyTimeout    sent, but no complete answer: a write may or may not have happened
     +-- Garbled         bytes that no rule of the protocol explains
     +-- Refused         the device, or a limit, does not allow it
          +-- OutOfLimits   the value is outside the limits in force; no byte was sent
          +-- NotReady      the device has not been read yet; no byte was sent
          +-- Withdrawn     the write was given up before this part of it was sent
          +-- TakenOtherwise  the device took another value than the one that was asked for

The scan engine turns each of them into an alarm and the put path into a reason; nothing else may cross the
boundary of a driver.
"""

from __future__ import annotations

import errno
import grp
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devices.model import Reading


class DeviceError(Exception):
    """Base of the family.

    ``readings`` is what a write that failed has learnt on the way; it is shown at once.
    """

    readings: Mapping[str, Reading] = {}


class LinkDown(DeviceError):
    """No usable connection: refused, closed, adapter gone."""


class ReplyTimeout(DeviceError, TimeoutError):
    """The answer did not arrive in time."""


class Garbled(DeviceError):
    """The answer could not be read; the link has been resynchronised."""


class Refused(DeviceError):
    """The device answered with an error word, or a rule of the driver forbids the request."""


class OutOfLimits(Refused):
    """The value is outside the limits in force, or not a number at all; no byte was sent."""


class NotReady(Refused):
    """The signal has not been read since the link came up; no byte was sent."""


class Withdrawn(Refused):
    """The write was given up before this part of it was sent; the text says why."""


class TakenOtherwise(Refused):
    """The device took another value than the one that was asked for, and has it now."""


def reason_of(error: OSError, path: str = "") -> str:
    """Return what the system says about an error, for a sentence; ``path`` is the port that could not be opened."""
    # asyncio says "Connect call failed" whatever the reason, and once more for each further address of a host.
    calls = re.findall(r"\[Errno (\d+)\] Connect call failed", str(error))
    number = int(calls[0]) if calls else error.errno
    if number == errno.ECONNREFUSED:
        return "connection refused: nothing listens there, or it serves another client"
    if number in (errno.EACCES, errno.EPERM) and path:
        return f"permission denied: add the user to group {_group_of(path)}"
    return (os.strerror(int(calls[0])) if calls else error.strerror) or str(error) or type(error).__name__


def _group_of(path: str) -> str:
    """Return the group that may use a port; on most systems it is dialout."""
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"
