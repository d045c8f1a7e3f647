"""Small files that programs keep: what is on the disk, and what becomes of a file that can't be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.rules.state_file import StateFile


async def test_a_file_for_people_has_a_line_for_each_value(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", readable=True)
    file.save({"A": {"value": "1"}})
    await file.flush()
    text = (tmp_path / "state.json").read_text()
    assert text.splitlines() == ["{", '  "A": {', '    "value": "1"', "  }", "}"]
    assert json.loads(text) == {"A": {"value": "1"}}


@pytest.mark.parametrize("text", ["[1, 2]", "null", '"text"', '{"A": ', "\x00"])
async def test_what_is_no_object_is_put_aside_and_not_overwritten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    file = StateFile(path)
    assert await file.load() is None
    file.save({"new": 1})
    await file.flush()
    assert (tmp_path / "state.bad").read_text() == text
    assert f"{path} cannot be read" in caplog.text
    assert await file.load() == {"new": 1}


async def test_what_could_not_be_written_is_written_when_the_disk_is_back(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")  # a file where the folder should be
    file = StateFile(tmp_path / "folder" / "state.json")
    file.save({"n": 1})
    await file.flush()
    file.again()
    await file.flush()
    (tmp_path / "folder").unlink()
    file.again()
    await file.flush()
    assert await file.load() == {"n": 1}
    file.again()  # nothing is left to be written
    await file.flush()
    assert file.writes == 1


async def test_a_file_that_makes_no_sense_to_its_owner_is_put_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"n": "x"}')
    await StateFile(path).put_aside(ValueError("n is no number"))
    await StateFile(None).put_aside(ValueError("n is no number"))
    assert not path.exists()
    assert (tmp_path / "state.bad").read_text() == '{"n": "x"}'
    assert "n is no number" in caplog.text
