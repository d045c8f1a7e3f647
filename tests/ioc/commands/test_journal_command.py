"""What ``labioc journal`` shows of the files that servers keep."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ioc.cli import main
from ioc.services.journal import APPLIED, OTHERWISE, REFUSED, Entry

ROOT = Path(__file__).resolve().parents[3]
VSET = "LAB:HV1:CH00:VSET"


@pytest.fixture
def site(tmp_path: Path, write_site: Callable[..., str]) -> str:
    (tmp_path / "state").mkdir()
    now = time.time()
    puts = tmp_path / "state" / "LAB.IOC-puts.jsonl"
    old = Entry(now - 90_000, VSET, "olga", "desk1", "127.0.0.1", "0", "100", "100", APPLIED, "", 0.2)
    done = Entry(now - 60, VSET, "olga", "desk1", "127.0.0.1", "100", "500", "500", APPLIED, "", 0.2)
    took = Entry(now - 20, VSET, "ben", "desk2", "10.0.0.7", "500", "4000", "3000", OTHERWISE, "took 3000 V", 0.3)
    (tmp_path / "state" / "LAB.IOC-puts.jsonl.1").write_text(old.line())
    puts.write_text(done.line() + "cut by a power fail\n" + took.line())
    refused = Entry(now - 40, f"{VSET}.HIGH", "ben", "desk2", "10.0.0.7", "0", "7", "", REFUSED, "no expert", 0.0)
    (tmp_path / "state" / "LAB.IOC-refused.jsonl").write_text(refused.line())
    return write_site()


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return what the command prints, each line without its time."""
    assert main(["journal", *arguments]) == 0
    return [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]


DONE = f"{VSET}  100 -> 500  olga@desk1 (127.0.0.1)  applied  0.200 s"
REFUSAL = f"{VSET}.HIGH  0 -> 7  ben@desk2 (10.0.0.7)  refused: no expert  0.000 s"
TOOK = f"{VSET}  500 -> 4000, reads back 3000  ben@desk2 (10.0.0.7)  otherwise: took 3000 V  0.300 s"


def test_it_lists_the_puts_of_a_day_in_the_order_in_which_they_came(
    site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, site) == [DONE, REFUSAL, TOOK]
    assert len(shown(capsys, site, "--since", "7d")) == 4
    assert shown(capsys, site, "--until", "30s") == [DONE, REFUSAL]


def test_it_selects_by_pv_user_and_outcome(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, site, "--refused") == [REFUSAL, TOOK]
    assert shown(capsys, site, "--user", "olga") == [DONE]
    assert shown(capsys, site, "--user", "*@desk2", "--pv", "*.HIGH") == [REFUSAL]
    assert shown(capsys, site, "--pv", VSET) == [DONE, TOOK]


def test_it_prints_the_lines_of_the_journal(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", site, "--json", "--user", "olga"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["pv"], line["old"], line["new"], line["outcome"]) == (VSET, "100", "500", "applied")


def test_it_says_so_when_there_is_none(site: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["journal", site, "--only", "HV1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"no such put in {tmp_path / 'state'} since " in captured.err


def test_a_time_that_is_none_is_refused(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", site, "--since", "yesterday"]) == 2
    assert "the arguments cannot be used\n  journal: 'yesterday' is neither a time" in capsys.readouterr().err


def test_it_follows(site: str, tmp_path: Path) -> None:
    command = "from ioc.cli import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", command, "journal", site, "--follow", "--user", "olga"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert DONE in process.stdout.readline()
            with open(tmp_path / "state" / "LAB.IOC-puts.jsonl", "a", encoding="utf-8") as file:
                file.write(Entry(time.time(), VSET, "olga", "desk1", "127.0.0.1", "500", "0", "0", APPLIED).line())
            assert "500 -> 0" in process.stdout.readline()
        finally:
            process.kill()
