"""Settings of the bridge: which PVs, which servers, which shard."""

from dataclasses import replace
from pathlib import Path

import pytest

from archiver.config import ArchiverConfig, ConfigError, PvSpec, Schema, default_directory, read_config, select, shard
from tests.archiver.schemas import MEASUREMENTS, SCHEMA

OWN = [
    PvSpec("LAB:HV1:CH00:VMON", "HV1", "caen-dt55xx", "00", "VMON", "monitor 0.5", "ai"),
    PvSpec("LAB:HV1:CH01:VMON", "HV1", "caen-dt55xx", "01", "VMON", "monitor 0.5", "ai"),
    PvSpec("LAB:IOC:HEARTBEAT", "IOC", "", "", "HEARTBEAT", "", "longin"),
]


def test_an_empty_section_is_the_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    config = read_config({}, "LAB:A", measurements=MEASUREMENTS)
    expected = ArchiverConfig("LAB:A", Path("/state/labioc/archive/LAB_A"), schema=SCHEMA)
    assert config == replace(expected, archive_http=("127.0.0.1", 8812))
    assert config.schema.measurement(OWN[0]) == "DT5533E"
    assert default_directory("LAB") == Path("/state/labioc/archive/LAB")


def test_a_full_section_is_read(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("# of the magnet\nMAG:I monitor 0.1  # ampere\n\nMAG:V\n")
    section = {
        "directory": "spool",
        "max_gigabytes": 2,
        "max_days": 7,
        "measurement_per_type": False,
        "measurements": {"caen-dt55xx": "HV"},
        "pvs": ["LAB:IOC:*"],
        "lists": ["other.txt"],
        "addresses": ["10.0.0.1"],
        "status": "0.0.0.0:9161",
        "port": 5070,
        "influxdb": [
            {"url": "http://h:8086", "version": 1, "database": "lab"},
            {"url": "https://h/x", "version": 2, "org": "o", "bucket": "b c", "token": "t", "downsample": ["1m"]},
            {"name": "vm", "url": "http://h:8428", "version": "line", "gzip": False},
        ],
    }
    config = read_config(section, "LAB", tmp_path)
    assert config.directory == tmp_path / "spool"
    assert (config.max_bytes, config.max_age) == (2_000_000_000, 7 * 86400)
    assert config.schema.per_pv
    assert config.schema.measurements["caen-dt55xx"] == "HV"
    assert config.entries == ("LAB:IOC:*", "MAG:I monitor 0.1", "MAG:V")
    assert (config.status, config.port, config.addresses) == (("0.0.0.0", 9161), 5070, ("10.0.0.1",))
    assert [server.name for server in config.servers] == ["h_8086_lab", "h_https_b_c", "vm"]
    assert config.servers[1].downsample == ("1m",)


def test_servers_of_one_name_and_lists_that_are_not_there_are_reported(tmp_path: Path) -> None:
    server = {"url": "http://h:8086", "version": 1, "database": "lab"}
    with pytest.raises(ConfigError) as error:
        read_config({"influxdb": [server, server], "lists": ["none.txt"]}, "LAB", tmp_path)
    assert "two servers are called h_8086_lab" in error.value.errors[0]
    assert "none.txt cannot be read" in error.value.errors[1]


def test_tags_entries_and_wildcards_choose() -> None:
    assert [pv.name for pv in select(OWN, [])] == ["LAB:HV1:CH00:VMON", "LAB:HV1:CH01:VMON"]
    chosen = {pv.name: pv for pv in select(OWN, ["LAB:*:VMON monitor 2", "LAB:IOC:HEARTBEAT", "MAG:I monitor 1%", "X"])}
    assert chosen["LAB:HV1:CH01:VMON"].archive == "monitor 2"
    assert chosen["LAB:HV1:CH01:VMON"].field == "VMON"
    assert chosen["LAB:IOC:HEARTBEAT"].archive == "monitor"
    assert chosen["MAG:I"] == PvSpec("MAG:I", archive="monitor 1%")
    assert chosen["X"] == PvSpec("X")


def test_entries_that_make_no_sense_are_all_reported() -> None:
    with pytest.raises(ConfigError) as error:
        select(OWN, ["LAB:NONE:*", "MAG:I sometimes", "MAG:V monitor much"])
    assert len(error.value.errors) == 3
    assert "no PV of the site matches LAB:NONE:*" in error.value.errors[0]


def test_shards_are_the_whole_without_overlap_and_the_same_everywhere() -> None:
    pvs = [PvSpec(f"LAB:HV{n}:CH{n % 24:02d}:VMON") for n in range(2000)]
    shards = [shard(pvs, number, 3) for number in (1, 2, 3)]
    assert sorted(pv.name for part in shards for pv in part) == sorted(pv.name for pv in pvs)
    assert all(500 < len(part) < 850 for part in shards)
    assert [pv.name for pv in shard(pvs[:10], 1, 3)] == [pv.name for pv in pvs[:10] if pv in shards[0]]
    assert shard([PvSpec("LAB:HV1:CH00:VMON")], 1, 2) == []
    assert shard(pvs, 1, 1) == pvs


def test_measurements_of_types_and_pvs() -> None:
    assert Schema().measurement(PvSpec("A", "D", "unknown-type")) == "unknown-type"
    assert Schema().measurement(PvSpec("A")) == "EPICS"
    assert Schema(per_pv=True).measurement(OWN[0]) == "LAB:HV1:CH00:VMON"
