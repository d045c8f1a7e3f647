"""The durable log after damage: torn and broken blocks, a process killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.log import files
from archiver.log.files import Position
from archiver.log.reader import Reader, lines
from archiver.log.segments import SegmentLog
from tests.archiver.log.segments_bench import put, read_all
from tests.softioc import ROOT


def test_broken_blocks_are_reported_once_and_count_as_lost(
    make_log: Callable[..., SegmentLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(max_bytes=1_000_000)
    put(log, 1)
    put(log, 2, width=70_000)  # the last of its segment
    path = log.segments[0].path
    raw = bytearray(path.read_bytes())
    raw[-10] ^= 1
    path.write_bytes(raw)
    reader = Reader(log, "server")
    assert read_all(reader, 10) == [1]
    for _ in range(3):
        assert reader.read(10) is None
    assert caplog.text.count("broken bytes") == 1
    assert reader.corrupt > 70_000
    put(log, 3)
    assert read_all(reader) == [3]
    assert (reader.lost, reader.queued) == (1, 0)


def written(directory: Path, numbers: int) -> Path:
    log = SegmentLog(directory)
    for number in range(numbers):
        put(log, number)
    log.close()
    return log.segments[-1].path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_torn_tail_costs_only_what_was_torn(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("log")
    path = written(directory, 10)
    size = path.stat().st_size
    keep = data.draw(st.integers(0, size))
    rest = data.draw(st.binary(max_size=100))
    path.write_bytes(path.read_bytes()[:keep] + rest)
    block = (size - len(files.MAGIC)) // 10
    whole = max(keep - len(files.MAGIC), 0) // block
    log = SegmentLog(directory)
    reader = Reader(log, "server")
    put(log, 10)
    got = read_all(reader)
    log.close()
    # The bytes that follow may by chance complete the torn block.
    assert got in ([*range(whole), 10], [*range(whole + 1), 10])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_costs_one_block_at_most(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("log")
    path = written(directory, 10)
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    log = SegmentLog(directory)
    reader = Reader(log, "server")
    put(log, 10)
    got = read_all(reader)
    assert len(got) >= 10
    assert got == sorted(set(got))
    assert set(got) <= set(range(11))
    assert reader.queued == 0
    log.close()


@given(st.binary(max_size=400))
def test_garbage_holds_no_blocks(garbage: bytes) -> None:
    fd = os.memfd_create("segment")
    try:
        os.write(fd, files.MAGIC + garbage)
        assert list(files.walk(fd, len(files.MAGIC), len(files.MAGIC) + len(garbage))) == []
        assert files.count_points(fd, len(files.MAGIC), len(files.MAGIC) + len(garbage)) >= 0
    finally:
        os.close(fd)


def test_GIVEN_a_bridge_at_work_WHEN_it_is_killed_THEN_at_most_200_ms_are_lost_and_the_log_is_readable(
    tmp_path: Path,
) -> None:
    chance = random.Random(5)
    first = 0
    for _ in range(8):
        command = [sys.executable, "-m", "tests.archiver.log.log_writer", str(tmp_path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))  # the moment of the kill, not a wait for anything
            process.kill()
            printed = process.stdout.read().split()
        numbers = [int(line.split()[-1]) for line in lines(tmp_path, [b"x n="])]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > (int(printed[-1]) if printed else first)
        first = len(numbers)
    log = SegmentLog(tmp_path)
    reader = Reader(log, "server")
    assert reader.lost == 0
    assert reader.position > Position(1, 0)
    rest = read_all(reader, 100_000)
    assert rest == list(range(first - len(rest), first))
    log.close()
