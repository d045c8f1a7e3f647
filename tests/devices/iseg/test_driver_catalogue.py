"""The catalogue of signals of an Iseg module against its items and its records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devices.iseg.catalogue import CHANGED_BY_EVENTS, CHANNEL, CHANNEL_SETTINGS, MODULE, SETTINGS
from devices.iseg.driver import IsegDriver
from devices.iseg.edcp.items import BY_NAME, Scope
from devices.model import DeviceSettings, Kind
from ioc.database.support import CHANNEL_SIGNALS, STATUS_SIGNALS
from ioc.site.config import load_site
from ioc.site.expansion import expand
from ioc.site.templates import family_records

ROWS = {**CHANNEL, **MODULE}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_every_quantity_is_sound(row):
    assert re.fullmatch(r"[A-Z][A-Z0-9]*(\.[A-Z0-9]+)*", row.name)
    assert bool(row.labels) == (row.kind is Kind.ENUM)
    assert row.kind is not Kind.FLOAT or row.unit
    for item in row.items:
        scope = BY_NAME[item].scope
        assert scope is (Scope.MODULE if row.name in MODULE else Scope.CHANNEL)
    if row.settable and not row.name.endswith(".CMD"):
        assert f"{row.name}.RBV" in ROWS


def test_every_setting_can_be_written_on_the_wire():
    for setting in SETTINGS.values():
        assert BY_NAME[setting.item].settable or setting.suffix == "MOD.KILLEN", setting.suffix
        assert BY_NAME[setting.item].readable


def test_the_records_and_the_signals_are_the_same_set():
    of_device, of_channel = family_records("iseg-edcp")
    assert {suffix.replace(":", ".") for suffix in of_channel} == set(CHANNEL) | CHANNEL_SIGNALS
    assert {suffix.replace(":", ".") for suffix in of_device} == set(MODULE) | set(STATUS_SIGNALS)
    for suffix, record in {**of_device, **of_channel}.items():
        row = ROWS.get(suffix.replace(":", "."))
        if row is None:
            continue
        kinds = {
            Kind.FLOAT: ("ai", "ao"),
            Kind.INT: ("longin", "longout"),
            Kind.TEXT: ("stringin", "stringout"),
            Kind.ENUM: ("bi", "bo") if len(row.labels) == 2 else ("mbbi", "mbbo"),
        }
        assert record.rtyp == kinds[row.kind][row.settable], suffix
        assert record.fields.get("EGU", "") == row.unit, suffix
        if len(row.labels) == 2:
            assert (record.fields["ZNAM"], record.fields["ONAM"]) == row.labels or suffix == "CLR:CMD", suffix


def test_a_module_has_every_signal_of_the_common_channel():
    signals = IsegDriver(DeviceSettings("ISEG1", "iseg-edcp", channels=16)).signals()
    assert len(signals) == len(MODULE) + 16 * len(CHANNEL)
    assert signals["CH15.VSET"].settable
    assert {"STAT.TRIP", "EVT.TRIP", "TRIP", "STATE", "ON.RBV"} <= set(CHANGED_BY_EVENTS)
    assert len(CHANNEL_SETTINGS) == 7


def test_the_example_is_a_good_site_file():
    site = load_site(Path(__file__).resolve().parents[3] / "examples" / "iseg.toml")
    first, second = site.devices
    assert first.bus == second.bus == {"interface": "socketcan", "channel": "can0", "bitrate": 125000}
    assert first.limits["MOD.RAMPV"] == (0.01, 5.0)
    assert (second.options["module"], second.options["setpoints"]) == (4, "auto")
    assert "LAB:ISEG3:CH15:STAT:TRIP" in expand(site).records
