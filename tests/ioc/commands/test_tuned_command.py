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


def write(folder: Path, entries: object, name: str = "LAB.HV1") -> None:
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / f"{name}-tuned.json").write_text(json.dumps(entries))


def entry(value: str, site: str) -> dict[str, str]:
    return {"value": value, "site": site, "when": "2026-11-21 07:00:00", "by": "ann@desk"}


def test_it_lists_each_limit_with_what_the_site_file_says(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {f"{VMON}.HIHI": entry("1450", "1500"), f"{VMON}.HIGH": entry("7", "9"), f"{VMON}.LOW": 7}
    write(tmp_path, entries | {"LAB:HV1:CH99:VMON.HIHI": entry("1", "2")})
    write(tmp_path, {"LAB:IOC_HV1:LAG.HHSV": entry("MINOR", "MAJOR")}, "LAB.IOC_HV1")
    assert main(["tuned", site]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "limit tuned site file on by",
        f"{VMON}.HIHI 1450 1500 2026-11-21 07:00:00 ann@desk",
        f"{VMON}.HIGH 7 0 2026-11-21 07:00:00 ann@desk dropped at the next start: the site file had 9 then",
        f"{VMON}.LOW cannot be used",
        "LAB:HV1:CH99:VMON.HIHI 1 2026-11-21 07:00:00 ann@desk not served",
    ]
    assert main(["tuned", site, "--only", "HV1"]) == 0
    assert "LAB:IOC_HV1:LAG.HHSV" in capsys.readouterr().out


def test_it_says_so_when_there_is_none(tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tuned", site]) == 0
    assert capsys.readouterr().out == f"no limit is tuned, says {tmp_path / 'state'}\n"


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_file_that_cannot_be_read_is_told_and_left_alone(
    tmp_path: Path, site: str, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    write(tmp_path, {})
    path = tmp_path / "state" / "LAB.HV1-tuned.json"
    path.write_text(text)
    assert main(["tuned", site]) == 1
    assert f"{path} cannot be read" in capsys.readouterr().err
    assert path.read_text() == text
