"""The catalogue of signals of a CAEN supply against the lists of the manuals."""

from __future__ import annotations

import re

import pytest

from devices.caen.catalogue import (
    BOARD,
    CHANNEL,
    CHANNEL_SETTINGS,
    CONSTANTS,
    SETTINGS,
    STATUS_BITS,
)
from devices.caen.protocol import ChannelStatus
from devices.model import Kind, Level
from tests.devices.caen.bench import bench

ROWS = {**CHANNEL, **BOARD}

# Every parameter of the manuals' tables, except ON, OFF and BDCLR, which carry no value.
SETTABLE = {"VSET", "ISET", "MAXV", "RUP", "RDW", "TRIP", "PDWN", "IMRANGE", "ZCADJ", "ZCDTC"}
MONITORED = {"VMON", "IMON", "STAT", "POL"}
LIMITS = {
    "VMIN", "VMAX", "VSRES", "VSDEC", "VDEC", "VMRES", "VMDEC", "IMIN", "IMAX", "IMAXH", "IMAXL", "ISRES",
    "ISDEC", "IMDEC", "IMRESL", "IMRESH", "IMDECL", "IMDECH", "MVMIN", "MVMAX", "MVDEC", "MVRES", "RUPMIN",
    "RUPMAX", "RUPDEC", "RDWMIN", "RDWMAX", "RDWDEC", "RUPRES", "RDWRES", "TRIPMIN", "TRIPMAX", "TRIPDEC",
    "TRIPRES",
}  # fmt: skip
OF_BOARD = {
    "BDNAME", "BDNCH", "BDFREL", "BDSNUM", "BDILK", "BDALARM", "BDILKM", "BDCTR", "BDTERM", "MACADDR",
    "IPADDR", "SUBMASK", "GATEWAY", "DHCPEN",
}  # fmt: skip


def test_every_parameter_of_the_manuals_is_read():
    assert {row.wire for row in CHANNEL.values() if row.wire} == SETTABLE | MONITORED
    assert CONSTANTS == LIMITS
    assert {row.wire for row in BOARD.values() if row.wire} == OF_BOARD


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_every_quantity_is_sound(row):
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(\.[A-Z0-9]+)*", row.name)
    assert bool(row.labels) == (row.kind is Kind.ENUM)
    assert not row.words or len(row.words) == len(row.labels)
    assert row.kind is not Kind.FLOAT or row.unit
    if row.settable and not row.name.endswith(".CMD"):
        assert f"{row.name}.RBV" in ROWS
    if row.settable and row.kind is Kind.FLOAT:
        assert SETTINGS[row.name].low
        assert SETTINGS[row.name].high


@pytest.mark.parametrize("row", CHANNEL.values(), ids=CHANNEL.keys())
async def test_every_signal_of_a_channel_has_a_reading_after_what_it_needs_was_asked_for(row):
    rig = bench()
    await rig.driver.connect()
    connected = len(rig.link.log)
    found = await rig.driver.read([f"CH02.{row.name}"])
    reading = found[f"CH02.{row.name}"]
    asked = {line.rpartition("PAR:")[2] for line in rig.sent(connected)}
    assert reading.value is not None
    assert reading.level is not Level.INVALID
    assert asked >= {*row.needs, *row.context, *row.constants}
    assert asked or row.name.endswith(".CMD")


def test_status_bits_are_those_of_the_protocol():
    assert [ChannelStatus[name] for name in STATUS_BITS] == list(ChannelStatus)


def test_signal_names_are_unique_and_grow_with_the_channels():
    assert len(bench(channels=2).driver.signals()) == len(BOARD) + 2 * len(CHANNEL)
    assert bench(channels=12).driver.signals()["CH11.VSET"].unit == "V"
    assert not {row.name for row in CHANNEL_SETTINGS} & {"ON"}
