"""What `check` finds before the server does: sites that would start dead or wrong."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from devices.errors import reason_of
from ioc.cli import main
from ioc.site.check import mistakes

HV: dict[str, Any] = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://hv.lab:23"}
FURNACE: dict[str, Any] = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyX0"}
ISEG: dict[str, Any] = {"name": "ISEG1", "type": "iseg-edcp", "can": "main", "module": 3}


def found(*devices: dict[str, Any], **sections: Any) -> list[str]:
    data = {"site": {"prefix": "LAB"}, "can": {"main": {"interface": "virtual"}}, "device": list(devices)}
    return [str(one) for one in mistakes(data | sections)]


@pytest.mark.parametrize(
    ("devices", "mistake"),
    [
        (
            [FURNACE, FURNACE | {"name": "F2", "unit": 2, "address": "serial:///dev/ttyX0?baudrate=19200"}],
            "device F2.address: found baudrate 19200, but device FURN1 on the same line has 9600",
        ),
        (
            [FURNACE, FURNACE | {"name": "F2", "unit": 2, "address": "serial:///dev/ttyX0?parity=even"}],
            "device F2.address: found parity even, but device FURN1 on the same line has none",
        ),
        (
            [HV | {"address": "serial:///dev/ttyX0"}, FURNACE],
            "device FURN1.address: a connection serves one device, and serial:///dev/ttyX0 is already that of device ",
        ),
        (
            [FURNACE, HV | {"address": "serial:///dev/ttyX0?baudrate=115200"}],
            "device HV1.address: a connection serves one device, and serial:///dev/ttyX0 is already that of device F",
        ),
        (
            [FURNACE | {"safe_temperature": 20, "limits": {"TSET": [100, 1100]}}],
            "device FURN1.safe_temperature: found 20, allowed: 100 to 1100, the limits of TSET",
        ),
        (
            [FURNACE | {"deviation": [20, 5]}],
            "device FURN1.deviation: found [20, 5], allowed: [MINOR, MAJOR], the lower one first",
        ),
        (
            [HV | {"alarms": {"VMON": {"HIGH": 1500, "HIHI": 1400}}}],
            "device HV1.alarms.VMON.HIHI: HIGH 1500 is above HIHI 1400, allowed: LOLO, LOW, HIGH, HIHI in rising order",
        ),
        (
            [HV | {"alarms": {"VMON": {"LOLO": 10, "LOW": 5}}}],
            "device HV1.alarms.VMON.LOW: LOLO 10 is above LOW 5, allowed: LOLO, LOW, HIGH, HIHI in rising order",
        ),
        (
            [HV | {"alarms": {"VMON": {"HIHI": 1400}}, "channel": {"0": {"alarms": {"VMON": {"HIGH": 1500}}}}}],
            "device HV1.channel.0.alarms.VMON.HIGH: HIGH 1500 is above HIHI 1400, allowed: ",
        ),
        ([HV | {"address": "serial:///dev/ttyX0?baudrate=9601"}], "device HV1.address: address 'serial:///dev/ttyX0?"),
        (
            [FURNACE | {"address": "serial:///dev/ttyX0?baudrate=9601"}],
            "device FURN1.address: address 'serial:///dev/tt",
        ),
        ([], "device: missing, allowed: one [[device]] at least"),
        ([FURNACE | {"address": "/dev/ttyUSB0"}], "device FURN1.address: found "),
    ],
)
def test_GIVEN_a_site_that_cannot_work_WHEN_checked_THEN_the_mistake_is_named(
    devices: list[dict[str, Any]], mistake: str
) -> None:
    (text,) = found(*devices)
    assert text.startswith(mistake)


@pytest.mark.parametrize("rate", ["125k", 125.0, True, 0, 5])
def test_GIVEN_a_bit_rate_that_is_none_WHEN_checked_THEN_the_mistake_is_named(rate: object) -> None:
    (text,) = found(ISEG, can={"main": {"interface": "virtual", "bitrate": rate}})
    assert text.startswith(f"can.main.bitrate: found {rate!r}, allowed: bits per second as a whole number")


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("/dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("/dev/serial/by-id/usb-FTDI", "serial:///dev/serial/by-id/usb-FTDI"),
        ("ttyUSB0", "serial:///dev/ttyUSB0"),
        ("192.168.1.50:1470", "tcp://192.168.1.50:1470"),
        ("192.168.1.50", "tcp://192.168.1.50:PORT"),
        ("hv.lab:23", "tcp://hv.lab:23"),
    ],
)
def test_GIVEN_a_bare_address_WHEN_checked_THEN_the_right_one_is_suggested(address: str, meant: str) -> None:
    (text,) = found(HV | {"address": address})
    assert text.endswith(f"; did you mean {meant}?")


def test_GIVEN_limits_in_order_WHEN_checked_THEN_nothing_is_said() -> None:
    alarms = {"VMON": {"LOLO": 1, "LOW": 1, "HIGH": 5, "HIHI": 6}}
    assert found(HV | {"alarms": alarms}, FURNACE | {"deviation": [5, 5], "safe_temperature": 20}, ISEG) == []


def test_GIVEN_no_device_but_PVs_of_others_to_archive_WHEN_checked_THEN_nothing_is_said() -> None:
    assert found(archiver={"pvs": ["OTHER:PV"]}) == []


def write(folder: Path, text: str) -> str:
    path = folder / "site.toml"
    path.write_text(text)
    return str(path)


SITE = '[site]\nprefix = "LAB"\n[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://h:23"\n'


@pytest.mark.parametrize("interface", ["192.0.2.1", "192.0.2.1:5064", "no.such.host.invalid", "127.0.0.1:x", "::1"])
def test_GIVEN_an_interface_of_another_computer_WHEN_checked_THEN_it_is_a_mistake(
    interface: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", write(tmp_path, f'{SITE}[server]\ninterfaces = ["127.0.0.1", "{interface}"]\n')]) == 2
    assert f"server.interfaces[1]: found '{interface}', " in capsys.readouterr().err


def test_GIVEN_json_wanted_WHEN_a_good_site_is_checked_THEN_counts_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SITE)
    assert main(["check", "--json", path]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["file"], printed["good"], printed["devices"]) == (path, True, 1)
    assert printed["pvs"] > 100


def test_GIVEN_json_wanted_WHEN_a_bad_site_is_checked_THEN_mistakes_have_line_key_and_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json", write(tmp_path, SITE + "period = 0.3\n")]) == 2
    printed = json.loads(capsys.readouterr().out)
    assert printed["good"] is False
    assert printed["mistakes"] == [
        {
            "line": 7,
            "key": "device HV1.period",
            "text": "found 0.3, allowed: 0.1, 0.2, 0.5, 1, 2, 5, 10",
            "source": "period = 0.3",
        }
    ]


def test_GIVEN_a_port_that_others_may_use_WHEN_opening_fails_THEN_the_group_is_named(tmp_path: Path) -> None:
    port = tmp_path / "tty"
    port.touch()
    assert os.stat(port).st_mode & stat.S_IRUSR
    reason = reason_of(PermissionError(13, "Permission denied"), str(port))
    assert reason.startswith("permission denied: add the user to group ")
    assert reason_of(PermissionError(13, "Permission denied"), "/no/such/port").endswith("group dialout")
    refused = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
    assert reason_of(refused) == "connection refused: nothing listens there, or it serves another client"
    twice = "[Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed ('127.0.0.1', 1)"
    several = OSError(f"Multiple exceptions: {twice}")
    assert reason_of(several) == reason_of(refused)
    assert reason_of(OSError(113, "Connect call failed ('10.0.0.1', 23)")) == "No route to host"
    assert reason_of(OSError(2, "No such file or directory")) == "No such file or directory"
