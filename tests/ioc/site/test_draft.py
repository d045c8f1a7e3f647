"""The first site file that is made of what was found."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from devices.discovery import Found
from devices.registry import FAMILIES
from ioc.site.config import SiteError, parse_site
from ioc.site.draft import NewDevice, draft, free_name

SUPPLY = Found(
    text='DT5533E "new", serial 00123',
    keys={"address": "tcp://192.168.1.5:23", "channels": 2, "serial": "00123", "limits": {"VSET": (0.0, 4000.0)}},
    remarks={"serial": "another unit is an alarm", "limits": "V"},
    hints=(("[device.channel.0]", ""), ('alias = "CALO:PMT07"', "a second name")),
)
CHANNELS = Found(
    text="N1470",
    keys={"address": "tcp://192.168.1.6:1470", "channel": {"1": {"limits": {"VSET": (0.0, 1500.5)}}}},
)
ADAPTERS = [{"interface": "socketcan", "channel": name} for name in ("can0", "can1")]
MODULES = [
    Found(text=f"module 3 on {adapter['channel']}", keys={"can": "main", "module": 3}, number=3, adapter=adapter)
    for adapter in ADAPTERS
]


def test_GIVEN_devices_WHEN_drafted_THEN_the_file_is_good_and_says_what_comes_from_them() -> None:
    devices = [
        NewDevice("HV1", "caen-dt55xx", SUPPLY),
        NewDevice("HV2", "caen-dt55xx", CHANNELS),
        NewDevice("ISEG3", "iseg-edcp", MODULES[0]),
        NewDevice("ISEG1", "iseg-edcp", MODULES[1]),
    ]
    text = draft("LAB:HALL", devices, "lab.toml")
    site = parse_site(tomllib.loads(text))
    assert [device.name for device in site.devices] == ["HV1", "HV2", "ISEG3", "ISEG1"]
    assert all(device.readonly for device in site.devices)
    assert site.devices[0].limits == {"VSET": (0.0, 4000.0)}
    assert site.devices[1].channel_limits[1] == {"VSET": (0.0, 1500.5)}
    assert [device.bus for device in site.devices[2:]] == ADAPTERS
    assert "labioc check lab.toml" in text
    assert '# DT5533E "new", serial 00123\n' in text
    assert 'serial = "00123"                                # another unit is an alarm\n' in text


def test_GIVEN_the_hints_WHEN_they_are_taken_in_THEN_the_file_is_good_too() -> None:
    text = draft("LAB", [NewDevice("HV1", "caen-dt55xx", SUPPLY)], "site.toml")
    taken = [line.removeprefix("# ") if "=" in line or line.startswith("# [") else line for line in text.splitlines()]
    site = parse_site(tomllib.loads("\n".join(taken)))
    assert site.tuning["HV1"].aliases == {0: "CALO:PMT07"}
    assert site.engineer == "Anna Weber, 2345"
    assert site.access is not None


def test_GIVEN_the_same_device_twice_WHEN_drafted_THEN_it_is_refused_as_labioc_check_would() -> None:
    with pytest.raises(SiteError, match="HV2"):
        draft("LAB", [NewDevice(name, "caen-dt55xx", SUPPLY) for name in ("HV1", "HV2")], "site.toml")


def test_names_follow_the_address_on_the_wire_where_there_is_one() -> None:
    iseg, caen = FAMILIES["iseg-edcp"], FAMILIES["caen-dt55xx"]
    assert free_name(iseg, 3, []) == "ISEG3"
    assert free_name(iseg, 3, ["ISEG3"]) == "ISEG1"
    assert free_name(caen, None, ["HV1"]) == "HV2"


def test_what_a_device_says_of_itself_is_text_whatever_it_is() -> None:
    odd = replace(SUPPLY, text="DT\x7f\n[server]", keys=dict(SUPPLY.keys) | {"serial": "1\x7f"})
    text = draft("LAB", [NewDevice("HV1", "caen-dt55xx", odd)], "site.toml")
    assert tomllib.loads(text)["device"][0]["serial"] == "1?"
    assert "[server]" not in text.splitlines()
