"""The journal of puts: its lines, its files, and what happens when the disk does not take them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.services import journal
from ioc.services.journal import APPLIED, REFUSED, Entry, Follower, Journal, entry_of, stored
from tests.conftest import no_flush_of_folders
from tests.ioc.fakes import EPOCH, FakeClock

texts = st.text(max_size=20)


def entry(new: str = "500", outcome: str = APPLIED, after: float = 0.0) -> Entry:
    return Entry(EPOCH + after, "LAB:HV1:CH00:VSET", "olga", "desk1", "127.0.0.1", "100", new, new, outcome)


def news(path: Path) -> list[str]:
    return [one.new for one in stored(path)]


async def until(condition: Callable[[], bool], clock: FakeClock | None = None) -> None:
    """Wait for the thread that writes; the clock goes on meanwhile where there is one."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)
            if clock is not None:
                await clock.advance(0.05)


@given(st.builds(Entry, st.floats(0, 4e9), *[texts] * 9, st.floats(0, 100)))
def test_a_line_is_read_as_it_was_written(one: Entry) -> None:
    line = one.line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    found = entry_of(line)
    assert found is not None
    assert found.time == pytest.approx(one.time, abs=0.001)
    assert found.seconds == pytest.approx(one.seconds, abs=1e-6)
    found.time, found.seconds = one.time, one.seconds
    assert found == one


@given(st.integers(0, 400))
def test_a_line_that_was_cut_is_none(end: int) -> None:
    line = entry().line()
    assert entry_of(line[: min(end, len(line) - 2)]) is None


@pytest.mark.parametrize("line", ["", "[]", "7", "{}", '{"time": 7}', '{"time": "never"}'])
def test_what_is_no_line_of_the_journal_is_none(line: str) -> None:
    assert entry_of(line) is None


def test_an_entry_with_a_value_of_another_kind_is_none() -> None:
    found = json.loads(entry().line())
    assert entry_of(json.dumps(found | {"pv": 7})) is None
    assert entry_of(json.dumps(found | {"seconds": "long"})) is None
    assert entry_of(json.dumps(found | {"more": ""})) is None


def test_a_long_value_is_cut() -> None:
    assert len(entry("x" * 5000).line()) < 2000


async def test_GIVEN_puts_WHEN_noted_THEN_they_are_on_the_disk_and_refused_ones_apart(tmp_path: Path) -> None:
    clock, paths = FakeClock(), (tmp_path / "state" / "puts.jsonl", tmp_path / "state" / "refused.jsonl")
    written = Journal(clock, *paths)
    written.note(entry("1"))
    written.note(entry("2", REFUSED))
    written.note(entry("3"))
    await until(lambda: news(paths[0]) == ["1", "3"] and news(paths[1]) == ["2"])
    assert not written.failing
    written.note(entry("4"))
    await written.close()
    assert news(paths[0]) == ["1", "3", "4"]


async def test_GIVEN_a_server_that_ends_WHEN_puts_wait_THEN_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "puts.jsonl"
    written = Journal(FakeClock(), path, tmp_path / "refused.jsonl")
    for number in range(500):
        written.note(entry(str(number)))
    await written.close()
    assert news(path) == [str(number) for number in range(500)]


@pytest.mark.parametrize("fails", [False, True])
async def test_GIVEN_a_slow_disk_WHEN_the_end_does_not_wait_THEN_no_task_is_left_and_every_put_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    path, answers, begun, sync = tmp_path / "puts.jsonl", threading.Event(), threading.Event(), os.fsync
    errors = [OSError(5, "Input/output error")] if fails else []

    def slow(number: int) -> None:
        begun.set()
        assert answers.wait(10)
        if errors:
            raise errors.pop()
        sync(number)

    monkeypatch.setattr(os, "fsync", slow)
    written = Journal(FakeClock(), path, tmp_path / "refused.jsonl")
    written.note(entry("1"))
    await until(begun.is_set)
    written.note(entry("2"))
    written.note(entry("3"))
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(written.close(), 0.05)
        assert not asyncio.all_tasks() - {asyncio.current_task()}
    finally:
        answers.set()
    await until(lambda: news(path) == ["1", "2", "3"])
    await written.close()


async def test_GIVEN_a_folder_that_cannot_be_flushed_WHEN_tried_again_THEN_each_put_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock, flush, errors = tmp_path / "puts.jsonl", FakeClock(), journal.flush_folder, [OSError(5, "no answer")]

    def failing(folder: Path) -> None:
        if errors:
            raise errors.pop()
        flush(folder)

    monkeypatch.setattr(journal, "flush_folder", failing)
    written = Journal(clock, path, tmp_path / "refused.jsonl")
    written.note(entry("1"))
    written.note(entry("2"))
    await until(lambda: written.failing)
    await until(lambda: not written.failing, clock)
    await written.close()
    assert news(path) == ["1", "2"]


async def test_GIVEN_no_new_thread_WHEN_another_one_has_written_THEN_no_line_waits_and_nothing_is_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock, begin, errors = tmp_path / "puts.jsonl", FakeClock(), journal.in_thread, ["can't start new thread"]

    def queued(*work: Any) -> Any:
        begun = begin(*work)  # an executor leaves the work in its queue when it gets no further thread
        if errors:
            raise RuntimeError(errors.pop())
        return begun

    monkeypatch.setattr(journal, "in_thread", queued)
    written = Journal(clock, path, tmp_path / "refused.jsonl")
    written.note(entry("1"))
    await until(lambda: written.failing and news(path) == ["1"])
    await until(lambda: not written.failing, clock)
    await written.close()
    assert news(path) == ["1"]


async def test_GIVEN_no_folder_WHEN_noted_THEN_nothing_is_kept() -> None:
    written = Journal(FakeClock())
    written.note(entry())
    await written.close()
    assert not written.failing


async def test_GIVEN_a_disk_that_takes_nothing_WHEN_it_does_again_THEN_each_put_is_there_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, clock = tmp_path / "state", FakeClock()
    folder.write_text("in the way")
    path = folder / "puts.jsonl"
    written = Journal(clock, path, folder / "refused.jsonl")
    written.note(entry("1"))
    await until(lambda: written.failing)
    written.note(entry("2"))
    await until(lambda: clock.now > 103, clock)
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "cannot be written" in errors[0]
    folder.unlink()
    await until(lambda: not written.failing, clock)
    assert "written again; puts that are lost: 0" in caplog.text
    await written.close()
    assert news(path) == ["1", "2"]


async def test_GIVEN_a_full_disk_WHEN_a_write_ends_half_way_THEN_the_file_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "puts.jsonl", FakeClock()
    path.write_text(entry("1").line())
    before = path.read_bytes()
    written = Journal(clock, path, tmp_path / "refused.jsonl")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        written.note(entry("2"))
        await until(lambda: written.failing)
        assert path.read_bytes() == before
    await until(lambda: not written.failing, clock)
    await written.close()
    assert news(path) == ["1", "2"]


async def test_GIVEN_a_disk_that_fails_for_long_WHEN_puts_go_on_THEN_the_oldest_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(journal, "MOST_WAITING", 5)
    folder, clock = tmp_path / "state", FakeClock()
    folder.write_text("in the way")
    written = Journal(clock, folder / "puts.jsonl", folder / "refused.jsonl")
    written.note(entry("0"))
    await until(lambda: written.failing)
    for number in range(1, 8):
        written.note(entry(str(number)))
    folder.unlink()
    await until(lambda: not written.failing, clock)
    await written.close()
    assert news(folder / "puts.jsonl") == ["3", "4", "5", "6", "7"]
    assert "puts that are lost: 3" in caplog.text


async def test_GIVEN_a_disk_that_never_answers_WHEN_a_second_is_over_THEN_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, answers = FakeClock(), threading.Event()
    sync = os.fsync

    def slow(number: int) -> None:
        assert answers.wait(10)
        sync(number)

    monkeypatch.setattr(os, "fsync", slow)
    written = Journal(clock, tmp_path / "puts.jsonl", tmp_path / "refused.jsonl")
    written.note(entry("1"))
    try:
        await clock.advance(1.1)
        assert written.failing
        assert "the disk has not answered for 1 s" in caplog.text
    finally:
        answers.set()
    await until(lambda: not written.failing, clock)
    await written.close()


async def test_GIVEN_a_last_line_that_was_cut_WHEN_puts_go_on_THEN_the_next_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "puts.jsonl"
    path.write_text(entry("1").line() + entry("2").line()[:40])
    written = Journal(FakeClock(), path, tmp_path / "refused.jsonl")
    written.note(entry("3"))
    await written.close()
    assert news(path) == ["1", "3"]


async def test_GIVEN_a_full_file_WHEN_puts_go_on_THEN_a_new_one_is_begun_and_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 300)
    monkeypatch.setattr(journal, "KEPT", 3)
    path = tmp_path / "puts.jsonl"
    follower = Follower(path)
    followed: list[str] = []
    for number in range(6):
        written = Journal(FakeClock(), path, tmp_path / "refused.jsonl")
        written.note(entry(str(number)))
        await written.close()
        followed += [one.new for one in follower.new()]
    follower.close()
    assert news(path) == ["2", "3", "4", "5"]
    assert sorted(os.listdir(tmp_path)) == ["puts.jsonl", *(f"puts.jsonl.{n}" for n in (1, 2, 3))]
    assert followed == ["0", "1", "2", "3", "4", "5"]


def test_a_follower_begins_at_the_end_and_waits_for_the_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "puts.jsonl"
    path.write_text(entry("1").line())
    follower = Follower(path)
    with open(path, "a", encoding="utf-8") as file:
        line = entry("2").line()
        file.write(line[:50])
        file.flush()
        assert follower.new() == []
        file.write(line[50:])
        file.flush()
        assert [one.new for one in follower.new()] == ["2"]
    assert follower.new() == []
    follower.close()


def test_a_follower_reads_what_was_added_before_the_file_was_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "puts.jsonl"
    path.write_text(entry("1").line())
    follower = Follower(path)
    looked = follower._is_another

    def put_aside_meanwhile() -> bool:
        with open(path, "a", encoding="utf-8") as file:
            file.write(entry("2").line())
        path.rename(tmp_path / "puts.jsonl.1")
        path.write_text(entry("3").line())
        return looked()

    monkeypatch.setattr(follower, "_is_another", put_aside_meanwhile)
    assert [one.new for one in follower.new()] == ["2", "3"]
    follower.close()


def test_a_file_that_is_put_aside_while_they_are_listed_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "puts.jsonl"
    path.with_name("puts.jsonl.1").write_text(entry("1").line())
    path.write_text(entry("2").line())
    older = journal._older

    def put_aside_meanwhile(one: Path, number: int) -> Path:
        if path.exists() and number == 1:
            older(path, 1).rename(older(path, 2))
            path.rename(older(path, 1))
        return older(one, number)

    monkeypatch.setattr(journal, "_older", put_aside_meanwhile)
    assert [one.new for one in stored(path)] == ["1", "2"]


async def test_GIVEN_a_file_system_that_cannot_flush_a_folder_WHEN_puts_go_on_THEN_each_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flush_of_folders(monkeypatch)
    written = Journal(FakeClock(), tmp_path / "puts.jsonl", tmp_path / "refused.jsonl")
    written.note(entry("1"))
    path = tmp_path / "puts.jsonl"
    await until(lambda: path.exists() and news(path) == ["1"])
    written.note(entry("2"))
    await written.close()
    assert not written.failing
    assert [one.new for one in stored(tmp_path / "puts.jsonl")] == ["1", "2"]
