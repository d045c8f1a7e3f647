"""What clients tune at run time: kept on disk, and in force again after a restart."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devices.rules import state_file
from ioc.automation.recovery import Recoveries
from ioc.clock import local_time
from ioc.database.dbfile import RecordDef
from ioc.puts import PutPath
from ioc.records import PutContext, PutRefused, Record, RecordSet, fields_of
from ioc.scan.device_records import DeviceStatus
from ioc.services.journal import Entry
from ioc.services.state import StateStore, is_kept, state_folder
from ioc.services.statistics import IocStatistics
from ioc.site.config import Site, SiteError, only, parse_site
from ioc.site.expansion import expand
from tests.ioc.fakes import EPOCH, FakeClock, FakeDriver

VMON = "LAB:HV1:CH00:VMON"
NOW = local_time(EPOCH)
DEVICE: dict[str, Any] = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23", "channels": 2}


def site(hihi: float | None = 1500, names: tuple[str, ...] = ("HV1",), **keys: Any) -> Site:
    alarms = {} if hihi is None else {"alarms": {"VMON": {"HIHI": hihi}}}
    return parse_site(
        {
            "site": {"prefix": "LAB"},
            "device": [
                DEVICE | {"name": name, "address": f"tcp://{name.lower()}:23"} | alarms | keys for name in names
            ],
        }
    )


def file(folder: Path) -> Path:
    return folder / "LAB-state.json"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def saved(folder: Path, section: str = "HV1") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file(folder).read_text())[section]
    return found


def keep(folder: Path, entries: object, section: str = "HV1") -> None:
    file(folder).write_text(json.dumps({section: entries}))


def put(record: Record, field: str, value: float | str, user: str = "ann") -> None:
    spec = fields_of(record.rtyp)[field]
    converted = record.convert(spec, value.encode() if isinstance(value, str) else value)
    record.put_by(spec, converted, PutContext(user, "desk", ("10.0.0.7", 1)))


@asynccontextmanager
async def started(folder: Path | None, of: Site) -> AsyncIterator[RecordSet]:
    """Make the records of a site with what is kept of them, as a server does at start, and end as it does."""
    records, clock = RecordSet.build(expand(of).records.values()), FakeClock()
    store = StateStore(of, records, folder, clock)
    store.start()
    puts = PutPath({}, IocStatistics([], clock, {}), clock)
    puts.notes.on_applied = store.note
    for record in records.values():
        puts.attach(record)
    yield records
    await store.close()


async def test_what_a_client_puts_is_there_after_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450.5)
        put(records[VMON], "HHSV", 1)
        put(records["LAB:IOC:LAG"], "HIGH", 300)
    assert saved(tmp_path)[f"{VMON}.HIHI"] == {
        "value": "1450.5",
        "site": "1500",
        "when": NOW,
        "by": "ann@desk",
    }
    assert saved(tmp_path, "IOC").keys() == {"LAB:IOC:LAG.HIGH"}
    assert f"{VMON}.HIHI: 1500 -> 1450.5 by ann@desk" in caplog.text
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1450.5
        assert records[VMON].get("HHSV") == 1
        assert records["LAB:HV1:CH01:VMON"].get("HIHI") == 1500
        assert records["LAB:IOC:LAG"].get("HIGH") == 300
    assert f"{VMON}.HIHI 1500 from the site file, 1450.5 as tuned on {NOW} by ann@desk is in force" in caplog.messages


@pytest.mark.parametrize("field", ["HIHI", "HIGH", "LOW", "LOLO", "HHSV", "HSV", "LSV", "LLSV", "HYST"])
@pytest.mark.parametrize("name", [VMON, "LAB:HV1:CH00:VSET", "LAB:HV1:BD:ALARM"])
async def test_each_threshold_of_each_kind_of_number_is_kept(tmp_path: Path, name: str, field: str) -> None:
    async with started(tmp_path, site()) as records:
        before = records[name].get(field)
        put(records[name], field, 3)
        assert records[name].get(field) != before
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == 3


@pytest.mark.parametrize(
    ("name", "field", "value", "usual"),
    [
        (VMON, "ADEL", 2.5, "0.5"),
        (VMON, "MDEL", 7, "0"),
        (VMON, "HOPR", 4000, "0"),
        (VMON, "SCAN", "10 second", "1 second"),
        (VMON, "DISP", 1, "0"),
        (VMON, "DISS", "MAJOR", "NO_ALARM"),
        (VMON, "DESC", "Voltage of the first tube", "Measured voltage"),
        ("LAB:HV1:CH00:TRIP", "OSV", "MINOR", "MAJOR"),
        ("LAB:HV1:CH00:STATE", "FRSV", "MAJOR", "MINOR"),
    ],
)
async def test_whatever_field_a_client_may_change_is_kept(
    tmp_path: Path, name: str, field: str, value: float | str, usual: str
) -> None:
    async with started(tmp_path, site()) as records:
        put(records[name], field, value)
        tuned = records[name].get(field)
    assert saved(tmp_path)[f"{name}.{field}"]["site"] == usual
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == tuned


@pytest.mark.parametrize(
    ("name", "field"),
    [("LAB:HV1:BD:ALARM", "LOW"), ("LAB:HV1:CH00:REC:TRIES", "HYST"), (VMON, "PREC"), (VMON, "LOW")],
)
async def test_a_number_below_0_is_kept(tmp_path: Path, name: str, field: str) -> None:
    async with started(tmp_path, site()) as records:
        put(records[name], field, -5)
    async with started(tmp_path, site()) as records:
        assert records[name].get(field) == -5


async def test_a_text_in_another_encoding_is_kept_and_disturbs_no_later_put(tmp_path: Path) -> None:
    desc, text = fields_of("ai")["DESC"], b"Resistance in k\xd9"
    async with started(tmp_path, site()) as records:
        for name in (VMON, "LAB:HV1:CH01:VMON"):
            records[name].put_by(desc, records[name].convert(desc, text), PutContext("ann", "desk", ("10.0.0.7", 1)))
        put(records[VMON], "HIHI", 1450)
    async with started(tmp_path, site()) as records:
        assert str(records[VMON].get("DESC")).encode("utf-8", "surrogateescape") == text
        assert records[VMON].get("HIHI") == 1450


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("DISA", 1), ("DISV", 0), ("UDF", 0), ("UDFS", "NO_ALARM"), ("FLNK", "LAB:HV1:CH01:VMON"), ("PROC", 1),
        ("ASG", "EXPERT"),
    ],
)  # fmt: skip
async def test_what_lasts_a_moment_is_not_kept(tmp_path: Path, field: str, value: float | str) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], field, value)
    assert names_in(tmp_path) == []


async def test_a_display_range_that_a_client_chose_wins_over_that_of_the_device(tmp_path: Path) -> None:
    name = "LAB:HV1:CH00:VSET"
    async with started(tmp_path, site()) as records:
        put(records[name], "HOPR", 700)
        put(records[name], "PREC", 3)
    async with started(tmp_path, site()) as records:
        records[name].set_drive_limits(0, 3000)
        records[name].set_precision(1)
        assert (records[name].get("HOPR"), records[name].get("PREC"), records[name].get("DRVH")) == (700, 3, 3000)
        put(records[name], "HOPR", 0)
        records[name].set_drive_limits(0, 2000)
        assert records[name].get("HOPR") == 2000


async def test_what_the_server_or_the_driver_sets_is_not_a_tuning(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        records[VMON].post(2000.0, 1.0)
        records[VMON].set_precision(2)
        records["LAB:HV1:CH00:VSET"].set_drive_limits(0, 100)
    assert names_in(tmp_path) == []


async def test_a_refused_put_is_not_kept(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "DISP", 1)
        with pytest.raises(PutRefused):
            put(records[VMON], "HIHI", 1)
    assert saved(tmp_path).keys() == {f"{VMON}.DISP"}


async def test_the_value_of_the_site_file_put_again_ends_the_tuning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
        put(records[VMON], "HIHI", 1500)
    assert saved(tmp_path) == {}
    assert f"{VMON}.HIHI: 1450 -> 1500, as in the site file, by ann@desk" in caplog.text


async def test_when_the_site_file_has_changed_since_it_wins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
        put(records[VMON], "HIGH", 1400)
    async with started(tmp_path, site(1600)) as records:
        assert records[VMON].get("HIHI") == 1600
        assert records[VMON].get("HIGH") == 1400, "the site file says nothing else about this one"
    assert (
        f"{VMON}.HIHI 1600 from the site file, where it was 1500 before: the 1450 that ann@desk tuned it to on "
        f"{NOW} is dropped" in caplog.messages
    )
    assert saved(tmp_path).keys() == {f"{VMON}.HIGH"}


async def test_a_server_that_does_not_start_changes_nothing(tmp_path: Path) -> None:
    async with started(tmp_path, site()) as records:
        put(records[VMON], "HIHI", 1450)
    before = file(tmp_path).read_text()
    other = RecordSet.build(expand(site(1600)).records.values())
    await StateStore(site(1600), other, tmp_path, FakeClock()).close()
    assert file(tmp_path).read_text() == before
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1450


async def test_an_equal_value_written_in_another_way_is_no_change(tmp_path: Path) -> None:
    async with started(tmp_path, site(1500)) as records:
        put(records[VMON], "HIHI", 1450)
    async with started(tmp_path, site(1500.0)) as records:
        assert records[VMON].get("HIHI") == 1450


async def test_what_is_not_served_now_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    whole = site(names=("HV1", "HV2"))
    async with started(tmp_path, whole) as records:
        put(records["LAB:HV1:CH01:VMON"], "HIHI", 1400)
        put(records["LAB:HV2:CH01:VMON"], "HIHI", 1450)
    async with started(tmp_path, only(site(names=("HV1", "HV2"), channels=1), ["HV1"])) as records:
        put(records[VMON], "HIHI", 1300)
    assert "LAB:HV1:CH01:VMON.HIHI: not served, its tuned value 1400 stays in the file" in caplog.text
    async with started(tmp_path, whole) as records:
        found = [records[name].get("HIHI") for name in (VMON, "LAB:HV1:CH01:VMON", "LAB:HV2:CH01:VMON")]
        assert found == [1300, 1400, 1450]


async def test_two_servers_of_one_site_do_not_disturb_each_other(tmp_path: Path) -> None:
    whole = site(names=("HV1", "HV2"))
    async with started(tmp_path, only(whole, ["HV1"])) as first, started(tmp_path, only(whole, ["HV2"])) as second:
        put(first[VMON], "HIHI", 1)
        put(second["LAB:HV2:CH00:VMON"], "HIHI", 2)
        put(first["LAB:IOC_HV1:LAG"], "HIHI", 3)
        put(second["LAB:IOC_HV2:LAG"], "HIHI", 4)
    assert names_in(tmp_path) == ["LAB-state.json"]
    found = json.loads(file(tmp_path).read_text())
    assert {section: len(entries) for section, entries in found.items()} == dict.fromkeys(
        ["HV1", "HV2", "IOC_HV1", "IOC_HV2"], 1
    )


async def test_what_was_tuned_on_a_simulator_does_not_get_to_the_real_device(tmp_path: Path) -> None:
    async with started(tmp_path, site(simulated=True)) as records:
        put(records[VMON], "HIHI", 1)
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1500
    async with started(tmp_path, site(simulated=True)) as records:
        assert records[VMON].get("HIHI") == 1


@pytest.mark.parametrize("text", ["{", "[]", "\x00\x00", '"' + "x" * 3])
async def test_a_file_that_cannot_be_read_is_put_aside_and_the_server_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    file(tmp_path).write_text(text)
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1500
        put(records[VMON], "HIHI", 1450)
    assert file(tmp_path).with_suffix(".bad").read_text() == text
    assert [entry.levelname for entry in caplog.records if "cannot be read" in entry.message] == ["ERROR"]
    assert saved(tmp_path).keys() == {f"{VMON}.HIHI"}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        7,
        {"value": "1"},
        {"value": "x", "site": "1500", "when": "", "by": ""},
        {"value": 1, "site": "1500", "when": "", "by": ""},
        {"value": "1", "site": "high", "when": "", "by": ""},
    ],
)
async def test_an_entry_that_makes_no_sense_is_reported_and_the_others_hold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: object
) -> None:
    good = {"value": "1400", "site": "0", "when": "2026-11-21 07:00:00", "by": "ann@desk"}
    keep(tmp_path, {f"{VMON}.HIHI": entry, f"{VMON}.HIGH": good})
    async with started(tmp_path, site()) as records:
        assert records[VMON].get("HIHI") == 1500
        assert records[VMON].get("HIGH") == 1400
    assert f"{VMON}.HIHI: the entry cannot be used: " in caplog.text


@pytest.mark.parametrize(
    "key",
    [
        *(f"{VMON}{field}" for field in ("", ".VAL", ".NONE", ".DISA", ".SEVR", ".INP", ".")),
        "LAB:HV1:CH00:VSET", "LAB:HV1:CH00:VSET.VAL", "LAB:HV1:CH00:VSET.DRVH", "LAB:HV1:CH00:ON",
        "LAB:HV1:CH00:ON.VAL", "LAB:HV1:CH00:CLR:CMD", "",
    ],
)  # fmt: skip
async def test_a_file_can_change_no_output_and_nothing_that_a_client_may_not(tmp_path: Path, key: str) -> None:
    entry = {"value": "1", "site": "0", "when": "2026-11-21 07:00:00", "by": "ann@desk"}
    keep(tmp_path, {key: entry})
    async with started(None, site()) as untouched:
        pass
    async with started(tmp_path, site()) as records:
        for name, record in records.items():
            assert record.udf == untouched[name].udf
            for spec in fields_of(record.rtyp).values():
                if spec.implemented and spec.dbf != "NOACCESS":
                    assert record.get(spec.name) == untouched[name].get(spec.name), (name, spec.name)
    assert saved(tmp_path) == {key: entry}


async def test_no_value_of_a_record_with_a_device_behind_it_is_kept_whoever_puts(tmp_path: Path) -> None:
    records = RecordSet.build(expand(site()).records.values())
    store = StateStore(site(), records, tmp_path, FakeClock())
    for name, record in records.items():
        if not isinstance(record.val, tuple):
            record.post(record.val, EPOCH)
        for pv in (name, f"{name}.VAL"):
            store.note(Entry(EPOCH, pv, "ann", "desk", "10.0.0.7", "0", "1"))
    store.note(Entry(EPOCH, "LAB:OTHER:GROUP", "ann", "desk", "10.0.0.7", "0", "1"))
    kept = [name for name, record in records.items() if is_kept(record, fields_of(record.rtyp)["VAL"])]
    own = [name for name in records if name.endswith((":ARMED", ":ACCESS", ":DISABLE", ":REC:TRIES"))]
    assert kept == own, "settings of the server itself"
    await store.close()
    assert names_in(tmp_path) == [], "both are as in the template"


async def test_the_file_of_earlier_releases_is_taken_over(tmp_path: Path) -> None:
    entry = {"value": "1450", "site": "1500", "when": "2026-11-21 07:00:00", "by": "ann@desk"}
    old = [tmp_path / f"LAB.{name}-tuned.json" for name in ("HV1", "IOC")]
    old[0].write_text(json.dumps({f"{VMON}.HIHI": entry}))
    old[1].write_text(json.dumps({"LAB:IOC:LAG.HIGH": entry | {"site": "250"}}))
    async with started(tmp_path, site()) as records:
        assert (records[VMON].get("HIHI"), records["LAB:IOC:LAG"].get("HIGH")) == (1450, 1450)
    assert names_in(tmp_path) == ["LAB-state.json"]
    async with started(tmp_path, site()) as records:
        assert (records[VMON].get("HIHI"), records["LAB:IOC:LAG"].get("HIGH")) == (1450, 1450)


@pytest.mark.parametrize("keys", [set(), {"ARMED"}, {"DISABLE"}, {"ARMED", "DISABLE"}])
async def test_a_server_that_was_disarmed_and_a_device_that_was_disabled_stay_so(
    tmp_path: Path, keys: set[str]
) -> None:
    names = {"ARMED": ("IOC", "LAB:IOC:ARMED", "DISARMED", "ARMED"),
             "DISABLE": ("HV1", "LAB:HV1:DISABLE", "DISABLED", "ENABLED")}  # fmt: skip
    found: dict[str, Any] = {}
    for section, name, value, usual in (names[key] for key in sorted(keys)):
        found[section] = {name: {"value": value, "site": usual, "when": "2026-11-21 07:00:00", "by": "ann@desk"}}
    file(tmp_path).write_text(json.dumps(found))
    of, clock = site(), FakeClock()
    records = RecordSet.build(expand(of).records.values())
    StateStore(of, records, tmp_path, clock)
    own = [record for record in records.values() if record.device == "IOC"]
    assert IocStatistics(own, clock, {}).armed == ("ARMED" not in keys)
    driver = FakeDriver(clock, {})
    mine = [record for record in records.values() if record.name == "LAB:HV1:DISABLE"]
    assert DeviceStatus(driver, mine, clock).disabled == ("DISABLE" in keys)


async def test_a_folder_that_cannot_be_written_is_reported_once_and_nothing_else_happens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    async with started(tmp_path / "file", site()) as records:
        put(records[VMON], "HIHI", 1450)
        assert records[VMON].get("HIHI") == 1450
    assert "cannot be written" in caplog.text


async def test_the_disk_is_not_waited_for_and_a_burst_is_few_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, writes = threading.Event(), []
    replace = os.replace

    def slow(old: Path, new: Path) -> None:
        writes.append(new)
        assert go.wait(10)
        replace(old, new)

    monkeypatch.setattr(state_file.os, "replace", slow)
    async with started(tmp_path, site(channels=50)) as records:
        for number in range(50):
            put(records[f"LAB:HV1:CH{number:02d}:VMON"], "HIHI", 1450 + number)
        go.set()
    assert len(writes) <= 2
    assert len(saved(tmp_path)) == 50


def test_the_folder_is_that_of_the_site_file_or_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib")
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:23"}
    data: dict[str, Any] = {"site": {"prefix": "LAB"}, "device": [device]}
    assert state_folder(parse_site(data)) == Path("/var/lib/labioc")
    assert state_folder(parse_site(data | {"server": {"state_dir": "/srv/hv"}})) == Path("/srv/hv")
    with pytest.raises(SiteError, match=r'server.state_dir: found "hv", allowed: .*absolute'):
        parse_site(data | {"server": {"state_dir": "hv"}})


async def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with started(None, site()) as records:
        put(records[VMON], "HIHI", 1450)
    assert names_in(tmp_path) == []


async def test_the_value_of_a_setting_of_the_server_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def records() -> RecordSet:
        fields = {"DRVL": "0", "DRVH": "10"}
        return RecordSet.build([RecordDef("LAB:HV1:CH00:REC:TRIES", "longout", fields, {"keep": "3"}, (), "x", 1, {})])

    first = records()
    store = StateStore(site(), first, tmp_path, FakeClock())
    name, record = next(iter(first.items()))
    record.put(fields_of("longout")["VAL"], 5)
    store.note(Entry(EPOCH, f"{name}.VAL", "ann", "desk", "10.0.0.7", "3", "5"))
    await store.close()
    assert saved(tmp_path)[name] == {"value": "5", "site": "3", "when": NOW, "by": "ann@desk"}
    second = records()
    StateStore(site(), second, tmp_path, FakeClock())
    assert (second[name].val, second[name].udf) == (5, False)
    keep(tmp_path, {name: saved(tmp_path)[name] | {"value": "11"}})
    third = records()
    StateStore(site(), third, tmp_path, FakeClock())
    assert third[name].val == 3
    assert f"{name}: the entry cannot be used: 11 is outside 0 .. 10; it is left as it is" in caplog.text


@pytest.mark.parametrize(("tries", "in_force"), [(4, 2), (3, 3)])
async def test_the_attempts_of_a_recovery_are_kept_until_the_site_file_says_otherwise(
    tmp_path: Path, tries: int, in_force: int
) -> None:
    of = parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE],
                     "recovery": {"channels": ["HV1:CH00"], "tries": tries}})  # fmt: skip
    names = [f"LAB:HV1:CH{number:02d}:REC:TRIES" for number in range(2)]
    entry = {"value": "2", "site": "4", "when": "2026-11-21 07:00:00", "by": "ann@desk"}
    keep(tmp_path, {names[0]: entry})
    async with started(tmp_path, of) as records:
        clock = FakeClock()
        Recoveries(of, records, PutPath({}, IocStatistics([], clock, {}), clock), clock)
        assert [records[name].val for name in names] == [in_force, 1]
        assert records["LAB:HV1:CH00:REC:MODE"].val == 0, "never armed by a restart"
