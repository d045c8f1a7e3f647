"""The durable log: what was appended is read, in order, by every reader, until it is too old or too much."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.log.files import LogInUse
from archiver.log.reader import Block, Reader, lines
from archiver.log.segments import SegmentLog
from tests.archiver.log.segments_bench import put, read_all

NOW = 1_795_000_000_000_000_000


def test_points_are_read_in_their_order_and_once(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log()
    reader = Reader(log, "server")
    for number in range(100):
        put(log, number)
    assert reader.queued == 100
    assert read_all(reader, 200) == list(range(100))
    assert reader.queued == 0


def test_what_is_not_committed_is_read_again_what_is_ahead_can_be_read_before(
    make_log: Callable[..., SegmentLog],
) -> None:
    log = make_log()
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
    make_log: Callable[..., SegmentLog],
) -> None:
    log = make_log()
    reader = Reader(log, "one")
    put(log, 1)
    put(log, 2, 3)
    block = reader.read(1)
    assert block is not None
    reader.commit(block.position)
    log = make_log()
    again = Reader(log, "one")
    assert again.queued == 2
    assert read_all(again) == [2, 3]
    assert read_all(Reader(log, "two")) == [1, 2, 3]


def test_what_waits_in_a_large_log_is_counted_beside_all_other_work(
    make_log: Callable[..., SegmentLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(max_bytes=1_000_000)
    for number in range(8):
        put(log, number, width=70_000)  # a segment each
    put(log, 8)
    monkeypatch.setattr("archiver.log.reader.COUNTED_AT_ONCE", 100)
    log = make_log(max_bytes=1_000_000)
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
def test_a_broken_position_sends_everything_again(make_log: Callable[..., SegmentLog], text: str) -> None:
    log = make_log()
    put(log, 1, 2)
    Reader(log, "one").save()
    (log.directory / "readers" / "one").write_text(text)
    assert read_all(Reader(make_log(), "one")) == [1, 2]


@pytest.mark.parametrize("name", ["", "../x", ".x", "a/b", "a b"])
def test_a_reader_has_the_name_of_a_file(make_log: Callable[..., SegmentLog], name: str) -> None:
    with pytest.raises(ValueError, match="reader"):
        Reader(make_log(), name)


def test_only_one_process_writes(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log()
    with pytest.raises(LogInUse):
        SegmentLog(log.directory)


def test_the_oldest_segments_are_dropped_when_the_log_is_full_and_counted(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log(max_bytes=400_000)
    slow, quick = Reader(log, "slow"), Reader(log, "quick")
    for number in range(100):
        put(log, number, width=9_000)
        read_all(quick, 20_000)
    assert log.size <= 400_000 + 65_000
    left = read_all(slow, 20_000)
    assert left == list(range(100 - len(left), 100))
    assert slow.lost == 100 - len(left) > 0
    assert (quick.lost, slow.queued) == (0, 0)
    assert log.expired == 0


def test_what_is_too_old_is_dropped(make_log: Callable[..., SegmentLog]) -> None:
    now = [NOW]
    log = make_log(max_age=1600.0, clock=lambda: now[0])
    for number in range(30):
        put(log, number)
        now[0] += 100 * 10**9
    left = [int(line.split()[-1]) for line in lines(log.directory, [b"x "])]
    assert left == list(range(30 - len(left), 30))
    assert 14 <= len(left) <= 18
    assert log.expired == 30 - len(left)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_jumps_ahead_does_not_erase_the_archive(
    make_log: Callable[..., SegmentLog], restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wall, passed = [NOW], [1000.0]
    options = {"max_age": 1600.0, "clock": lambda: wall[0], "monotonic": lambda: passed[0]}
    log = make_log(**options)
    for number in range(10):
        put(log, number)
        wall[0] += 100 * 10**9
        passed[0] += 100.0
    for path in log.directory.glob("*.log"):
        os.utime(path, ns=(wall[0], wall[0]))
    wall[0] += 20 * 365 * 86400 * 10**9
    if restarted:
        log = make_log(**options)
    put(log, 10)
    put(log, 11)
    assert [int(line.split()[-1]) for line in lines(log.directory, [b"x "])] == list(range(12))
    assert caplog.text.count("nothing is dropped for its age") == 1
    wall[0] += 2 * 86400 * 10**9
    passed[0] += 2 * 86400.0
    put(log, 12)  # there was time to look, and the clock was right
    put(log, 13)
    left = [int(line.split()[-1]) for line in lines(log.directory, [b"x "])]
    assert left == list(range(left[0], 14))
    assert left[0] >= 10


def test_a_segment_that_every_reader_has_got_counts_as_expired(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log(max_bytes=400_000)
    reader = Reader(log, "server")
    for number in range(100):
        put(log, number, width=9_000)
        read_all(reader, 20_000)
    kept = list(lines(log.directory, [b"x "]))
    assert log.expired == 100 - len(kept) > 0
    assert reader.lost == 0


def test_a_reader_goes_on_when_its_place_was_dropped_between_reading_and_commit(
    make_log: Callable[..., SegmentLog],
) -> None:
    log = make_log(max_bytes=200_000)
    reader = Reader(log, "server")
    put(log, 0, width=70_000)
    block = reader.read(1)
    assert block is not None
    for number in range(1, 6):
        put(log, number, width=70_000)
    reader.commit(block.position)
    assert read_all(reader) == list(range(1 + reader.lost - 1, 6))


def test_history_gives_the_lines_of_one_pv_also_beside_the_writer(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log()
    log.append(b"a v=1 10\nb v=2 11\na,t=1 v=3 12\n", 3)
    log.flush()
    log.append(b"a w=9 13\na v=4 14\n", 2)
    log.flush()
    assert list(lines(log.directory, [b"a v="])) == [b"a v=1 10", b"a v=4 14"]
    assert list(lines(log.directory, [b"a v=", b"a w="])) == [b"a v=1 10", b"a w=9 13", b"a v=4 14"]
    assert list(lines(log.directory, [b"v="])) == []


def test_history_leaves_out_what_was_written_long_before(make_log: Callable[..., SegmentLog]) -> None:
    now = [NOW]
    log = make_log(clock=lambda: now[0])
    put(log, 1)
    now[0] += 3 * 86400 * 10**9
    put(log, 2)
    since = now[0] - 3600 * 10**9
    for path in log.directory.glob("*.log"):
        os.utime(path, ns=(now[0], now[0]))
    assert list(lines(log.directory, [b"x "], since)) == [b"x n=2i 2"]


async def test_a_point_is_on_disk_100_ms_after_it_was_appended(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log()
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(log.run())
    await asyncio.sleep(0)
    log.append(b"x n=1i 1\n", 1)
    assert log._timer is not None
    assert log._timer.when() <= loop.time() + 0.1
    async with asyncio.timeout(10):
        while not log.written:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert list(lines(log.directory, [b"x "])) == [b"x n=1i 1"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_positions_are_saved_each_second(make_log: Callable[..., SegmentLog]) -> None:
    log = make_log(sync_after=0.05)
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


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5), st.sampled_from([0, 100, 30_000])),
        st.tuples(st.just("flush"), st.just(0), st.just(0)),
        st.tuples(st.just("read"), st.integers(1, 100_000), st.booleans()),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


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
    assert (reader.queued, reader.corrupt) == (0, 0)
    log.close()
