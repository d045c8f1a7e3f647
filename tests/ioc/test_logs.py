"""The log: its forms, and what repeats itself as a number."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ioc import logs
from ioc.logs import MOST_CAUSES, PERIOD, JsonFormatter, OncePerCause, TextFormatter, cause_of
from tests.ioc.fakes import FakeClock, FakeTimer


class Rig:
    """A log on a clock that the test moves."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.clock = FakeClock()
        self.stream = io.StringIO()
        target = logging.StreamHandler(self.stream)
        target.setFormatter(formatter)
        self.handler = OncePerCause(target, self.clock.monotonic, self.clock.call_later)
        self.log = logging.Logger("labioc.test")
        self.log.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig(logging.Formatter("%(message)s"))
    yield made
    made.handler.close()


def text_rig() -> Rig:
    return Rig(TextFormatter())


async def test_of_one_cause_there_is_a_line_in_ten_seconds_with_the_number_of_the_others(rig: Rig) -> None:
    for number in range(5000):
        rig.log.warning("HV1: %d V is above the limit", number)
    rig.log.warning("HV2: 1 V is above the limit")
    assert rig.lines() == ["HV1: 0 V is above the limit", "HV2: 1 V is above the limit"]
    await rig.clock.advance(PERIOD + 0.1)
    assert rig.lines()[2:] == ["HV1: 4999 V is above the limit"]
    rig.log.warning("HV1: 7 V is above the limit")  # the next period has begun with that line
    assert len(rig.lines()) == 3
    await rig.clock.advance(PERIOD)
    assert rig.lines()[3:] == ["HV1: 7 V is above the limit"]
    await rig.clock.advance(PERIOD)
    rig.log.warning("HV1: 8 V is above the limit")
    assert rig.lines()[4:] == ["HV1: 8 V is above the limit"]


async def test_without_a_timer_what_was_counted_is_logged_before_the_next_line(rig: Rig) -> None:
    def no_thread(seconds: float, callback: object) -> FakeTimer:
        raise RuntimeError("can't start new thread")

    rig.handler._later = no_thread
    for number in range(3):
        rig.log.error("disk %d is full", number)
    await rig.clock.advance(PERIOD + 0.1)
    rig.log.error("disk %d is full", 3)
    assert rig.lines() == ["disk 0 is full", "disk 2 is full", "disk 3 is full"]


async def test_what_was_counted_is_logged_at_the_end() -> None:
    rig = text_rig()
    for number in range(3):
        rig.log.error("disk %d is full", number)
    rig.handler.close()
    first, last = rig.lines()
    assert first.endswith("ERROR disk 0 is full")
    assert last.endswith("ERROR disk 2 is full [2 of this kind in 10 s, this is the last]")


async def test_information_that_differs_by_a_number_is_no_repetition(rig: Rig) -> None:
    for number in (1, 2, 2):
        rig.log.info("VSET: %d", number)
    assert rig.lines() == ["VSET: 1", "VSET: 2"]


async def test_numbers_in_names_and_addresses_keep_causes_apart(rig: Rig) -> None:
    for name in ("LAB:HV1:CH00", "LAB:HV1:CH01", "192.168.1.17:5065", "192.168.1.18:5065"):
        rig.log.warning("%s is lost", name)
    assert len(rig.lines()) == 4


async def test_a_message_may_say_what_its_cause_is(rig: Rig) -> None:
    for number in range(3):
        rig.log.warning("refused CH0%d", number, extra={"cause": ("HV1", cause_of(f"'{number}' is not a number"))})
    assert rig.lines() == ["refused CH00"]


async def test_more_causes_than_can_be_kept_count_as_one(rig: Rig) -> None:
    def words(start: int) -> None:
        for number in range(start, start + 5000):
            rig.log.warning("".join(chr(97 + int(digit)) for digit in str(number)))

    words(10_000)
    assert len(rig.lines()) == MOST_CAUSES + 1
    await rig.clock.advance(2 * PERIOD + 0.1)
    before = len(rig.lines())
    words(20_000)  # those of before are forgotten
    assert len(rig.lines()) >= before + MOST_CAUSES - 1


def test_a_line_for_journald_has_its_priority_also_in_a_traceback() -> None:
    rig = Rig(TextFormatter(priority=True))
    try:
        raise ValueError("x")
    except ValueError:
        rig.log.exception("it failed")
    rig.log.info("a put")
    rig.handler.close()
    assert rig.lines()[0] == "<3>ERROR it failed"
    assert rig.lines()[-1] == "<6>INFO a put"
    assert all(line.startswith("<3>") for line in rig.lines()[:-1])


def test_a_structured_line_has_what_the_event_is_about() -> None:
    rig = Rig(JsonFormatter())
    rig.log.warning("refused %s", "VSET", extra={"pv": "LAB:HV1:CH00:VSET", "user": "anna", "cause": "x"})
    rig.log.warning("refused %s", "VSET", extra={"pv": "LAB:HV1:CH00:VSET", "user": "ben", "cause": "x"})
    rig.handler.close()
    first, last = (json.loads(line) for line in rig.lines())
    assert first["time"].endswith("+00:00")
    del first["time"], last["time"]
    assert first == {
        "level": "WARNING", "logger": "labioc.test", "message": "refused VSET", "pv": "LAB:HV1:CH00:VSET",
        "user": "anna",
    }  # fmt: skip
    assert last == first | {"user": "ben", "repeated": 1}


def test_a_structured_line_about_a_device_has_its_name() -> None:
    rig = Rig(JsonFormatter())
    rig.log.warning("%s: lost (%s)", "HV1", "no answer")
    rig.log.info("%s: %s by %s", "LAB:HV1:CH00:VSET", "0 -> 1", "anna")
    rig.log.info("RecSync: waiting")
    rig.handler.close()
    assert [json.loads(line).get("device") for line in rig.lines()] == ["HV1", None, None]


def test_a_traceback_is_a_key_of_a_structured_line() -> None:
    rig = Rig(JsonFormatter())
    try:
        raise ValueError("nothing")
    except ValueError:
        rig.log.exception("it failed")
    rig.handler.close()
    (line,) = rig.lines()
    assert "ValueError: nothing" in json.loads(line)["exception"]


def test_a_file_is_opened_anew_after_it_has_been_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "labioc.log"
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers.clear()
    try:
        logs.set_up_logging(path=path)
        logging.getLogger("labioc").info("first")
        path.rename(tmp_path / "labioc.log.1")
        logging.getLogger("labioc").info("second")
        for handler in root.handlers:
            handler.close()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.getLogger("caproto").setLevel(logging.NOTSET)
    assert [line.split()[-1] for line in (tmp_path / "labioc.log.1").read_text().splitlines()] == ["first"]
    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["second"]


async def test_GIVEN_clients_that_fill_the_causes_WHEN_something_else_goes_wrong_THEN_it_is_logged(rig: Rig) -> None:
    for number in range(MOST_CAUSES + 5):
        rig.log.warning("refused x%d", number)
    rig.log.error("HV1: the device is lost")
    assert rig.lines()[-1] == "HV1: the device is lost"


async def test_GIVEN_one_message_WHEN_the_errors_behind_it_differ_THEN_each_is_logged() -> None:
    rig = text_rig()
    for error in (ValueError("1 is odd"), ValueError("3 is odd"), KeyError("x")):
        try:
            raise error
        except (ValueError, KeyError):
            rig.log.exception("HV1: internal error")
    text = rig.stream.getvalue()
    assert [word in text for word in ("1 is odd", "3 is odd", "KeyError: 'x'")] == [True, False, True]
    rig.handler.close()


def test_a_value_with_control_characters_is_one_line_and_does_nothing_to_a_terminal() -> None:
    rig = text_rig()
    rig.log.info("LAB:A: %s -> 1", "\x1b[2J\n2026-11-27 CRITICAL all is lost")
    assert [line.partition(" INFO ")[2] for line in rig.lines()] == [
        "LAB:A: \\x1b[2J\\x0a2026-11-27 CRITICAL all is lost -> 1"
    ]
    rig.handler.close()
