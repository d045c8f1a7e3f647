"""The file of what clients tune: read, put aside, taken over, and written behind."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from devices.rules import state_file
from ioc.records import fields_of
from ioc.services.state import state_folder
from ioc.site.config import SiteError, only, parse_site
from tests.ioc.services.state_rig import VMON, file, keep, names_in, put, saved, site, started


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
