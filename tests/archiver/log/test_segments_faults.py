"""The durable log when something goes wrong: full disks, files that are gone, folders that are others."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.log import segments
from archiver.log.files import LogInUse
from archiver.log.reader import Reader
from archiver.log.segments import MEMORY, SegmentLog
from tests.archiver.log.segments_bench import put, read_all
from tests.conftest import no_flush_of_folders


class FullDisk:
    """os.pwrite on a disk that takes a number of bytes more, then says that it is full, or what else is wrong."""

    def __init__(self, room: int, error: int = errno.ENOSPC) -> None:
        self.room = room
        self.error = error
        self.write = os.pwrite

    def __call__(self, fd: int, data: bytes, offset: int) -> int:
        if self.room <= 0:
            raise OSError(self.error, os.strerror(self.error))
        done = self.write(fd, data[: self.room], offset)
        self.room -= done
        return done

    def gets_room_when_a_file_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unlink = Path.unlink

        def freed(path: Path, missing_ok: bool = False) -> None:
            unlink(path, missing_ok)
            self.room += 70_000

        monkeypatch.setattr(Path, "unlink", freed)


def test_a_full_disk_keeps_the_newest_in_memory_and_goes_on_by_itself(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log()
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
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(max_bytes=1_000_000)
    reader = Reader(log, "server")
    put(log, 1, width=70_000)
    put(log, 2, width=70_000)
    read_all(reader)
    put(log, 3)
    first = log.segments[0].path
    disk = FullDisk(0)
    monkeypatch.setattr(os, "pwrite", disk)
    disk.gets_room_when_a_file_goes(monkeypatch)
    put(log, 4)
    assert not first.exists()
    assert read_all(reader) == [3, 4]


def test_a_full_disk_makes_room_also_when_the_newest_segment_is_empty(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(max_bytes=1_000_000)
    reader = Reader(log, "server")
    put(log, 1, width=70_000)  # begins the next segment
    read_all(reader)
    disk = FullDisk(0)
    monkeypatch.setattr(os, "pwrite", disk)
    disk.gets_room_when_a_file_goes(monkeypatch)
    put(log, 2)
    assert read_all(reader) == [2]


def test_GIVEN_a_disk_that_failed_WHEN_it_is_mounted_again_THEN_the_log_goes_on_in_a_new_file(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log()
    reader = Reader(log, "server")
    put(log, 0)
    old, write, begin = log._fd, os.pwrite, segments.begin_segment
    repaired = False

    def broken_write(fd: int, data: bytes, offset: int) -> int:
        if fd == old:  # open on the file system that failed, which is never well again
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return write(fd, data, offset)

    def broken_begin(directory: Path, number: int) -> tuple[int, Path]:
        if not repaired:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return begin(directory, number)

    monkeypatch.setattr(os, "pwrite", broken_write)
    monkeypatch.setattr(segments, "begin_segment", broken_begin)
    for number in (1, 2):
        log.append(b"x n=%di %d\n" % (number, number), 1)
        assert not log.flush()
        assert log.error == "Read-only file system"
    assert len(log.segments) == 1
    repaired = True
    assert log.flush()
    assert (log.error, log.lost, log.waiting) == ("", 0, 0)
    put(log, 3)
    assert read_all(reader) == [0, 1, 2, 3]


@pytest.mark.parametrize("left", [False, True], ids=["nothing left", "a file half made"])
def test_GIVEN_an_empty_file_on_a_disk_that_failed_WHEN_a_minute_has_passed_THEN_another_is_begun(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    now = [1_795_000_000 * 10**9]
    log = make_log(clock=lambda: now[0])
    reader = Reader(log, "server")
    old, write = log._fd, os.pwrite

    def broken(fd: int, data: bytes, offset: int) -> int:
        if fd == old:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", broken)
    log.append(b"x n=1i 1\n", 1)
    assert not log.flush()
    assert len(log.segments) == 1
    if left:
        (log.directory / "0000000000000002.log").write_bytes(b"")
    now[0] += 61 * 10**9
    assert log.flush()
    put(log, 2)
    assert read_all(reader) == [1, 2]


@pytest.mark.parametrize("error", [errno.EFBIG, errno.EIO], ids=["a file that may not grow", "a disk that fails"])
def test_GIVEN_a_disk_WHEN_it_is_not_full_but_takes_nothing_THEN_nothing_is_removed_to_make_room(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    log = make_log(max_bytes=1_000_000)
    reader = Reader(log, "server")
    put(log, 1, width=70_000)
    put(log, 2, width=70_000)
    read_all(reader)
    monkeypatch.setattr(os, "pwrite", FullDisk(0, error))
    before = [segment.path for segment in log.segments]
    log.append(b"x n=3i 3\n", 1)
    for _ in range(3):
        assert not log.flush()
    assert log.error == os.strerror(error)
    assert len(log.segments) <= len(before) + 1
    assert all(path.exists() for path in before)
    monkeypatch.undo()
    assert log.flush()
    assert read_all(reader) == [3]


def test_what_a_full_disk_keeps_from_the_log_to_the_end_is_counted_and_reported(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log()
    put(log, 0)
    monkeypatch.setattr(os, "pwrite", FullDisk(0))
    log.append(b"x n=1i 1\nx n=2i 2\n", 2)
    log.close()
    assert log.lost == 2
    assert "2 points could not be written and are lost" in caplog.text


def test_a_directory_that_takes_no_new_file_does_not_stop_the_log(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(max_bytes=1_000_000)
    reader = Reader(log, "server")

    def refuse(directory: Path, number: int) -> tuple[int, Path]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("archiver.log.segments.begin_segment", refuse)
        for number in range(5):
            put(log, number, width=70_000)
        assert log.error == ""
    put(log, 5)
    put(log, 6)
    assert len(log.segments) == 2
    assert read_all(reader, 100_000) == list(range(7))
    assert len([record for record in caplog.records if "Too many open files" in record.message]) == 1


def test_two_that_save_a_position_at_once_do_not_disturb_each_other(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log()
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
    assert Reader(make_log(), "server").position == reader.position


def test_an_old_file_that_cannot_be_removed_does_not_stop_the_log(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(max_bytes=200_000)
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


def test_GIVEN_another_folder_in_the_place_of_its_own_WHEN_a_file_is_begun_THEN_the_log_is_its_only_writer_again(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log()
    old, write = log._fd, os.pwrite

    def broken(fd: int, data: bytes, offset: int) -> int:
        if fd == old:  # open on the file system that failed
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(fd, data, offset)

    put(log, 0)
    monkeypatch.setattr(os, "pwrite", broken)
    log.directory.rename(log.directory.with_name("failed"))
    other = SegmentLog(log.directory)  # another process was faster
    log.append(b"x n=1i 1\n", 1)
    assert not log.flush()
    other.close()
    assert log.flush()
    with pytest.raises(LogInUse):
        SegmentLog(log.directory)


async def test_GIVEN_a_log_at_work_WHEN_its_folder_is_removed_THEN_it_begins_anew_and_counts_what_went(
    make_log: Callable[..., SegmentLog], caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(sync_after=0.02)
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
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(sync_after=0.02)
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
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(sync_after=0.02)
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


def test_a_file_system_that_cannot_flush_a_folder_holds_a_log(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_flush_of_folders(monkeypatch)
    log = make_log()
    reader = Reader(log, "server")
    put(log, 1)
    read_all(reader)
    log.sync()
    assert not caplog.records
    assert Reader(make_log(), "server").position == reader.position
