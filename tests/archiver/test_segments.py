"""The durable log: what was appended is read, in order, whatever happens to process, files and disk."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver import blocks
from archiver.segment_files import LogInUse, Position
from archiver.segments import MEMORY, SegmentLog
from archiver.segments_reader import Block, Reader, lines

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_795_000_000_000_000_000


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., SegmentLog]]:
    made: list[SegmentLog] = []

    def start(**options: object) -> SegmentLog:
        for log in made:
            log.close()
        made.append(SegmentLog(tmp_path / "log", **options))  # type: ignore[arg-type]
        return made[-1]

    yield start
    for log in made:
        log.close()


def put(log: SegmentLog, *numbers: int, width: int = 0) -> None:
    for number in numbers:
        log.append(b"x n=%di%s %d\n" % (number, b"0" * width, number), 1)
    assert log.flush()


def read_all(reader: Reader, max_bytes: int = 1000) -> list[int]:
    """Numbers of all points that are not committed; commits them."""
    got: list[int] = []
    while (block := reader.read(max_bytes)) is not None:
        numbers = [int(line.split()[-1]) for line in block.payload.splitlines()]
        assert len(numbers) == block.points
        got += numbers
        reader.commit(block.position)
    return got


def test_points_are_read_in_their_order_and_once(make: Callable[..., SegmentLog]) -> None:
    log = make()
    reader = Reader(log, "server")
    for number in range(100):
        put(log, number)
    assert reader.queued == 100
    assert read_all(reader, 200) == list(range(100))
    assert (reader.queued, reader.queued_bytes) == (0, 0)


def test_what_is_not_committed_is_read_again_what_is_ahead_can_be_read_before(make: Callable[..., SegmentLog]) -> None:
    log = make()
    reader = Reader(log, "server")
    put(log, 1)
    put(log, 2)
    first = reader.read(1)
    assert first is not None
    assert reader.read(1) == first
    second = reader.read(1, first.position)
    assert second is not None
    assert second.payload == b"x n=2i 2\n"
    reader.commit(second.position)
    assert reader.read(1) is None
    assert reader.queued == 0


def test_a_position_outlives_the_process_and_a_new_reader_begins_with_the_oldest(
    make: Callable[..., SegmentLog],
) -> None:
    log = make()
    reader = Reader(log, "one")
    put(log, 1)
    put(log, 2, 3)
    block = reader.read(1)
    assert block is not None
    reader.commit(block.position)
    log = make()
    again = Reader(log, "one")
    assert again.queued == 2
    assert read_all(again) == [2, 3]
    assert read_all(Reader(log, "two")) == [1, 2, 3]


def test_what_waits_in_a_large_log_is_counted_beside_all_other_work(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make(max_bytes=1_000_000)
    for number in range(8):
        put(log, number, width=70_000)  # a segment each
    put(log, 8)
    monkeypatch.setattr("archiver.segments_reader.COUNTED_AT_ONCE", 100)
    log = make(max_bytes=1_000_000)
    reader = Reader(log, "server")
    assert (reader.counted, reader.queued) == (False, 0)
    put(log, 9)
    first = reader.read(100_000)
    assert first is not None
    reader.commit(first.position)
    for number in range(10, 16):
        put(log, number, width=70_000)
    for _ in range(3):
        log._drop(log.segments[0])
    reader.count()
    assert reader.counted
    assert reader.lost > 0
    assert reader.queued == 16 - first.points - reader.lost
    assert len(read_all(reader, 100_000)) == 16 - first.points - reader.lost
    other = Reader(log, "other")
    other.close()
    other.count()
    assert other.queued == 0


@pytest.mark.parametrize("text", ["", "{", '{"segment": "x"}', "[1]", '{"segment": 99, "offset": 8}'])
def test_a_broken_position_sends_everything_again(make: Callable[..., SegmentLog], text: str) -> None:
    log = make()
    put(log, 1, 2)
    Reader(log, "one").save()
    (log.directory / "readers" / "one").write_text(text)
    assert read_all(Reader(make(), "one")) == [1, 2]


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "a b"])
def test_a_reader_has_the_name_of_a_file(make: Callable[..., SegmentLog], name: str) -> None:
    with pytest.raises(ValueError, match="reader"):
        Reader(make(), name)


def test_only_one_process_writes(make: Callable[..., SegmentLog]) -> None:
    log = make()
    with pytest.raises(LogInUse):
        SegmentLog(log.directory)


def test_the_oldest_segments_are_dropped_when_the_log_is_full_and_counted(make: Callable[..., SegmentLog]) -> None:
    log = make(max_bytes=400_000)
    slow, quick = Reader(log, "slow"), Reader(log, "quick")
    for number in range(100):
        put(log, number, width=9_000)
        read_all(quick, 20_000)
    assert log.size <= 400_000 + 65_000
    left = read_all(slow, 20_000)
    assert left == list(range(100 - len(left), 100))
    assert slow.lost == 100 - len(left) > 0
    assert (quick.lost, slow.queued, slow.queued_bytes) == (0, 0, 0)
    assert log.expired == 0


def test_what_is_too_old_is_dropped(make: Callable[..., SegmentLog]) -> None:
    now = [NOW]
    log = make(max_age=1600.0, clock=lambda: now[0])
    for number in range(30):
        put(log, number)
        now[0] += 100 * 10**9
    left = [int(line.split()[-1]) for line in lines(log.directory, [b"x "])]
    assert left == list(range(30 - len(left), 30))
    assert 14 <= len(left) <= 18
    assert log.expired == 30 - len(left)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_jumps_ahead_does_not_erase_the_archive(
    make: Callable[..., SegmentLog], restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wall, passed = [NOW], [1000.0]
    options = {"max_age": 1600.0, "clock": lambda: wall[0], "monotonic": lambda: passed[0]}
    log = make(**options)
    for number in range(10):
        put(log, number)
        wall[0] += 100 * 10**9
        passed[0] += 100.0
    for path in log.directory.glob("*.log"):
        os.utime(path, ns=(wall[0], wall[0]))
    wall[0] += 20 * 365 * 86400 * 10**9
    if restarted:
        log = make(**options)
    put(log, 10)
    put(log, 11)
    assert [int(line.split()[-1]) for line in lines(log.directory, [b"x "])] == list(range(12))
    assert caplog.text.count("nothing is dropped for its age") == 1
    wall[0] += 2 * 86400 * 10**9
    passed[0] += 2 * 86400.0
    put(log, 12)  # somebody has had time to look, and the clock was right
    put(log, 13)
    left = [int(line.split()[-1]) for line in lines(log.directory, [b"x "])]
    assert left == list(range(left[0], 14))
    assert left[0] >= 10


def test_a_segment_that_every_reader_has_got_counts_as_expired(make: Callable[..., SegmentLog]) -> None:
    log = make(max_bytes=400_000)
    reader = Reader(log, "server")
    for number in range(100):
        put(log, number, width=9_000)
        read_all(reader, 20_000)
    kept = list(lines(log.directory, [b"x "]))
    assert log.expired == 100 - len(kept) > 0
    assert reader.lost == 0


def test_a_reader_goes_on_when_its_place_was_dropped_between_reading_and_commit(
    make: Callable[..., SegmentLog],
) -> None:
    log = make(max_bytes=200_000)
    reader = Reader(log, "server")
    put(log, 0, width=70_000)
    block = reader.read(1)
    assert block is not None
    for number in range(1, 6):
        put(log, number, width=70_000)
    reader.commit(block.position)
    assert read_all(reader) == list(range(1 + reader.lost - 1, 6))


def test_history_gives_the_lines_of_one_pv_also_beside_the_writer(make: Callable[..., SegmentLog]) -> None:
    log = make()
    log.append(b"a v=1 10\nb v=2 11\na,t=1 v=3 12\n", 3)
    log.flush()
    log.append(b"a w=9 13\na v=4 14\n", 2)
    log.flush()
    assert list(lines(log.directory, [b"a v="])) == [b"a v=1 10", b"a v=4 14"]
    assert list(lines(log.directory, [b"a v=", b"a w="])) == [b"a v=1 10", b"a w=9 13", b"a v=4 14"]
    assert list(lines(log.directory, [b"v="])) == []


def test_history_leaves_out_what_was_written_long_before(make: Callable[..., SegmentLog]) -> None:
    now = [NOW]
    log = make(clock=lambda: now[0])
    put(log, 1)
    now[0] += 3 * 86400 * 10**9
    put(log, 2)
    since = now[0] - 3600 * 10**9
    for path in log.directory.glob("*.log"):
        os.utime(path, ns=(now[0], now[0]))
    assert list(lines(log.directory, [b"x "], since)) == [b"x n=2i 2"]


class FullDisk:
    """os.pwrite on a disk that takes a number of bytes more, then says that it is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.write = os.pwrite

    def __call__(self, fd: int, data: bytes, offset: int) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self.write(fd, data[: self.room], offset)
        self.room -= done
        return done


def test_a_full_disk_keeps_the_newest_in_memory_and_goes_on_by_itself(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make()
    reader = Reader(log, "server")
    put(log, 0)
    disk = FullDisk(20)
    monkeypatch.setattr(os, "pwrite", disk)
    for number in range(1, 100):
        log.append(b"x n=%di%s %d\n" % (number, b"0" * 100_000, number), 1)
        log.flush()
    assert log.error
    assert log.lost + log.waiting == 99
    assert log.waiting * 100_000 <= MEMORY
    assert read_all(reader) == [0]
    disk.room = 1 << 30
    assert log.flush()
    assert log.error == ""
    assert read_all(reader) == list(range(1 + log.lost, 100))


def test_a_full_disk_makes_room_with_what_all_readers_have(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make(max_bytes=1_000_000)
    reader = Reader(log, "server")
    put(log, 1, width=70_000)
    put(log, 2, width=70_000)
    read_all(reader)
    put(log, 3)
    first = log.segments[0].path
    disk = FullDisk(0)
    monkeypatch.setattr(os, "pwrite", disk)
    unlink = Path.unlink

    def freed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        disk.room += 70_000

    monkeypatch.setattr(Path, "unlink", freed)
    put(log, 4)
    assert not first.exists()
    assert read_all(reader) == [3, 4]


def test_a_full_disk_makes_room_also_when_the_newest_segment_is_empty(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make(max_bytes=1_000_000)
    reader = Reader(log, "server")
    put(log, 1, width=70_000)  # begins the next segment
    read_all(reader)
    disk = FullDisk(0)
    monkeypatch.setattr(os, "pwrite", disk)
    unlink = Path.unlink

    def freed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        disk.room += 70_000

    monkeypatch.setattr(Path, "unlink", freed)
    put(log, 2)
    assert read_all(reader) == [2]


def test_what_a_full_disk_keeps_from_the_log_to_the_end_is_counted_and_told(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make()
    put(log, 0)
    monkeypatch.setattr(os, "pwrite", FullDisk(0))
    log.append(b"x n=1i 1\nx n=2i 2\n", 2)
    log.close()
    assert log.lost == 2
    assert "2 points could not be written and are lost" in caplog.text


def test_a_directory_that_takes_no_new_file_does_not_stop_the_log(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make(max_bytes=1_000_000)
    reader = Reader(log, "server")

    def refuse(directory: Path, number: int) -> tuple[int, Path]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("archiver.segments.begin_segment", refuse)
        for number in range(5):
            put(log, number, width=70_000)
        assert log.error == ""
    put(log, 5)
    put(log, 6)
    assert len(log.segments) == 2
    assert read_all(reader, 100_000) == list(range(7))
    assert len([record for record in caplog.records if "Too many open files" in record.message]) == 1


def test_broken_blocks_are_told_once_and_count_as_lost(
    make: Callable[..., SegmentLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = make(max_bytes=1_000_000)
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


async def test_a_point_is_on_disk_100_ms_after_it_was_appended(make: Callable[..., SegmentLog]) -> None:
    log = make()
    loop = asyncio.get_running_loop()
    flushed = asyncio.Event()
    log.on_flush.append(flushed.set)
    task = asyncio.create_task(log.run())
    await asyncio.sleep(0)
    log.append(b"x n=1i 1\n", 1)
    assert log._timer is not None
    assert log._timer.when() <= loop.time() + 0.1
    await asyncio.wait_for(flushed.wait(), 10)
    assert list(lines(log.directory, [b"x "])) == [b"x n=1i 1"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_positions_are_saved_each_second(make: Callable[..., SegmentLog]) -> None:
    log = make(sync_after=0.05)
    reader = Reader(log, "server")
    task = asyncio.create_task(log.run())
    put(log, 1)
    read_all(reader)
    path = log.directory / "readers" / "server"
    async with asyncio.timeout(5):
        # A thread of the log writes the file.
        while not path.exists() or f'"offset": {reader.position.offset}' not in path.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_two_that_save_a_position_at_once_do_not_disturb_each_other(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make()
    reader = Reader(log, "server")
    put(log, 1)
    read_all(reader)
    others: list[threading.Thread] = []
    sync = os.fsync

    def meanwhile(fd: int) -> None:
        if not others:  # the log saves in a thread while the bridge, which ends, closes the reader
            others.append(threading.Thread(target=reader.close))
            others[0].start()
            others[0].join(0.2)
        sync(fd)

    monkeypatch.setattr(os, "fsync", meanwhile)
    log.sync()
    others[0].join(10)
    assert not caplog.records
    assert Reader(make(), "server").position == reader.position


def test_an_old_file_that_cannot_be_removed_does_not_stop_the_log(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make(max_bytes=200_000)
    reader = Reader(log, "server")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        for number in range(8):
            put(log, number, width=70_000)
    assert (log.lost, log.expired, reader.lost, reader.queued) == (0, 0, 0, 8)
    assert caplog.text.count("cannot be removed") == 1
    put(log, 8)
    assert reader.lost + reader.queued == 9
    assert read_all(reader) == list(range(reader.lost, 9))


async def test_GIVEN_a_log_at_work_WHEN_somebody_removes_its_folder_THEN_it_begins_anew_and_counts_what_went(
    make: Callable[..., SegmentLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = make(sync_after=0.02)
    reader = Reader(log, "server")
    task = asyncio.create_task(log.run())
    put(log, 1, 2)
    shutil.rmtree(log.directory)
    async with asyncio.timeout(10):
        while len(log.segments) != 1 or log.segments[0].number == 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert caplog.text.count("beginning anew") == 1
    with pytest.raises(LogInUse):
        SegmentLog(log.directory)
    assert (reader.lost, reader.queued, log.error) == (2, 0, "")
    put(log, 3)
    assert read_all(reader) == [3]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_GIVEN_a_disk_that_does_not_sync_WHEN_points_are_written_all_the_same_THEN_the_error_stays_until_it_does(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make(sync_after=0.02)
    broken, attempts = [True], [0]

    def fail(fd: int) -> None:
        attempts[0] += 1
        if broken[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    task = asyncio.create_task(log.run())
    async with asyncio.timeout(10):
        while attempts[0] < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        put(log, 1)
        assert log.error == "Input/output error"
        broken[0] = False
        while log.error:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert caplog.text.count("not put on the disk") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_mistake_in_the_program_does_not_end_the_syncing(
    make: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make(sync_after=0.02)
    limit = log._limit
    failing = [RuntimeError("can't start new thread")]

    def once() -> None:
        if failing:
            raise failing.pop()
        limit()

    monkeypatch.setattr(log, "_limit", once)
    task = asyncio.create_task(log.run())
    async with asyncio.timeout(10):
        while failing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        log.append(b"x n=1i 1\n", 1)
        while log.written == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert "it goes on" in caplog.text
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def written(directory: Path, numbers: int) -> Path:
    log = SegmentLog(directory)
    for number in range(numbers):
        put(log, number)
    log.close()
    return log.segments[-1].path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_a_torn_tail_costs_only_what_was_torn(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    directory = tmp_path_factory.mktemp("log")
    path = written(directory, 10)
    size = path.stat().st_size
    keep = data.draw(st.integers(0, size))
    rest = data.draw(st.binary(max_size=100))
    path.write_bytes(path.read_bytes()[:keep] + rest)
    block = (size - len(blocks.MAGIC)) // 10
    whole = max(keep - len(blocks.MAGIC), 0) // block
    log = SegmentLog(directory)
    reader = Reader(log, "server")
    put(log, 10)
    got = read_all(reader)
    log.close()
    # The bytes that follow may by chance complete the torn block.
    assert got in ([*range(whole), 10], [*range(whole + 1), 10])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5), st.sampled_from([0, 100, 30_000])),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.integers(1, 100_000), st.booleans()),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, max_bytes=st.sampled_from([150_000, 10_000_000]))
def test_whatever_is_done_each_point_is_read_once_in_order_or_counted_as_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], max_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = SegmentLog(directory, max_bytes=max_bytes)
    reader = Reader(log, "server")
    appended = lost = 0
    got: list[int] = []

    def take(block: Block, commit: bool) -> None:
        numbers = [int(line.split()[-1]) for line in block.payload.splitlines()]
        assert numbers == list(range(numbers[0], numbers[0] + block.points))
        assert numbers[0] == len(got) + lost + reader.lost
        if commit:
            got.extend(numbers)
            reader.commit(block.position)

    for step, number, option in steps:
        if step == "append":
            for _ in range(number):
                log.append(b"x n=1i%s %d\n" % (b"0" * option, appended), 1)
                appended += 1
        elif step == "flush":
            assert log.flush()
        elif step == "read":
            block = reader.read(number)
            if block is not None:
                take(block, bool(option))
        else:
            lost += reader.lost
            reader.close()
            log.close()  # writes what waits, and may drop for the readers that are there: none now
            before = len(got) + lost
            log = SegmentLog(directory, max_bytes=max_bytes)
            reader = Reader(log, "server")
            assert reader.queued <= appended - before
            lost = appended - reader.queued - len(got)
        assert log.size <= max_bytes + 200_000
    log.flush()
    assert reader.queued == appended - len(got) - lost - reader.lost
    while (block := reader.read(50_000)) is not None:
        take(block, True)
    assert len(got) + lost + reader.lost == appended
    assert (reader.queued, reader.queued_bytes, reader.corrupt) == (0, 0, 0)
    log.close()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_garbage_holds_no_blocks(garbage: bytes) -> None:
    fd = os.memfd_create("segment")
    try:
        os.write(fd, blocks.MAGIC + garbage)
        assert list(blocks.walk(fd, len(blocks.MAGIC), len(blocks.MAGIC) + len(garbage))) == []
        assert blocks.count_points(fd, len(blocks.MAGIC), len(blocks.MAGIC) + len(garbage)) >= 0
    finally:
        os.close(fd)


def test_GIVEN_a_bridge_at_work_WHEN_it_is_killed_THEN_at_most_200_ms_are_lost_and_the_log_is_readable(
    tmp_path: Path,
) -> None:
    chance = random.Random(5)
    first = 0
    for _ in range(8):
        command = [sys.executable, "-m", "tests.archiver.log_writer", str(tmp_path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))  # the moment of the kill, not a wait for anything
            process.kill()
            said = process.stdout.read().split()
        numbers = [int(line.split()[-1]) for line in lines(tmp_path, [b"x n="])]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > (int(said[-1]) if said else first)
        first = len(numbers)
    log = SegmentLog(tmp_path)
    reader = Reader(log, "server")
    assert reader.lost == 0
    assert reader.position > Position(1, 0)
    rest = read_all(reader, 100_000)
    assert rest == list(range(first - len(rest), first))
    log.close()
