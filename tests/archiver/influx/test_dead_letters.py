"""Points that a server refuses: they alone are kept as dead letters, in a file that is bounded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archiver.influx.deadletter import DeadLetters
from archiver.influx.writers import State
from archiver.points.lineprotocol import Point
from tests.archiver.influx.fake_influx import Status
from tests.archiver.influx.writer_rig import Bench, MemoryBlock


def test_GIVEN_refused_points_in_a_batch_WHEN_it_is_sent_THEN_they_alone_go_to_the_dead_letters(bench: Bench) -> None:
    bad = {3, 4, 77, 500, 999}
    bench.fake.refuse = lambda point: "field type conflict" if point.time - 10**18 in bad else None  # type: ignore[operator]
    bench.log.add(0, 1000)
    bench.log.add(1000, 100)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 1095
    assert bench.progress.refused == 5
    assert bench.progress.points == 1095
    text = bench.letters.path.read_text(encoding="utf-8").splitlines()
    assert {int(line.split()[-1]) - 10**18 for line in text[1::2]} == bad
    assert len(text) == 2 * len(bad)
    assert all(line.startswith("# 20") and "field type conflict" in line for line in text[::2])


def test_GIVEN_a_field_that_is_refused_WHEN_it_is_spread_over_a_batch_THEN_few_requests_find_it(bench: Bench) -> None:
    bench.fake.refuse = lambda point: "type" if "BAD" in point.fields else None
    payload = b"".join(
        b"HV,channel=%d %s=%d.5 %d\n" % (n % 7, b"BAD" if n % 20 == 0 else b"VMON", n, 10**18 + n) for n in range(2000)
    )
    bench.log.blocks.append(MemoryBlock(1, payload, 2000))
    bench.writer.start()
    bench.wait_drained()
    assert (bench.progress.points, bench.progress.refused) == (1900, 100)
    assert bench.progress.requests < 250  # two for each that is refused, and some to find where they begin
    values = {key[-1]: fields["VMON"] for key, fields in bench.fake.points.items()}
    assert values == {10**18 + n: n + 0.5 for n in range(2000) if n % 20}


def test_GIVEN_a_full_disk_WHEN_a_dead_letter_cannot_be_kept_THEN_it_is_later_and_the_others_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.writers.LONGEST_DELAY", 0.02)
    bad = [5, 40, 90]
    bench.fake.refuse = lambda point: "no" if point.time - 10**18 in bad else None  # type: ignore[operator]
    failing = [OSError(28, "No space left on device")] * 3
    add = bench.letters.add

    def full(line: bytes, reason: str) -> None:
        if line.endswith(b"40") and failing:
            raise failing.pop()
        add(line, reason)

    monkeypatch.setattr(bench.letters, "add", full)
    bench.log.add(0, 100)
    bench.writer.start()
    bench.wait_drained()
    assert not failing
    letters = bench.letters.path.read_text(encoding="utf-8").splitlines()
    assert sorted(int(line.split()[-1]) - 10**18 for line in letters[1::2]) == bad
    assert (bench.progress.refused, bench.progress.points) == (3, 97)


def test_the_dead_letter_file_is_bounded_and_what_it_pushes_out_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archiver.influx.deadletter.LARGEST", 200)
    letters = DeadLetters(tmp_path, "s")
    for number in range(50):
        letters.add(b"m a=%d 1" % number, "reason\nin two lines")
    letters.sync()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead-letters-s.lp", "dead-letters-s.lp.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 600
    assert letters.path.read_text(encoding="utf-8").endswith("reason in two lines\nm a=49 1\n")
    kept = sum(path.read_bytes().count(b"\nm a=") for path in tmp_path.iterdir())
    assert kept + letters.lost == 50


def test_a_dead_letter_is_kept_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = DeadLetters(tmp_path, "s")
    letters.add(b"m a=1 1", "why")
    whole = letters.path.read_bytes()
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:7], at))
        with pytest.raises(OSError, match="No space"):
            letters.add(b"m a=2 2", "why")
    assert letters.path.read_bytes() == whole
    letters.path.write_bytes(whole[:-3])  # as a loss of power leaves it
    letters.add(b"m a=3 3", "why")
    assert letters.path.read_text(encoding="utf-8").splitlines()[-1] == "m a=3 3"
    assert len(letters.path.read_text(encoding="utf-8").splitlines()) == 4


def refuse_batches_with(bench: Bench, is_bad: Callable[[Point], bool], code: int, words: str) -> None:
    """Let the server answer a whole request with an error, and store none of it, when one point in it is bad."""
    store = bench.fake.store
    bench.fake.refusal = code
    bench.fake.store = (  # type: ignore[method-assign]
        lambda points: words if any(map(is_bad, points)) else store(points)
    )


@pytest.mark.parametrize(
    "words",
    [
        '{"code":"internal error","message":"unexpected error writing points: engine: field type conflict"}',
        '{"code":"internal error","message":"partial write: points dropped=1"}',
        '{"code":"internal error","message":"shard 17 failed"}',
        "Internal Server Error",
    ],
)
def test_GIVEN_a_point_that_causes_a_server_error_WHEN_it_is_in_a_batch_THEN_it_alone_is_a_dead_letter(
    bench: Bench, words: str
) -> None:
    refuse_batches_with(bench, lambda point: point.time == 10**18 + 37, 500, words)
    for first in (0, 100, 200):
        bench.log.add(first, 100)
    bench.writer.start()
    bench.wait_drained()
    assert len(bench.fake.points) == 299
    assert (bench.progress.refused, bench.progress.state) == (1, State.OK)
    assert "VMON=37.5 1000000000000000037" in bench.letters.path.read_text(encoding="utf-8")


def test_GIVEN_a_server_that_answers_everything_with_an_error_WHEN_it_recovers_THEN_no_point_is_a_dead_letter(
    bench: Bench,
) -> None:
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    bench.fake.always = Status(500, '{"error":"timeout"}')
    bench.log.add(10, 1)
    bench.wait(lambda: bench.progress.failures >= 6)
    bench.fake.always = None
    bench.wait_drained()
    assert (len(bench.fake.points), bench.progress.refused) == (11, 0)


def test_GIVEN_a_server_that_recovers_late_WHEN_another_point_is_stored_THEN_the_last_one_is_too(bench: Bench) -> None:
    bench.log.add(0, 10)
    bench.writer.start()
    bench.wait_drained()
    bench.fake.faults.extend([Status(503, '{"error":"timeout"}')] * 4)  # the next one is that of the other point
    bench.log.add(10, 1)
    bench.wait_drained()
    assert not bench.fake.faults
    assert (len(bench.fake.points), bench.progress.refused, bench.progress.state) == (11, 0, State.OK)


def test_GIVEN_a_field_of_another_type_WHEN_rows_come_THEN_their_other_fields_are_stored(
    bench: Bench,
) -> None:
    conflict = "field type conflict: input field IS_ON on measurement HV is type integer, already exists as boolean"
    kind: list[type] = [bool]
    bench.fake.refuse = lambda point: conflict if type(point.fields.get("IS_ON", kind[0]())) is not kind[0] else None
    rows = b"".join(b"HV,channel=1 VMON=%d.5,IS_ON=1i,STAT=3i %d\n" % (n, 10**18 + n) for n in range(100))
    bench.log.blocks.append(MemoryBlock(1, rows, 100))
    bench.writer.start()
    bench.wait_drained()
    assert [fields["VMON"] for fields in bench.fake.points.values()] == [n + 0.5 for n in range(100)]
    assert all("IS_ON" not in fields for fields in bench.fake.points.values())
    assert bench.progress.refused == 100
    assert bench.progress.requests < 100  # the field is set aside once it is known
    assert [text.partition(":")[0] for text in bench.progress.conflicts] == ["field IS_ON of HV is refused"]
    kind[0] = int  # mended: the trial of the next batch finds it out
    bench.log.blocks.append(MemoryBlock(2, rows.replace(b" 1000", b" 2000"), 100))
    bench.wait_drained()
    stored = [fields for key, fields in bench.fake.points.items() if key[-1] >= 2 * 10**18]
    assert len(stored) == 100
    assert all(fields["IS_ON"] == 1 for fields in stored)  # those behind the trial waited for it
    assert bench.progress.refused == 100
    bench.log.blocks.append(MemoryBlock(3, b"HV,channel=1 VMON=1.0,IS_ON=1i 7\n", 1))
    bench.wait_drained()
    assert bench.fake.points[("HV", ("channel", "1"), 7)] == {"VMON": 1.0, "IS_ON": 1}
    assert bench.progress.conflicts == ()


def test_GIVEN_a_umask_that_forbids_nothing_WHEN_a_letter_is_kept_THEN_only_its_owner_may_write_it(
    tmp_path: Path,
) -> None:
    letters = DeadLetters(tmp_path, "db")
    before = os.umask(0)
    try:
        letters.add(b"HV VMON=1 1", "no")
    finally:
        os.umask(before)
    assert letters.path.stat().st_mode & 0o777 == 0o644
