"""What ``labioc trips`` shows of the files that servers keep."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ioc.automation.trip_files import COLUMNS, Trip, TripFiles
from ioc.cli import main
from ioc.clock import local_time

NOW = time.time()


@pytest.fixture
def site(write_site: Callable[..., str]) -> str:
    return write_site('[device.channel.1]\nalias = "CALO:PMT07"\n')


def trip(channel: str, ago: float, volts: float | None) -> Trip:
    times = tuple(second / 2 for second in range(-40, 21))
    columns = {"T": times, "VMON": tuple(None if t == 1.0 else 500.0 if t < 0 else 3.0 for t in times)}
    samples = {name: columns.get(name, tuple(1.5 for _ in times)) for name in COLUMNS}
    return Trip(f"LAB:HV1:{channel}", NOW - ago, 1, volts, 1.25, "TRIPPED", ("STAT:TRIP",), samples)


@pytest.fixture
def trips(site: str, tmp_path: Path) -> list[Trip]:
    found = [trip("CH00", 90_000.0, 500.0), trip("CH01", 60.0, None)]

    async def save() -> None:
        files = TripFiles(tmp_path / "state" / "trips")
        for one in found:
            files.save(f"LAB.HV1.{one.pv[-4:]}", one)
        await files.close()

    asyncio.run(save())
    return found


def test_it_lists_the_trips_of_a_site(site: str, trips: list[Trip], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trips", site]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"{local_time(trips[0].time)}  LAB:HV1:CH00                 500.0 V       1.250 uA    61 samples"
        "  TRIPPED, STAT:TRIP"
    )
    assert second.startswith(f"{local_time(trips[1].time)}  LAB:HV1:CH01  CALO:PMT07         ? V")
    assert main(["trips", site, "--channel", "CALO:*"]) == 0
    assert capsys.readouterr().out.splitlines() == [second]
    assert main(["trips", site, "--since", "1h", "--channel", "LAB:HV1:CH0?"]) == 0
    assert capsys.readouterr().out.splitlines() == [second]


def test_it_has_every_sample_as_json(site: str, trips: list[Trip], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trips", site, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["pv"] for one in found] == ["LAB:HV1:CH00", "LAB:HV1:CH01"]
    assert found[1]["alias"] == "CALO:PMT07"
    assert found[0]["samples"]["VMON"] == list(trips[0].samples["VMON"])


@pytest.mark.usefixtures("trips")
def test_it_draws_the_last_one(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trips", site, "--plot"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "trip at" in line] == [
        "LAB:HV1:CH01:VMON", "LAB:HV1:CH01:IMON", "LAB:HV1:CH01:VSET:RBV",
    ]  # fmt: skip
    picture = tmp_path / "trip.svg"
    assert main(["trips", site, "--channel", "*CH00", "--plot", str(picture)]) == 0
    assert "LAB:HV1:CH00:VMON" in picture.read_text()
    assert main(["trips", site, "--plot", str(tmp_path / "trip.doc")]) == 1
    assert "trip.doc" in capsys.readouterr().err


def test_it_says_when_there_is_none(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trips", site]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err.startswith("no such trip in")) == ("", True)
    assert main(["trips", site, "--plot"]) == 0
    assert main(["trips", site, "--since", "yesterday"]) == 2
