"""The lines of a log by the windows that their stamps are in, however late they were written."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.log.reader import windows
from archiver.log.segments import SegmentLog

T = 1_795_000_000 * 10**9
BLOCKS = st.lists(st.lists(st.integers(-5, 60), min_size=1, max_size=6), max_size=8)


@settings(max_examples=50)
@given(BLOCKS, st.integers(0, 20), st.integers(0, 45), st.integers(1, 25))
def test_each_line_comes_once_with_its_window(written: list[list[int]], since: int, until: int, width: int) -> None:
    expected: defaultdict[int, list[bytes]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        log = SegmentLog(Path(folder), max_age=1e12, clock=lambda: T + 100)
        for number, stamps in enumerate(written):
            lines = [f"M v={number} {T + stamp}".encode() for stamp in stamps]
            log.append(b"".join(line + b"\n" for line in lines), len(lines))
            log.flush()
            for stamp, line in zip(stamps, lines, strict=True):
                if since <= stamp <= until:
                    expected[T + since + (stamp - since) // width * width].append(line)
        log.close()
        assert dict(windows(Path(folder), T + since, T + until, width)) == expected
