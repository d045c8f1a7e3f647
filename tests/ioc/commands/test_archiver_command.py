"""What ``labioc archive`` and ``labioc history`` make of a site file."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from archiver.points.series import Series
from ioc.cli import main
from ioc.commands.archive import archived, archiver_config, ioc_addresses, shard_number
from ioc.site.archiver_pvs import archiver_pvs
from ioc.site.config import Site, SiteError, parse_site
from ioc.site.expansion import expand

DEVICE = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}


def site(**archiver: object) -> Site:
    return parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE], "archiver": archiver})


def test_the_schema_of_existing_boards_is_kept() -> None:
    one = site(directory="/x")
    pvs = {pv.name: pv for pv in archived(one, archiver_config(one, Path()))}
    schema = archiver_config(one, Path()).schema
    starts = {
        "VMON": "VMON", "VSET:RBV": "VSET", "ISET:RBV": "ISET", "IMON": "IMON", "TRIPTIME:RBV": "TRIP", "STAT": "STAT",
        "STAT:ON": "IS_ON", "STAT:INTLCK": "IS_INTLCK", "TRIP": "TRIPPED", "VSET": "VSET_DEMAND",
    }  # fmt: skip
    for suffix, field in starts.items():
        start = Series(pvs[f"LAB:HV1:CH02:{suffix}"], schema).start
        assert start == f"DT5533E,channel=2,device=HV1 {field}="


def test_every_field_of_a_device_is_there_once() -> None:
    one = site()
    pvs = archiver_pvs(one, expand(one))
    places = [(pv.device, pv.channel, pv.field) for pv in pvs]
    assert len(set(places)) == len(places)
    assert {pv.device_type for pv in pvs if pv.device == "HV1"} == {"caen-dt55xx"}
    assert not next(pv for pv in pvs if pv.name == "LAB:IOC:HEARTBEAT").archive


def test_the_fields_of_a_row_are_those_of_the_predecessor() -> None:
    one = site()
    rows = [pv for pv in archiver_pvs(one, expand(one)) if pv.row_period and pv.channel == "00"]
    flags = "ON UP DOWN OVC OVV UNV MAXV TRIP MAXPW TWARN OVT KILL INTLCK".split()  # noqa: SIM905
    expected = {"VSET", "VMON", "ISET", "IMON", "TRIP", "STAT", *(f"IS_{flag}" for flag in flags)}
    assert {pv.field for pv in rows} - {"IS_CALERR"} == expected
    assert {pv.row_period for pv in rows} == {1.0}


@pytest.mark.parametrize(
    ("server", "env", "expected"),
    [
        ({}, {}, ()),
        ({"port": 5064}, {}, ()),
        ({"port": 5070}, {"EPICS_CA_SERVER_PORT": "5070"}, ()),
        ({"port": 5070}, {}, ("127.0.0.1:5070",)),
        ({}, {"EPICS_CA_SERVER_PORT": "5070"}, ("127.0.0.1:5064",)),
        ({"interfaces": ["127.0.0.1"]}, {}, ("127.0.0.1:5064",)),
        ({"interfaces": ["0.0.0.0"], "port": 5070}, {}, ("127.0.0.1:5070",)),
        ({"interfaces": ["10.1.2.3"], "port": 5070}, {}, ("10.1.2.3:5070",)),
        ({"interfaces": ["10.1.2.3"]}, {}, ()),
    ],
)
def test_the_ioc_of_the_site_is_searched_where_it_listens(
    server: dict[str, object], env: dict[str, str], expected: tuple[str, ...]
) -> None:
    one = parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE], "server": server})
    assert ioc_addresses(one, env) == expected


def test_shards_keep_apart() -> None:
    one = site(directory="/x")
    config = archiver_config(one, Path("/base"), 2, 3)
    assert (config.directory, config.prefix) == (Path("/x/shard-2-of-3"), "LAB:SHARD2")
    assert archiver_config(site(directory="y"), Path("/base")).directory == Path("/base/y")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="K/N"):
        shard_number(text)
    assert shard_number("3/3") == (3, 3)


def test_mistakes_in_the_section_are_reported_with_their_place() -> None:
    bad = {
        "directory": "x",
        "influxdb": [{"url": "h:8086", "version": 4}, {"url": "http://h", "version": 3, "database": "d"}],
        "statu": "x:1",
        "status": "9161",
        "measurements": {"caen": "x"},
    }
    with pytest.raises(SiteError) as error:
        site(**bad)
    text = "\n".join(error.value.errors)
    for key in ("influxdb[0].url", "influxdb[0].version", "influxdb[1].token", "statu", "status", "measurements"):
        assert f"archiver.{key}" in text
    with pytest.raises(SiteError, match="no PV of the site matches LAB:X:"):
        archived(site(pvs=["LAB:X:*"]), archiver_config(site(pvs=["LAB:X:*"]), Path()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", "http://user:secret@h:8086"),
        ("url", "http://h:99999"),
        ("url", "http://h:8086/?p=secret"),
        ("url", "http://"),
        ("url", "http://h\n"),
        ("token", "secret\n"),
        ("token", "\u201csecret\u201d"),
        ("status", "127.0.0.1:70000"),
    ],
)
def test_what_would_end_in_a_traceback_or_show_a_password_is_refused(key: str, value: str) -> None:
    server = {"url": "http://h:8086", "version": 3, "database": "d", "token": "t"}
    section: dict[str, object] = {"status": value} if key == "status" else {"influxdb": [{**server, key: value}]}
    with pytest.raises(SiteError, match=key):
        site(**section)


@pytest.mark.parametrize(
    "url", ["http://h", "https://influx.example.org/x/y", "http://[::1]:8086", "http://10.0.0.1:65535/"]
)
def test_addresses_of_servers_are_taken(url: str) -> None:
    one = site(influxdb=[{"url": url, "version": 1, "database": "d"}])
    assert archiver_config(one, Path()).servers[0].url == url


def test_commands_say_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[site]\nprefix = "LAB"\n[archiver]\ndirectory = "log"\npvs = ["X"]\n')
    assert main(["archive", str(path), "status"]) == 1
    assert "no bridge on" in capsys.readouterr().err
    assert main(["history", "LAB:X", "--site", str(path)]) == 1
    assert "nothing has been archived" in capsys.readouterr().err
    assert main(["history", "LAB:X", "--site", str(path), "--influxdb"]) == 2
    assert "no server to read from" in capsys.readouterr().err
    assert main(["history", "LAB:X", "--influxdb"]) == 2
    assert "needs --site" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ([], "history: name a PV, or --events"),
        (["--site", "site.toml"], "history: name a PV, or --events"),
        (["site.toml"], "history: site.toml is no PV; a site file is named with --site site.toml"),
        (["site.toml", "--events"], "history: site.toml is no PV; a site file is named with --site site.toml"),
        (["--influxdb", "LAB:X"], "history: --influxdb needs --site, which names the server"),
        (["--events"], "history: --events needs --site or --directory, which say whose events"),
    ],
)
def test_history_with_arguments_that_do_not_suffice_says_what_to_type(
    words: list[str], mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", *words]) == 2
    assert capsys.readouterr().err == f"labioc: the arguments cannot be used\n  {mistake}\n"


def test_the_log_of_a_pv_is_found_by_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "labioc/archive/LAB_A").mkdir(parents=True)
    (tmp_path / "labioc/archive/LAB").mkdir(parents=True)
    assert main(["history", "LAB:A:HV1:VMON"]) == 1
    assert "archive/LAB_A" in capsys.readouterr().err
    assert main(["history", "LAB:HV1:VMON"]) == 1
    assert "archive/LAB\n" in capsys.readouterr().err
