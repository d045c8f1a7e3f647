"""Every format: the same bytes each time, the index, and what is asked of alarm trees, sets, plots and lists."""

from __future__ import annotations

import importlib
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from ioc.cli import main
from ioc.database.dbfile import DatabaseError
from ioc.export.alarm import alarms
from ioc.export.formats import FORMATS, everything, files_of
from ioc.export.plant import Plant
from ioc.site.config import parse_site, shares
from tests.ioc.export import plants
from tests.ioc.export.bobs import Walk

PV = re.compile(r"\bLAB:[A-Z0-9_:]*[A-Z0-9_]")


@pytest.fixture(scope="module")
def plant() -> Plant:
    return plants.plant()


@pytest.fixture(scope="module")
def files(plant: Plant) -> dict[str, str]:
    return everything(plant)


def test_the_same_site_gives_the_same_bytes(files: dict[str, str]) -> None:
    assert everything(plants.plant()) == files


def test_each_format_is_written_by_a_program_that_writes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FORMATS:
        for module in [module for module in sys.modules if module.startswith("ioc.export")]:
            monkeypatch.delitem(sys.modules, module)
        assert importlib.import_module(f"ioc.export.{name}").write


def test_the_index_links_to_every_file(files: dict[str, str]) -> None:
    linked = set(re.findall(r'href="([^"]+)"', files["index.html"]))
    assert linked == files.keys() - {"index.html"}
    assert all(f"<h2>{name}</h2>" in files["index.html"] for name in FORMATS)


def test_another_device_is_in_every_format(plant: Plant, files: dict[str, str]) -> None:
    for name in FORMATS.keys() - {"grafana", "compose"}:  # dashboards have variables
        text = "".join(text for path, text in files.items() if path.startswith(f"{name}/"))
        for device in plant.devices:
            assert device.name in text, name


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"phoebus", "grafana", "systemd", "compose"}))
def test_no_format_names_a_pv_that_is_not_served(name: str, plant: Plant, files: dict[str, str]) -> None:
    named = {pv for path, text in files.items() if path.startswith(f"{name}/") for pv in PV.findall(text)}
    assert named
    assert named <= plant.records.keys()


def test_every_format_takes_a_site_with_groups_interlocks_and_an_archiver() -> None:
    head = f"""{plants.HEAD}
[[archiver.influxdb]]
name = "main"
url = "http://127.0.0.1:8086"
version = 1
database = "lab"
[[group]]
name = "CALO"
members = ["CALO1:*"]
[[interlock]]
name = "HOT"
condition = "FURN1:TEMP < 80 C"
action = "off"
group = "CALO"
"""
    shown = everything(plants.plant(head))
    assert {path.partition("/")[0] for path in shown} >= FORMATS.keys()
    for path in ("alarm/alarms.xml", "alh/", "zabbix/labioc_pvs.txt", "pvlist/pvs.md", "phoebus/overview.bob"):
        text = "".join(text for name, text in shown.items() if name.startswith(path))
        assert "ILK:HOT:OK" in text, path
        assert "GRP:CALO:" in text, path


# ---- alarm trees


@pytest.fixture(scope="module")
def tree(files: dict[str, str]) -> dict[str, ET.Element]:
    root = ET.fromstring(files["alarm/alarms.xml"])
    assert (root.tag, root.get("name")) == ("config", "LAB")
    names = [pv.get("name", "") for pv in root.iter("pv")]
    assert len(set(names)) == len(names)
    return {pv.get("name", ""): pv for pv in root.iter("pv")}


def rule(pv: ET.Element) -> tuple[str | None, ...]:
    return tuple(pv.findtext(tag) for tag in ("latching", "annunciating", "delay", "filter"))


def test_one_cause_is_one_spoken_alarm(tree: dict[str, ET.Element]) -> None:
    assert rule(tree["LAB:IOC:HEARTBEAT"]) == ("true", "true", "10", None)
    for device in ("HV1", "HV2", "ISEG1", "ISEG4", "FURN1", "FURN2"):
        assert rule(tree[f"LAB:{device}:COMM"]) == ("true", "true", "5", "'LAB:IOC:HEARTBEAT' >= 0")
    for name in ("HV1:CH00:TRIP", "ISEG4:CH15:TRIP", "HV2:BD:ILK", "ISEG2:MOD:SUPPLYOK", "ISEG2:MOD:SAFELOOP"):
        assert rule(tree[f"LAB:{name}"]) == ("true", "true", "5", f"'LAB:{name.partition(':')[0]}:COMM' == 1")
    assert rule(tree["LAB:GRP:ALL:MSG"]) == ("true", "true", "5", "'LAB:IOC:HEARTBEAT' >= 0")
    for name in ("HV1:CH00:STATE", "IOC:LAG", "IOC:ARMED", "FURN1:SLOPE"):
        assert rule(tree[f"LAB:{name}"])[:2] == ("false", "false")


def test_what_is_spoken_names_device_channel_and_alias(tree: dict[str, ET.Element]) -> None:
    assert tree["LAB:IOC:HEARTBEAT"].findtext("description") == "labioc is not running"
    assert tree["LAB:HV1:CH00:TRIP"].findtext("description") == "HV1 channel 0, CALO1:PMT07: tripped"
    assert tree["LAB:ISEG4:CH15:TRIP"].findtext("description") == "ISEG4 channel 15: tripped"
    assert tree["LAB:FURN2:COMM"].findtext("description") == "FURN2: no answer"


def test_each_alarm_has_guidance_and_a_trip_the_command_that_acknowledges_it(tree: dict[str, ET.Element]) -> None:
    for name, pv in tree.items():
        assert pv.findtext("guidance/details"), name
    assert tree["LAB:HV1:CH03:TRIP"].findtext("command/details") == "caput LAB:HV1:CH03:TRIP:ACK:CMD 1"
    assert tree["LAB:HV1:CH03:STATE"].find("command") is None


def test_displays_of_the_tree_open_screens_with_the_macros_they_need(files: dict[str, str]) -> None:
    walk = Walk({path.removeprefix("phoebus/"): text for path, text in files.items() if path.startswith("phoebus/")})
    links = [element.findtext("details", "") for element in ET.fromstring(files["alarm/alarms.xml"]).iter("display")]
    assert len(links) == 1 + 8 + 2 * 4 + 4 * 16
    for link in links:
        assert link.startswith("file:$(TOP)/")
        parts = urlsplit(link.removeprefix("file:$(TOP)/"))
        walk.open(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))


def test_the_tree_goes_down_from_areas_to_channels_with_pvs_before_components(files: dict[str, str]) -> None:
    root = ET.fromstring(files["alarm/alarms.xml"])
    assert [area.get("name") for area in root] == ["Server", "High voltage", "Furnaces"]
    trip = root.find("component[@name='High voltage']/component[@name='HV1']/component[@name='CH00']/pv")
    assert trip is not None
    for component in root.iter("component"):
        tags = [child.tag for child in component if child.tag in {"pv", "component"}]
        assert tags == sorted(tags, reverse=True)


def test_several_servers_of_a_site_each_watch_over_their_own_devices() -> None:
    site = parse_site(plants.tomllib.loads(plants.site_file()))
    names = [device.name for device in site.devices]
    found = {alarm.pv: alarm for alarm in alarms(Plant.build(shares(site, [names[:2], names[2:]])))}
    assert found["LAB:HV1:COMM"].filter == "'LAB:IOC_HV1:HEARTBEAT' >= 0"
    assert found["LAB:FURN1:COMM"].filter == "'LAB:IOC_ISEG1:HEARTBEAT' >= 0"
    assert {"LAB:IOC_HV1:HEARTBEAT", "LAB:IOC_ISEG1:HEARTBEAT"} <= found.keys()
    assert found["LAB:GRP:ALL_ISEG1:MSG"].filter == "'LAB:IOC_ISEG1:HEARTBEAT' >= 0"


def test_a_tag_that_cannot_be_read_is_named(plant: Plant) -> None:
    record = plant.records["LAB:IOC:LAG"]
    record.info["alarm"] = "loud"
    try:
        with pytest.raises(DatabaseError, match="LAB:IOC:LAG: info alarm: found 'loud', allowed: "):
            list(alarms(plant))
    finally:
        record.info["alarm"] = "shown: the server is slow"


def test_alh_has_the_same_alarms_in_one_tree(files: dict[str, str], tree: dict[str, ET.Element]) -> None:
    groups: set[str] = set()
    channels = {}
    for line in files["alh/LAB.alhConfig"].splitlines():
        words = line.split()
        if line.startswith("GROUP"):
            _, parent, name = words  # no blanks in names
            assert parent in groups or (parent == "NULL" and not groups), "parents come first, one has none"
            assert name not in groups
            groups.add(name)
        elif line.startswith("CHANNEL"):
            _, parent, name, mask = words
            assert parent in groups
            channels[name] = mask
    assert channels.keys() == tree.keys()
    assert {channels["LAB:HV1:CH00:TRIP"], channels["LAB:HV1:CH00:STATE"]} == {"-----", "--AT-"}
    text = files["alh/LAB.alhConfig"]
    assert text.count("$GUIDANCE") == text.count("$END") == len(channels)
    block = text.partition("CHANNEL LAB-High_voltage-HV1-CH00 LAB:HV1:CH00:TRIP")[2].partition("CHANNEL")[0]
    assert "$FORCEPV LAB:HV1:COMM -D--- 0 1" in block
    assert "$ALARMCOUNTFILTER 1 5" in block


# ---- plots, sets, lists


def test_plots_are_those_of_the_data_browser(plant: Plant, files: dict[str, str]) -> None:
    for device in plant.devices:
        root = ET.fromstring(files[f"plt/{device.name}.plt"])
        assert root.tag == "databrowser"
        axes = len(root.findall("axes/axis"))
        for pv in root.findall("pvlist/pv"):
            assert 0 <= int(pv.findtext("axis", "")) < axes
            assert pv.findtext("name") in plant.records
    names = [pv.findtext("name") for pv in ET.fromstring(files["plt/HV1.plt"]).iter("pv")]
    assert names == [f"LAB:HV1:CH{n:02d}:{what}" for what in ("VMON", "IMON") for n in range(4)]
    assert "CALO1:PMT07 VMON" in files["plt/HV1.plt"]


def test_sets_hold_settings_alone_limits_before_values(plant: Plant, files: dict[str, str]) -> None:
    settings = {}
    for path, text in files.items():
        if path.startswith("saveset/"):
            lines = text.splitlines()
            assert lines[0] == "# SaveSet name:"
            assert lines[1] == f"# {path.removeprefix('saveset/').removesuffix('.csv')}".replace("-", " ", 1)
            assert lines[6] == "PV,READBACK,READ_ONLY"
            for line in lines[7:]:
                name, readback, readonly = line.split(",")
                assert readonly == "0"
                assert readback == "" or readback in plant.records
                settings[name] = path[-12:-11], readback
    assert settings["LAB:HV1:CH00:MAXV"] == ("1", "LAB:HV1:CH00:MAXV:RBV")
    assert settings["LAB:HV1:CH00:VSET"] == ("2", "LAB:HV1:CH00:VSET:RBV")
    assert settings["LAB:FURN1:TSET"][0] == "2"
    forbidden = re.compile(r":(ON|ARMED|DISABLE|GO|MODE|TUNE|OPMODE|.*CMD)$")
    assert not [name for name in settings if forbidden.search(name)]


def test_the_appliance_gets_what_has_the_archive_tag(plant: Plant, files: dict[str, str]) -> None:
    entries = json.loads(files["archappl/pvs.json"])
    assert [entry["pv"] for entry in entries] == files["archappl/pvs.txt"].split()
    assert {entry["pv"] for entry in entries} == {n for n, r in plant.records.items() if "archive" in r.info}
    policy: dict[str, Any] = {}
    exec(compile(files["archappl/policies.py"], "policies.py", "exec"), policy)
    chosen = policy["determinePolicy"]({"RTYP": "ai", "pvName": "LAB:HV1:CH00:VMON"})
    assert chosen["policyName"] in policy["getPolicyList"]()
    assert chosen["samplingMethod"] == "MONITOR"
    assert len(chosen["dataStores"]) == 3


def test_the_list_names_every_pv_with_its_aliases(plant: Plant, files: dict[str, str]) -> None:
    text = files["pvlist/pvs.md"]
    assert all(f"`{name}`" in text for name in [*plant.records, *plant.aliases])


# ---- the command


def test_the_command_writes_one_format_or_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.toml"
    site.write_text(plants.site_file())
    assert main(["export", "alarm", str(site), "-o", str(tmp_path / "one")]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["alarms.xml"]
    assert main(["export", "all", str(site), "-o", str(tmp_path / "all")]) == 0
    written = {str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*") if path.is_file()}
    assert written == everything(plants.plant()).keys()
    assert f"{len(written)} files in " in capsys.readouterr().out
    assert main(["export", "all", str(tmp_path / "none.toml"), "-o", str(tmp_path / "no")]) == 2
    assert not (tmp_path / "no").exists()


def test_files_of_one_format_are_those_of_all(plant: Plant, files: dict[str, str]) -> None:
    for name in FORMATS:
        assert (
            files_of(name, plant).items()
            <= {
                path.removeprefix(f"{name}/"): text for path, text in files.items() if path.startswith(f"{name}/")
            }.items()
        )
