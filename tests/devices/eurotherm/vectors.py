"""Exchanges with a 3200 and the published ones of handbook HA026230, as bytes in hex; None: no reply.

The instrument of the first table is at address 1 with one decimal, PV 183.4, SP1 250.0, SP2 100.0, in manual at 32.5 %
and without alarm; ``VECTORS`` are in an order in which they can be played, ``CHANGED`` need another state first.
"""

from typing import NamedTuple


class Vector(NamedTuple):
    what: str
    request: str
    reply: str | None


VECTORS = [
    Vector("PV", "01 03 00 01 00 01 D5 CA", "01 03 02 07 2A 3B AB"),
    Vector("PV, function 4", "01 04 00 01 00 01 60 0A", "01 04 02 07 2A 3A DF"),
    Vector("block 1-5", "01 03 00 01 00 05 D4 09", "01 03 0A 07 2A 09 C4 01 45 01 45 09 C4 EC 5F"),
    Vector(
        "block 1-35",
        "01 03 00 01 00 23 55 D3",
        "01 03 46 07 2A 09 C4 01 45 01 45 09 C4 02 58 00 00 01 2C 00 0A 80 00 F8 30 35 98 30 D4 00 00 00 00 00 00 "
        "00 00 00 00 00 0A 80 00 00 00 80 00 00 00 09 C4 03 E8 00 00 00 00 00 00 80 00 03 E8 00 00 80 00 80 00 "
        "00 00 00 00 AE 87",
    ),
    Vector("status", "01 03 00 4B 00 01 F4 1C", "01 03 02 00 10 B9 88"),
    Vector("status and complement", "01 03 00 4B 00 02 B4 1D", "01 03 04 00 10 FF EF FB 8A"),
    Vector("fast status", "01 07 41 E2", "01 07 10 23 FC"),
    Vector("loop-back", "01 08 00 00 12 34 ED 7C", "01 08 00 00 12 34 ED 7C"),
    Vector("firmware", "01 03 00 6B 00 01 F5 D6", "01 03 02 02 13 F8 E9"),
    Vector("type", "01 03 00 7A 00 01 A5 D3", "01 03 02 32 16 2C EA"),
    Vector("decimals", "01 03 02 0D 00 01 14 71", "01 03 02 00 01 79 84"),
    Vector("timer status", "01 03 00 17 00 01 34 0E", "01 03 02 00 00 B8 44"),
    Vector("auto/manual", "01 03 01 11 00 01 D5 F3", "01 03 02 00 01 79 84"),
    Vector("SP1, function 6", "01 06 00 18 0A 28 0F 73", "01 06 00 18 0A 28 0F 73"),
    Vector("SP1, function 16", "01 10 00 18 00 01 02 0A 28 A3 36", "01 10 00 18 00 01 81 CE"),
    Vector("SP1 and SP2", "01 10 00 18 00 02 04 09 C4 03 E8 B1 DA", "01 10 00 18 00 02 C1 CF"),
    Vector("manual output", "01 06 00 03 01 90 78 36", "01 06 00 03 01 90 78 36"),
    Vector("select automatic", "01 06 01 11 00 00 D8 33", "01 06 01 11 00 00 D8 33"),
    Vector("select manual", "01 06 01 11 00 01 19 F3", "01 06 01 11 00 01 19 F3"),
    Vector("select remote", "01 06 01 14 00 01 09 F2", "01 06 01 14 00 01 09 F2"),
    Vector("remote setpoint", "01 06 00 1A 0D 02 2D 5C", "01 06 00 1A 0D 02 2D 5C"),
    Vector("select local", "01 06 01 14 00 00 C8 32", "01 06 01 14 00 00 C8 32"),
    Vector("timer run", "01 06 00 17 00 01 F8 0E", "01 06 00 17 00 01 F8 0E"),
    Vector("timer hold", "01 06 00 17 00 02 B8 0F", "01 06 00 17 00 02 B8 0F"),
    Vector("timer reset", "01 06 00 17 00 00 39 CE", "01 06 00 17 00 00 39 CE"),
    Vector("PV as float", "01 03 80 02 00 02 4C 0B", "01 03 04 43 37 66 66 F5 F3"),
    Vector("write SP1 as float", "01 10 80 30 00 02 04 43 7A 40 00 94 E0", "01 10 80 30 00 02 68 07"),
    Vector("read SP1 as float", "01 03 80 30 00 02 ED C4", "01 03 04 43 7A 40 00 FF AE"),
    Vector("write dwell as milliseconds", "01 10 82 88 00 02 04 00 01 D4 C0 8C 5F", "01 10 82 88 00 02 E9 9A"),
    Vector("read dwell as milliseconds", "01 03 82 88 00 02 6C 59", "01 03 04 00 01 D4 C0 F4 A3"),
    Vector("read dwell as minutes", "01 03 01 44 00 01 C5 E3", "01 03 02 00 02 39 85"),
    Vector("firmware in the IEEE area", "01 03 80 D6 00 02 0C 33", "01 03 04 02 13 80 00 6B 8E"),
    Vector("acknowledge", "01 06 01 12 00 01 E9 F3", "01 06 01 12 00 01 E9 F3"),
    Vector("power-failed flag after it", "01 03 00 57 00 01 35 DA", "01 03 02 00 00 B8 44"),
    Vector("write what is read-only", "01 06 00 4B 00 01 38 1C", "01 86 03 02 61"),
    Vector("write nothing, function 6", "01 06 00 0A 00 01 68 08", "01 86 02 C3 A1"),
    Vector("write nothing, function 16", "01 10 00 0A 00 01 02 00 01 67 3A", "01 10 00 0A 00 01 21 CB"),
    Vector("function 6 in the IEEE area", "01 06 80 30 09 C4 A7 C6", "01 86 02 C3 A1"),
    Vector("setpoint above its limit", "01 06 00 18 32 C8 1D 3B", "01 86 03 02 61"),
    Vector("126 words", "01 03 00 01 00 7E 94 2A", "01 83 03 01 31"),
    Vector("broadcast", "00 06 00 18 09 C4 0F DF", None),
    Vector("foreign unit", "02 03 00 01 00 01 D5 F9", None),
    Vector("wrong CRC", "01 03 00 01 00 01 D5 CB", None),
    Vector("unknown function", "01 2B 0E 01 00 70 77", None),
]

FIVE_FLOATS = Vector(
    "five floats",
    "01 03 80 02 00 0A 4D CD",
    "01 03 14 43 37 66 66 43 7A 00 00 42 02 00 00 42 02 00 00 43 7A 00 00 CC D5",
)
RATE = Vector("rate limit 5.00", "01 03 00 23 00 01 75 C0", "01 03 02 01 F4 B8 53")
NEGATIVE = Vector("PV -12.4", "01 03 00 01 00 01 D5 CA", "01 03 02 FF 84 F9 D7")
SENSOR_BREAK = Vector("status in sensor break", "01 03 00 4B 00 01 F4 1C", "01 03 02 00 30 B8 50")
POWER_FAILED = Vector("power-failed flag", "01 03 00 57 00 01 35 DA", "01 03 02 00 80 B9 E4")
NO_DECIMALS = Vector("PV 183.42 without decimals", "01 03 00 01 00 01 D5 CA", "01 03 02 00 B7 F8 32")
TWO_DECIMALS = Vector("PV 183.42 with two", "01 03 00 01 00 01 D5 CA", "01 03 02 47 A6 0B CE")

PUBLISHED = [
    Vector("2 words, integers", "02 03 00 01 00 02 95 F8", "02 03 04 00 12 00 16 E8 F8"),
    Vector("2 words, full resolution", "02 03 00 01 00 02 95 F8", "02 03 04 00 B2 00 D8 69 4E"),
    Vector("one word", "02 06 00 02 00 FA A8 7A", "02 06 00 02 00 FA A8 7A"),
    Vector("three words", "02 10 00 A4 00 03 06 00 7B 00 96 00 FA 20 71", "02 10 00 A4 00 03 C1 D8"),
    Vector("fast status", "02 07 41 12", "02 07 30 D2 24"),
    Vector("loop-back", "02 08 00 00 12 34 ED 4F", "02 08 00 00 12 34 ED 4F"),
    Vector("bits", "13 01 00 02 00 0E 1F 7C", "13 01 02 01 01 C1 AF"),
    Vector("one bit", "02 05 00 02 01 00 6D A9", "02 05 00 02 01 00 6D A9"),
]

BAD_REPLIES = [
    Vector("wrong CRC", "01 03 00 01 00 01 D5 CA", "01 03 02 07 2A 3B F1"),
    Vector("truncated", "01 03 00 01 00 01 D5 CA", "01 03 02 07"),
    Vector("another unit", "01 03 00 01 00 01 D5 CA", "02 03 02 07 2A 7F AB"),
    Vector("another function", "01 03 00 01 00 01 D5 CA", "01 04 02 07 2A 3A DF"),
    Vector("wrong byte count", "01 03 00 01 00 01 D5 CA", "01 03 04 07 2A DB AA"),
]
STRAY_BYTE = Vector("a stray byte first", "01 03 00 01 00 01 D5 CA", "00 01 03 02 07 2A 3B AB")
ECHO = Vector("an echo first", "01 03 00 01 00 01 D5 CA", "01 03 00 01 00 01 D5 CA 01 03 02 07 2A 3B AB")
BUSY = Vector("busy", "01 03 00 01 00 01 D5 CA", "01 83 06 C1 32")
FAILURE = Vector("failure", "01 03 00 01 00 01 D5 CA", "01 83 04 40 F3")
