"""The text of a site file: byte order marks, TOML errors with their line, and the line of each key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.site.source import SourceError, key_lines, read_source

TEXT = '''# comment
site = { prefix = "LAB" }
[server]
interfaces = [
  "127.0.0.1",  # key = in a comment
]
text = """
key = 1
"""
[[device]]
name = "HV1"
limits.VSET = [0, 1]
[device.channel.0]
alias = "A"
[[device]]
"na me" = 'x'
[device.channel."1"]
alias = "B"
'''


def test_keys_are_found_where_they_stand():
    assert key_lines(TEXT) == {
        ("site",): 2,
        ("server",): 3,
        ("server", "interfaces"): 4,
        ("server", "text"): 7,
        ("device", 0): 10,
        ("device", 0, "name"): 11,
        ("device", 0, "limits", "VSET"): 12,
        ("device", 0, "channel", "0"): 13,
        ("device", 0, "channel", "0", "alias"): 14,
        ("device", 1): 15,
        ("device", 1, "na me"): 16,
        ("device", 1, "channel", "1"): 17,
        ("device", 1, "channel", "1", "alias"): 18,
    }


def test_the_line_of_what_has_none_is_that_around_it(tmp_path: Path):
    (tmp_path / "a.toml").write_text(TEXT)
    source = read_source(tmp_path / "a.toml")
    assert source.where(("site", "prefix")) == (2, 'site = { prefix = "LAB" }')
    assert source.where(("device", 1, "address")) == (15, "[[device]]")
    assert source.where(("nothing",))[0] == 1


def test_a_byte_order_mark_is_accepted(tmp_path: Path):
    path = tmp_path / "bom.toml"
    path.write_bytes(b'\xef\xbb\xbf[site]\r\nprefix = "LAB"\r\n')
    assert read_source(path).data == {"site": {"prefix": "LAB"}}


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ('[site]\nprefix = "LAB\n', "2: column 14: ", 'prefix = "LAB'),
        ('[site]\nprefix "LAB"\nx = 1\n', "2: column 8: ", 'prefix "LAB"'),
        ("[site]\na = 1\na = 2\n", "3: column 6: ", "a = 2"),
    ],
)
def test_syntax_errors_show_file_line_and_text(tmp_path: Path, text: str, place: str, line: str):
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_source(path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{path}:{place}")
    assert second.strip() == line


def _paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(data, dict):
        return [path, *(p for key, value in data.items() for p in _paths(value, (*path, key)))]
    if isinstance(data, list):
        return [path, *(p for at, value in enumerate(data) for p in _paths(value, (*path, at)))]
    return [path]


LINES = st.sampled_from(
    [
        "[a]",
        "[[d]]",
        "[d.x]",
        "k = 1",
        'k2 = "#"',
        "l = [",
        "]",
        '"q" = {z = 2}',
        "# c",
        "",
        "m.n = 3",
        's = """',
        '"""',
    ]
)


@given(st.lists(LINES, max_size=12))
def test_every_key_that_is_found_is_one_of_the_file(lines: list[str]):
    text = "\n".join(lines)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(key_lines(text)) <= set(_paths(data))
