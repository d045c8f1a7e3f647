"""Small files that programs keep: what is on the disk, and what becomes of a file that can't be read."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devices.rules import state_file
from devices.rules.state_file import SharedStateFile, StateFile, load_object
from tests.conftest import no_flush_of_folders, rounds


async def test_a_file_for_people_has_a_line_for_each_value(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json", readable=True)
    file.save({"A": {"value": "1"}})
    await file.flush()
    text = (tmp_path / "state.json").read_text()
    assert text.splitlines() == ["{", '  "A": {', '    "value": "1"', "  }", "}"]
    assert json.loads(text) == {"A": {"value": "1"}}


@pytest.mark.parametrize("text", ["[1, 2]", "null", '"text"', '{"A": ', "\x00", "[" * 100_000])
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


async def test_sections_of_others_are_not_lost_when_the_file_cannot_be_read_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, other = SharedStateFile(tmp_path / "state.json"), SharedStateFile(tmp_path / "state.json")
    assert other.store_now({"OTHER": {"n": 1}})
    with monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> str:
            raise OSError(24, "Too many open files")

        patch.setattr(Path, "read_text", fail)
        file.save({"OWN": {"n": 2}})
        await file.flush()
    assert file.load_now() == {"OTHER": {"n": 1}}
    file.again()
    await file.flush()
    assert file.load_now() == {"OTHER": {"n": 1}, "OWN": {"n": 2}}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_slow_disk_that_is_not_waited_for_has_the_last_value_when_the_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    answers, begun, replace = threading.Event(), threading.Event(), os.replace

    def slow(old: Path, new: Path) -> None:
        begun.set()
        assert answers.wait(10)
        replace(old, new)

    monkeypatch.setattr(state_file.os, "replace", slow)
    files = [StateFile(tmp_path / f"{number}.json") for number in range(2)]

    async def end() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
        for file in files:
            file.save({"n": 1})
        assert begun.wait(10)
        for file in files:
            file.save({"n": 2})
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(file.flush(), 0.05)
            assert file.busy
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        answers.set()

    asyncio.run(end())
    assert [load_object(file.path) for file in files if file.path] == [{"n": 2}, {"n": 2}]


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("waits", [False, True])
def test_a_write_that_fails_at_the_end_is_followed_by_one_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newer: bool, waits: bool
) -> None:
    answers, begun, replace = threading.Event(), threading.Event(), os.replace
    errors = [OSError(5, "Input/output error")]

    def slow(old: Path, new: Path) -> None:
        begun.set()
        assert answers.wait(10)
        if errors:
            raise errors.pop()
        replace(old, new)

    monkeypatch.setattr(state_file.os, "replace", slow)
    file = StateFile(tmp_path / "state.json")

    async def end() -> None:
        file.save({"n": 1})
        assert begun.wait(10)
        if newer:
            file.save({"n": 2})
        flushed = asyncio.create_task(file.flush())
        await asyncio.sleep(0)
        if not waits:
            flushed.cancel()
        answers.set()
        await asyncio.wait({flushed})
        if waits:
            assert await file.load() == {"n": 2 if newer else 1}
            assert not file.busy

    asyncio.run(end())
    assert load_object(tmp_path / "state.json") == {"n": 2 if newer else 1}


async def test_what_finds_no_thread_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = StateFile(tmp_path / "state.json")
    with monkeypatch.context() as patch:

        def none(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(state_file, "in_thread", none)
        file.save({"n": 1})
        await file.flush()
    assert "can't start new thread" in caplog.text
    file.again()
    await file.flush()
    assert await file.load() == {"n": 1}


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "flush_folder"])
def test_a_crash_at_any_step_and_byte_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = SharedStateFile(tmp_path / "state.json")
    old, new = {"A": {"n": 1}, "B": {"n": 7}}, {"A": {"n": 2, "more": "x" * 900}}
    size = len(json.dumps(old | new, indent=2))
    monkeypatch.setattr(state_file.os, "fsync", lambda descriptor: None)
    for cut in range(size) if step == "write" else [0]:
        assert file.store_now(old)
        with monkeypatch.context() as patch:
            _crash(patch, step, cut)
            with pytest.raises(Crash):
                file.store_now(new)
        assert file.load_now() == (old | new if step == "flush_folder" else old)
        assert file.store_now(new), "what a crash leaves behind is in the way of nothing"
        assert file.load_now() == old | new


def _crash(patch: pytest.MonkeyPatch, step: str, cut: int) -> None:
    def crash(*_: object) -> None:
        raise Crash

    if step == "write":

        def write(path: Path, text: str) -> None:
            path.write_text(text[:cut])
            raise Crash

        patch.setattr(state_file, "_write_text", write)
    elif step == "flush_folder":
        patch.setattr(state_file, step, crash)
    else:
        patch.setattr(state_file.os, step, crash)


_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from devices.rules.state_file import SharedStateFile

path, kills = Path(sys.argv[1]), int(sys.argv[2])
random.seed(1)
reached = 0
for _ in range(kills):
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        file = SharedStateFile(path)
        number = reached
        while True:
            os.write(theirs, number.to_bytes(8, "big"))
            number += 1
            file.store_now({"A": {str(entry): number for entry in range(20)}})
    acknowledged = os.read(ours, 8)
    time.sleep(random.uniform(0, 0.008))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(theirs)
    while found := os.read(ours, 65536):
        acknowledged += found
    os.close(ours)
    numbers = set((SharedStateFile(path).load_now() or {"A": {"0": 0}})["A"].values())
    assert len(numbers) == 1, numbers
    least = int.from_bytes(acknowledged[-8:], "big")
    reached = numbers.pop()
    assert reached in (least, least + 1), (reached, least)
    assert not path.with_suffix(".bad").exists()
print(reached)
"""


def test_a_process_that_is_killed_again_and_again_leaves_a_whole_file_each_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "state.json"), str(rounds(150))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=rounds(60), check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0, "it was killed while it wrote, not before"


async def test_processes_that_share_a_file_keep_the_sections_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    files = [SharedStateFile(path) for _ in range(8)]
    for n in range(10):
        for number, file in enumerate(files):
            file.save({f"S{number}": {"n": n}})
    for file in files:
        await file.flush()
    assert SharedStateFile(path).load_now() == {f"S{number}": {"n": 9} for number in range(8)}


def test_a_shared_file_that_cannot_be_written_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder").write_text("")
    assert not SharedStateFile(tmp_path / "folder" / "state.json").store_now({"A": {}})
    assert "cannot be written" in caplog.text
    assert not SharedStateFile(None).store_now({"A": {}})
    assert SharedStateFile(None).load_now() is None


def test_a_shared_file_says_whether_a_process_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "state.json"
    one, other, command = (SharedStateFile(path) for _ in range(3))
    with command.unused() as free:
        assert free, "there is not even a folder"
    for file in (one, other):
        file.hold()
    for file in (one, other):
        with command.unused() as free:
            assert not free
        file.release()
    with command.unused() as free:
        assert free


async def test_a_file_system_that_cannot_flush_a_folder_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_flush_of_folders(monkeypatch)
    file = StateFile(tmp_path / "state.json")
    file.save({"a": 1})
    await file.flush()
    assert load_object(tmp_path / "state.json") == {"a": 1}
    assert file.writes == 1
    assert not caplog.records
