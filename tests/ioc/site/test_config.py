"""The site file: what is accepted, and every mistake reported with its key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from devices.links.line import ALLOWED
from devices.model import DeviceSettings
from devices.registry import FAMILIES
from ioc.database.support import PERIODS
from ioc.site.config import Access, ServerSettings, Site, SiteError, load_site, parse_site
from ioc.site.schema import site_schema

ROOT = Path(__file__).resolve().parents[3]

_FAMILIES = ", ".join(f'"{name}"' for name in (*FAMILIES, "caproto"))
_OPTIONS = ", ".join(FAMILIES["caen-dt55xx"].options)
HEAD = '[site]\nprefix = "LAB"\n'
HV = '[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:23"\n'
FURNACE = '[[device]]\nname = "FURN1"\ntype = "eurotherm-3200"\naddress = "serial:///dev/ttyUSB0?baudrate=9600"\n'


def site(text: str) -> Site:
    return parse_site(tomllib.loads(text))


def errors(text: str) -> list[str]:
    with pytest.raises(SiteError) as caught:
        site(text)
    return caught.value.errors


def test_the_example_is_read_in_full():
    example = load_site(ROOT / "examples" / "site.toml")
    first, second, third = example.devices
    assert example.prefix == "LAB"
    assert first == DeviceSettings(
        name="HV1",
        type="caen-dt55xx",
        address="tcp://192.168.197.102:23",
        channels=4,
        period=1.0,
        timeout=1.0,
        limits={"VSET": (0.0, 3000.0), "ISET": (0.0, 1000.0)},
        channel_limits={0: {"VSET": (0.0, 1500.0)}, 1: {}},
        options=first.options,
    )
    assert example.tuning["HV1"].aliases == {0: "CALO:PMT07", 1: "CALO:PMT08"}
    assert example.tuning["HV1"].channel_alarms == {
        0: {"VMON": {"HSV": "MINOR", "HHSV": "MAJOR", "HIGH": "1490", "HIHI": "1500"}}
    }
    assert (second.channels, second.readonly) == (2, True)
    assert example.tuning["HV2"].alarms["MOVING"] == {"OSV": "MINOR"}
    assert (third.timeout, third.options["unit"], third.options["settle"]) == (0.5, 1, 600)
    assert example.archiver["measurement_per_type"] is True
    assert example.access == Access()
    assert example.textserver is None
    assert example.server == ServerSettings()


def test_options_of_the_family_come_with_their_defaults():
    (device,) = site(HEAD + HV + "board = 3\nallow_infinite_trip = true\n").devices
    assert device.options["board"] == 3
    assert device.options["allow_infinite_trip"] is True
    assert device.options["settle"] == 5


def test_server_access_and_can_are_read():
    text = (
        HEAD
        + HV
        + '[server]\ninterfaces = ["127.0.0.1"]\nport = 5070\n[access]\noperators = ["a@b"]\nexperts = ["c"]\n'
    )
    got = site(text + '[can.main]\ninterface = "socketcan"\nchannel = "can0"\nbitrate = 125000\n')
    assert got.server == ServerSettings(("127.0.0.1",), 5070)
    assert got.access == Access(("a@b",), ("c",))
    assert got.can == {"main": {"interface": "socketcan", "channel": "can0", "bitrate": 125000}}


def test_an_empty_access_section_is_as_good_as_none():
    assert site(HEAD + HV + "[access]\n").access == site(HEAD + HV).access


def test_hosts_and_write_of_the_access_section_are_read():
    text = '[access]\nhosts = ["192.168.1.0/24"]\nexperts = []\n'
    assert site(HEAD + HV + text).access == Access(experts=(), hosts=("192.168.1.0/24",))
    assert site(HEAD + HV + '[access]\nwrite = "everybody"\n').access == Access(write="everybody")


def test_thresholds_imply_the_usual_severities_unless_given():
    text = HEAD + HV + 'alarms = { VMON = { LOLO = 1, LOW = 2.5, HIGH = 9.0, LSV = "NO_ALARM", HYST = 1 } }\n'
    assert site(text).tuning["HV1"].alarms["VMON"] == {
        "LLSV": "MAJOR",
        "LSV": "NO_ALARM",
        "HSV": "MINOR",
        "LOLO": "1",
        "LOW": "2.5",
        "HIGH": "9",
        "HYST": "1",
    }


def test_the_identity_follows_the_contents_not_the_layout():
    plain = site(HEAD + HV).identity
    assert len(plain) == 12
    assert site("# comment\n" + HEAD + "\n\n" + HV).identity == plain
    assert site(HEAD + HV + "channels = 3\n").identity != plain


def test_all_mistakes_are_reported_at_once_and_in_order():
    text = """
[site]
prefix = "lab"
[[device]]
name = "HV1"
type = "caen-dt55xx"
adress = "tcp://127.0.0.1:23"
period = 0.3
limits = { VSET = [3000, 0], VSETT = [0, 1] }
[device.channel.7]
alias = "CALO:PMT07"
limits = { VSET = [0, "1500"] }
[device.channel.0]
alarms = { VMON = { HIHI = 1500, OSV = "MAJOR" }, VMOM = { HIHI = 1 } }
[[device]]
name = "HV1"
type = "caen-dt55x"
[[device]]
name = "HV1"
type = "caen-dt55xx"
address = "tcp://127.0.0.1:70000"
timeout = 0
"""
    one, three = "device HV1 (number 1)", "device HV1 (number 3)"
    assert errors(text) == [
        'site.prefix: found "lab", allowed: First part of every PV name: capital letters, digits and _, e.g. LAB',
        f"{one}.address: missing, allowed: {FAMILIES['caen-dt55xx'].address}",
        f"{one}.adress: unknown key, allowed: name, type, address, channels, period, timeout, readonly, "
        f"simulated, limits, alarms, channel, {_OPTIONS}; did you mean address?",
        f"{one}.channel.0.alarms.VMOM: no such signal of caen-dt55xx; did you mean VMON?",
        f"{one}.channel.0.alarms.VMON.OSV: not a field of VMON (ai), allowed: HIHI, HIGH, LOW, LOLO, HYST, "
        "ADEL, MDEL, LLSV, LSV, HSV, HHSV",
        f"{one}.channel.7: found channel 7, allowed: 0 to 3 (channels = 4)",
        f'{one}.channel.7.limits.VSET[1]: found "1500", allowed: a number',
        f"{one}.limits.VSET: found [3000, 0], allowed: [LOWEST, HIGHEST], the lower one first",
        f"{one}.limits.VSETT: no such numeric setting, allowed: VSET, ISET, RAMPUP, RAMPDN, MAXV, TRIPTIME; "
        "did you mean VSET?",
        f"{one}.period: found 0.3, allowed: 0.1, 0.2, 0.5, 1, 2, 5, 10",
        'device HV1 (number 2).name: found "HV1", which is already device number 1',
        f'device HV1 (number 2).type: found "caen-dt55x", allowed: {_FAMILIES}; did you mean caen-dt55xx?',
        f"{three}.address: address 'tcp://127.0.0.1:70000': Port out of range 0-65535; allowed is {ALLOWED}",
        f'{three}.name: found "HV1", which is already device number 1',
        f"{three}.timeout: found 0, allowed: above 0 to 60",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "site: missing"),
        ("site = 3\n", "site: found 3, allowed: a table"),
        (
            HEAD + "[sit]\n",
            "sit: unknown key, allowed: site, server",
        ),
        (HEAD + "port = 5\n", "site.port: unknown key, allowed: prefix"),
        (HEAD + "[server]\nport = 0\n", "server.port: found 0, allowed: from 1 to 65535"),
        (HEAD + "[server]\nport = true\n", "server.port: found true, allowed: a whole number (Channel Access port; "),
        (HEAD + '[access]\nexperts = ["a b"]\n', 'access.experts[0]: found "a b", allowed: USER or USER@HOST'),
        (
            HEAD + '[access]\nhosts = ["192.168.1.7/24"]\n',
            'access.hosts[0]: found "192.168.1.7/24", allowed: an IPv4 address or network, such as '
            '"192.168.1.0/24"; "192.168.1.0/24" is the network of this address',
        ),
        (HEAD + '[access]\nhosts = ["control-room"]\n', "access.hosts[0]: found "),
        (HEAD + '[access]\nwrite = "all"\n', 'access.write: found "all", allowed: '),
        (
            HEAD + '[access]\nwrite = "everybody"\nexperts = ["a"]\n',
            'access.write: found "everybody" beside experts, allowed: one of the two',
        ),
        (
            HEAD + '[access]\nwrite = "local"\nhosts = ["10.0.0.1"]\n',
            'access.write: found "local" beside hosts, allowed: one of the two',
        ),
        (
            HEAD + '[access]\nacf = "site.acf"\nhosts = ["10.0.0.1"]\n',
            'access.acf: found "site.acf" beside hosts, allowed: one of the two',
        ),
        (
            HEAD + "[access]\nclient_ip = true\n",
            "access.client_ip: is for an access security file, and there is no acf",
        ),
        (HEAD + '[access]\nexperts = "a"\n', 'access.experts: found "a", allowed: a list'),
        (HEAD + "[can.main]\nbitrate = 1\n", "can.main.interface: missing"),
        (HEAD + HV + 'can = "main"\n', "device HV1.can: unknown key"),
        (HEAD + HV.replace("HV1", "IOC"), 'device IOC.name: found "IOC", allowed: '),
        (HEAD + HV.replace("HV1", "hv1"), 'device hv1.name: found "hv1", allowed: Capital letters'),
        (HEAD + HV.replace("tcp://127.0.0.1:23", "127.0.0.1"), 'device HV1.address: found "127.0.0.1", allowed: '),
        (
            HEAD + HV.replace("tcp://127.0.0.1:23", "tcp://[::1"),
            "device HV1.address: address 'tcp://[::1': Invalid IPv6 URL; allowed is",
        ),
        (HEAD + HV + "channels = 0\n", "device HV1.channels: found 0, allowed: from 1 to 100"),
        (HEAD + HV + "board = 99\n", "device HV1.board: found 99, allowed: from 0 to 31"),
        (HEAD + HV + "timeout = nan\n", "device HV1.timeout: found nan, allowed: a finite number"),
        (HEAD + HV + "limits = {VSET = [0, inf]}\n", "device HV1.limits.VSET[1]: found inf, allowed: a finite"),
        (HEAD + HV + "limits = {VSET = [0]}\n", "device HV1.limits.VSET: found [0], allowed: [LOWEST, HIGHEST]"),
        (HEAD + HV + "limits = {VMON = [0, 1]}\n", "device HV1.limits.VMON: no such numeric setting, allowed: "),
        (
            HEAD + HV + "[device.channel.x]\n",
            "device HV1.channel.x: unknown key, allowed: channel numbers 0 to 99",
        ),
        (HEAD + HV + "[device.channel.01]\n", "device HV1.channel.01: unknown key, allowed: channel numbers"),
        (
            HEAD + HV + 'alarms = { VMON = { HHSV = "BAD" } }\n',
            'device HV1.alarms.VMON.HHSV: found "BAD", allowed: "NO_ALARM", "MINOR", "MAJOR", "INVALID"',
        ),
        (
            HEAD + HV + "alarms = { STAT = { HIGH = 1.5 } }\n",
            "device HV1.alarms.STAT.HIGH: found 1.5, allowed: a whole number, as STAT is",
        ),
        (
            HEAD + HV + 'alarms = { "PUT:MSG" = { HIGH = 1 } }\n',
            "device HV1.alarms.PUT:MSG.HIGH: not a field of PUT:MSG (lsi), allowed: none, a text has no",
        ),
        (
            HEAD + FURNACE + "alarms = { SP1 = { HIGH = 500 } }\n",
            'device FURN1.alarms.SP1: SP1 is published with detail = "full" only',
        ),
        (
            HEAD + HV + "[device.channel.0]\nalarms = { COMM = { HIHI = 1 } }\n",
            "device HV1.channel.0.alarms.COMM: no such signal of caen-dt55xx",
        ),
        (
            HEAD + HV + '[device.channel.0]\nalias = "A:B"\n[device.channel.1]\nalias = "A:B"\n',
            'device HV1.channel.1.alias: found "A:B", which is already the name of device HV1.channel.0',
        ),
        (
            HEAD + HV + '[device.channel.0]\nalias = "LAB:HV1:CH01"\n',
            'device HV1.channel.0.alias: found "LAB:HV1:CH01", which is already the name of device HV1',
        ),
        (
            HEAD + HV + '[device.channel.0]\nalias = "A23456789:123456789:123456789:123456789:12345678"\n',
            "device HV1.channel.0.alias: found A23456789:123456789:123456789:123456789:12345678:TRIP:ACK:CMD "
            "with 61 characters, allowed: 60",
        ),
        (
            HEAD.replace("LAB", "L" * 39) + HV,
            f"device HV1.name: found {'L' * 39}:HV1:CH00:TRIP:ACK:CMD with 61 characters, allowed: 60",
        ),
        (
            HEAD + '[archiver]\n[[archiver.influxdb]]\nurl = "http://h:1"\nversion = 2\norg = "o"\n',
            "archiver.influxdb[0].bucket: missing",
        ),
    ],
)
def test_mistakes_name_key_found_and_allowed(text: str, error: str):
    assert any(entry.startswith(error) for entry in errors(text)), errors(text)


def test_alarms_of_what_only_full_detail_has_are_accepted_there():
    assert site(HEAD + FURNACE + 'detail = "full"\nalarms = { SP1 = { HIGH = 500 } }\n').devices


def test_the_longest_name_possible_is_accepted():
    assert site(HEAD.replace("LAB", "L" * 38) + HV).prefix == "L" * 38


def test_toml_errors_name_file_line_and_column(tmp_path: Path):
    path = tmp_path / "site.toml"
    path.write_text('[site]\nprefix = "LAB\n')
    with pytest.raises(SiteError) as caught:
        load_site(path)
    (error,) = caught.value.errors
    assert error.startswith(f"{path}:2: column 14: ")
    path.write_text('[site]\nprefix = "LAB')
    with pytest.raises(SiteError) as caught:
        load_site(path)
    assert caught.value.errors[0].startswith(f"{path}:2: column 14: ")


def test_files_that_cannot_be_read_are_reported(tmp_path: Path):
    with pytest.raises(SiteError, match=r"gone\.toml: cannot be read: No such file"):
        load_site(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(SiteError, match=r"latin\.toml:1: byte 2 of the file is not UTF-8"):
        load_site(tmp_path / "latin.toml")


def test_the_schema_is_a_valid_schema_and_describes_its_defaults():
    schema = site_schema()
    Draft202012Validator.check_schema(schema)
    for key, about in schema["$defs"]["caen-dt55xx"]["properties"].items():
        assert key == "type" or "$ref" in about or about.get("description"), key
        if "default" in about:
            Draft202012Validator(about).validate(about["default"])


@pytest.mark.parametrize("period", PERIODS.values())
def test_every_period_is_a_scan_choice(period: float):
    assert site(HEAD + HV + f"period = {period}\n").devices[0].period == period


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["name", "type", "address", "channels", "limits", "alarms", "channel", "period", "board"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.dictionaries(st.sampled_from(["VSET", "0", "alias"]), JSON))
def test_any_contents_are_accepted_or_refused_with_reasons(device: dict[str, Any], inner: dict[str, Any]):
    entry = {"name": "HV1", "type": "caen-dt55xx", **device}
    for key in ("limits", "alarms", "channel"):
        if key in entry:
            entry[key] = inner
    with pytest.raises(SiteError) as caught:
        parse_site({"site": {"prefix": "LAB"}, "device": [entry, device], "can": inner})
    assert all(": " in error for error in caught.value.errors)
