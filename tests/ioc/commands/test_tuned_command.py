"""What ``labioc tuned`` says of the files that servers keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ioc.cli import main

VMON = "LAB:HV1:CH00:VMON"


@pytest.fixture
def site(tmp_path: Path) -> str:
    path = tmp_path / "site.toml"
    path.write_text(
        f'[site]\nprefix = "LAB"\n[server]\nstate_dir = "{tmp_path / "state"}"\n[[device]]\nname = "HV1"\n'
        'type = "caen-dt55xx"\naddress = "tcp://hv1:23"\nalarms = { VMON = { HIHI = 1500 } }\n'
    )
    return str(path)


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
def test_a_file_that_cannot_be_read_is_told_and_left_alone(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write(tmp_path)
    path = tmp_path / "state" / "LAB-state.json"
    path.write_text(text)
    assert main(["tuned", site]) == 1
    assert f"{path} cannot be read" in capsys.readouterr().err
    assert path.read_text() == text
