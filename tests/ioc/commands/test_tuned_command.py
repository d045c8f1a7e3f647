"""What ``labioc tuned`` says of the files that servers keep."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ioc.cli import main
from ioc.records import PutContext, fields_of
from tests.fair_time import until
from tests.ioc.commands.test_pv_commands import served

VMON = "LAB:HV1:CH00:VMON"


@pytest.fixture
def site(write_site: Callable[..., str]) -> str:
    return write_site("alarms = { VMON = { HIHI = 1500 } }\n")


def write(folder: Path, **sections: object) -> None:
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / "LAB-state.json").write_text(json.dumps(sections))


def entry(value: str, site: str) -> dict[str, str]:
    return {"value": value, "site": site, "when": "2026-11-21 07:00:00", "by": "ann@desk"}


def test_it_lists_each_limit_with_what_the_site_file_says(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {f"{VMON}.HIHI": entry("1450", "1500"), f"{VMON}.HIGH": entry("7", "9"), f"{VMON}.LOW": 7}
    entries["LAB:HV1:CH99:VMON.HIHI"] = entry("1", "2")
    simulated = {f"{VMON}.HIHI": entry("1", "1500")}
    alone = {"LAB:IOC_HV1:LAG.HHSV": entry("MINOR", "MAJOR")}
    write(tmp_path, HV1=entries, IOC_HV1=alone, **{"HV1-simulated": simulated})
    assert main(["tuned", site]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "PV tuned site file on by",
        f"{VMON}.HIHI 1450 1500 2026-11-21 07:00:00 ann@desk",
        f"{VMON}.HIGH 7 0 2026-11-21 07:00:00 ann@desk dropped at the next start: the site file had 9 then",
        f"{VMON}.LOW cannot be used: it is no entry of value, site, when and by",
        "LAB:HV1:CH99:VMON.HIHI 1 2026-11-21 07:00:00 ann@desk not served",
        "LAB:IOC_HV1:LAG.HHSV MINOR 2026-11-21 07:00:00 ann@desk not served",
        f"{VMON}.HIHI 1 2026-11-21 07:00:00 ann@desk not served",
    ]
    assert main(["tuned", site, "--only", "HV1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[4] == {
        "pv": "LAB:IOC_HV1:LAG.HHSV", "tuned": "MINOR", "site": "MAJOR", "on": "2026-11-21 07:00:00",
        "by": "ann@desk", "note": "",
    }  # fmt: skip


def test_it_says_so_when_there_is_none(tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tuned", site]) == 0
    assert capsys.readouterr().out == f"nothing is tuned, says {tmp_path / 'state' / 'LAB-state.json'}\n"


@pytest.mark.parametrize("text", ["{", "[]", "\x00", '{"HV1": 3}'])
def test_a_file_that_cannot_be_read_is_reported_and_left_alone(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write(tmp_path)
    path = tmp_path / "state" / "LAB-state.json"
    path.write_text(text)
    assert main(["tuned", site]) == 1
    assert f"{path} cannot be read" in capsys.readouterr().err
    assert path.read_text() == text


def test_what_matches_is_reset_in_the_file_while_no_server_runs(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path, HV1={f"{VMON}.HIHI": entry("1450", "1500"), f"{VMON}.LOW": 7}, OTHER={"LAB:X.HIHI": entry("1", "2")}
    )
    assert main(["tuned", site, "--reset", "HV1:*.HIHI"]) == 0
    assert capsys.readouterr().out == f"{VMON}.HIHI: reset\n"
    found = json.loads((tmp_path / "state" / "LAB-state.json").read_text())
    assert found == {"HV1": {f"{VMON}.LOW": 7}, "OTHER": {"LAB:X.HIHI": entry("1", "2")}}
    assert main(["tuned", site, "--reset", "HV1:*.HIHI"]) == 1
    assert "nothing that is tuned matches" in capsys.readouterr().err
    assert main(["tuned", site, "--reset", "*"]) == 0
    assert not any(json.loads((tmp_path / "state" / "LAB-state.json").read_text()).values())


async def test_a_running_server_resets_by_a_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labioc: Any) -> None:
    async with served(tmp_path, monkeypatch) as app:
        site, vmon, armed = str(tmp_path / "site.toml"), app.records[VMON], app.records["LAB:IOC:ARMED"]
        spec = fields_of("ai")["HIHI"]
        vmon.put_by(spec, 1450.0, PutContext("ann", "desk", ("127.0.0.1", 1)))
        await armed.put_device(fields_of("bo")["VAL"], 0, PutContext("ann", "desk", ("127.0.0.1", 1)))
        file = tmp_path / "state" / "LAB-state.json"  # written in the background, once for each of the two
        await until(lambda: file.exists() and armed.name in file.read_text(), 10.0, "both are in the file")
        assert (await labioc("tuned", site, "--reset", "HV1:*", "--reset", "IOC:ARMED")) == (
            0, ["LAB:IOC:ARMED: reset to ARMED", f"{VMON}.HIHI: reset to 0"], []
        )  # fmt: skip
        assert (vmon.get("HIHI"), armed.val) == (0, 1)
    assert await labioc("tuned", site) == (0, [f"nothing is tuned, says {tmp_path / 'state' / 'LAB-state.json'}"], [])
