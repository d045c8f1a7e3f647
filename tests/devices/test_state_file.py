"""Small files that programs keep: what is on the disk, and what becomes of a file that can't be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devices.state_file import StateFile


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
