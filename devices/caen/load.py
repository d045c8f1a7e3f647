"""How much of the time of its connection the reading of a supply takes."""

from __future__ import annotations

from devices.caen.catalogue import LIVE
from devices.links.line import PAUSE, parse_address
from devices.links.transport import SerialAddress
from devices.model import DeviceSettings

EXCHANGE = 0.05  # s of a request and its answer over a network or USB: an assumption, units are not documented
REQUEST, HEAD, VALUE = 25, 18, 8  # characters of a request, of an answer without values, of each value in it
SLOW = {
    **dict.fromkeys(("VSET", "ISET", "BDALARM", "BDILK", "BDCTR"), 5.0),
    **dict.fromkeys(("RUP", "RDW", "MAXV", "TRIP", "PDWN", "IMRANGE", "ZCADJ", "ZCDTC", "BDTERM", "BDILKM"), 10.0),
}
"""Parameters that are read less often, and every how many seconds."""


def line_load(settings: DeviceSettings) -> float:
    """Return the share of the time of its connection that scanning a supply takes, all channels at once.

    More than 1 cannot be done. Channel by channel, as some firmware wants it, takes as many times longer as there are
    channels. Raises ValueError when the address is not one of a line.
    """
    where = parse_address(settings.address)
    seconds = EXCHANGE
    if isinstance(where, SerialAddress) and "ttyACM" not in where.device:  # there the baud rate has no meaning
        seconds += 10 * (REQUEST + HEAD + VALUE * settings.channels) / where.baudrate
    rate = len(LIVE) / settings.period + sum(1 / period for period in SLOW.values())
    return rate * (seconds + PAUSE)
