"""How much of the time of its bus the reading of an Iseg module takes."""

from __future__ import annotations

import struct

from devices.iseg.catalogue import LIVE
from devices.iseg.edcp.items import BY_NAME
from devices.model import DeviceSettings

BIT_RATE = 125_000
"""bit/s that many modules are set to; a label on the side panel of each has its own rate (EDCP guide)."""

STUFFED = 1.1  # bits on the wire for each that may be stuffed, as measured with the numbers of a module in use
OVERHEAD, NEVER_STUFFED = 34, 13  # bits of a frame beside its data (ISO 11898-1)
SLOW = {"VoltageSet": 5.0, "CurrentSet": 5.0, "ChannelEventStatus": 5.0,
        "VoltageBounds": 10.0, "CurrentBounds": 10.0, "ChannelEventMask": 10.0}  # fmt: skip
"""Items of channels that are read less often, and every how many seconds."""


def bus_load(settings: DeviceSettings) -> float:
    """Return the share of the time of its bus that scanning a module takes that answers for all channels at once.

    More than 1 cannot be done. Channel by channel, as old firmware wants it, takes nearly twice as much.
    """
    bits = 0.0
    for item, period in {**dict.fromkeys(LIVE, settings.period), **SLOW}.items():
        answer = _frame(3 + struct.calcsize(BY_NAME[item].type.value))
        bits += (_frame(5) + settings.channels * answer) / period
    bits += (_frame(2) + _frame(4)) / settings.period  # the status of the module
    return bits / float(settings.bus.get("bitrate") or BIT_RATE)


def _frame(data: int) -> float:
    """Return the bits of a frame with so many data bytes."""
    return STUFFED * (OVERHEAD + 8 * data) + NEVER_STUFFED
