"""``labioc run``, ``demo`` and ``simulate`` as processes of their own: what they print and how they end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.libca import Context

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from ioc.cli import main; raise SystemExit(main())"]
START_SECONDS = 20.0


class Command:
    """A running sub-command whose standard output is read line by line."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )
        self.output, self.errors = [""], [""]
        self._readers = [
            threading.Thread(target=self._collect, args=pair)
            for pair in ((self.process.stdout, self.output), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _collect(stream: Iterator[str], text: list[str]) -> None:
        for line in stream:
            text[0] += line

    def wait_for(self, pattern: str, text: list[str] | None = None) -> re.Match[str]:
        """Wait for something in the output."""
        text, end = text or self.output, time.monotonic() + START_SECONDS
        while not (match := re.search(pattern, text[0])):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"no {pattern!r} in:\n{self.output[0]}\n{self.errors[0]}")
            time.sleep(0.02)
        return match

    def end(self, number: int) -> float:
        """Send a signal, wait for the end, and return how long it took."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(10)
        took = time.monotonic() - begun
        self.close()
        return took

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def command(*arguments: str, **environment: str) -> Iterator[Command]:
    running = Command(arguments, environment)
    try:
        yield running
    finally:
        running.close()


def ask(port: int, line: str) -> str:
    """Say one line to a TCP port and return the line that comes back."""
    with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
        connection.sendall(f"{line}\r\n".encode())
        return connection.makefile().readline().strip()


def ends_cleanly(demo: Command, number: int) -> None:
    """End the demo with a signal."""
    assert demo.end(number) < 2.0
    assert demo.process.returncode == 0
    assert "Traceback" not in demo.errors[0]


def test_GIVEN_the_demo_WHEN_its_hints_are_followed_THEN_they_work_and_sigterm_ends_it_within_2_s() -> None:
    with command("demo", "--port", "0") as demo:
        demo.wait_for("Ctrl-C ends everything")
        address = demo.wait_for(r"EPICS_CA_ADDR_LIST=(127\.0\.0\.1:\d+)")[1]
        door = int(demo.wait_for(r"back door on port (\d+)")[1])
        assert re.search(r"labioc put LAB:HV1:CH00:VSET 500; labioc put LAB:HV1:CH00:ON ON\n", demo.output[0])
        assert demo.wait_for(r"echo (.*) > /dev/tcp/127.0.0.1/(\d+)").groups() == ("trip 0", str(door))
        with Context(address) as context:
            names = ("VMON", "VSET", "ON", "TRIP", "TRIP:ACK:CMD")
            vmon, vset, on, trip, acknowledge = context.connect([f"LAB:HV1:CH00:{name}" for name in names])
            assert vmon.value() < 1.0
            assert vset.put_callback(40.0) == 1
            assert on.put_callback(1) == 1
            volts = vmon.monitor()
            end = time.monotonic() + 10.0
            while volts.wait(1)[-1].value < 35.0:
                assert time.monotonic() < end
                time.sleep(0.05)
            volts.clear()
            ask(door, "trip 0")
            tripped = trip.monitor()
            tripped.wait_value(1, 5.0)
            tripped.clear()
            assert acknowledge.put_callback(1) == 1
            assert trip.value() == 0
        ends_cleanly(demo, signal.SIGTERM)


def test_GIVEN_a_taken_port_WHEN_the_demo_starts_THEN_it_takes_another_and_ctrl_c_ends_it_within_2_s() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with command("demo", EPICS_CA_SERVER_PORT=port) as demo:
            demo.wait_for("Ctrl-C ends everything")
            assert f"Port {port} is taken" in demo.output[0]
            assert f"127.0.0.1:{port}" not in demo.output[0]
            assert "EPICS_CA_ADDR_LIST=127.0.0.1:" in demo.output[0]
            ends_cleanly(demo, signal.SIGINT)
            assert "WARNING" not in demo.errors[0]


def test_GIVEN_a_site_whose_device_is_away_WHEN_run_THEN_it_serves_and_says_what_it_does(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    site = tmp_path / "site.toml"
    site.write_text(
        f'[site]\nprefix = "LAB"\n[server]\ninterfaces = ["127.0.0.1"]\n'
        f'[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:{port}"\n'
    )
    with command("run", str(site), "--port", "0") as run:
        run.wait_for(r"HV1: no connection \(.*\); its PVs are INVALID, trying to reconnect", run.errors)
        assert run.end(signal.SIGTERM) < 2.0
        assert run.process.returncode == 0
        assert run.errors[0].count("no connection") == 1
        assert "Traceback" not in run.errors[0]


DEVICE = '[[device]]\nname = "HV1"\ntype = "caen-dt55xx"\naddress = "tcp://127.0.0.1:1"\n'


def test_GIVEN_a_bad_site_file_WHEN_run_THEN_status_2_and_every_mistake(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[site]\nprefix = "lab"\nprefixx = 1\n')
    with command("run", str(site)) as run:
        assert run.process.wait(START_SECONDS) == 2
        run.close()
        assert "prefixx" in run.errors[0]
        assert "lab" in run.errors[0]


def test_GIVEN_an_address_that_can_not_be_had_WHEN_run_THEN_status_1_and_a_sentence(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[site]\nprefix = "LAB"\n[server]\ninterfaces = ["192.0.2.1"]\n' + DEVICE)
    with command("run", str(site)) as run:
        assert run.process.wait(START_SECONDS) == 1
        run.close()
        assert "can't serve Channel Access" in run.errors[0]
        assert "Traceback" not in run.errors[0]


@pytest.mark.parametrize("port", ["-1", "65536", "x", "1.5"])
def test_GIVEN_no_port_number_WHEN_run_THEN_wrong_usage(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ioc.cli import main

    with pytest.raises(SystemExit) as end:
        main(["run", "site.toml", f"--port={port}"])
    assert end.value.code == 2
    assert "is not a port number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "request_line", "answer"),
    [
        (["--channels", "2"], "$CMD:MON,PAR:BDNCH", r"#CMD:OK,VAL:0*2;?"),
        (["--profile", "B"], "$BD:00,CMD:MON,PAR:BDNCH", r"#BD:00,CMD:OK,VAL:0*4;?"),
    ],
)
def test_GIVEN_a_simulator_alone_WHEN_asked_THEN_it_answers_on_all_its_ports(
    options: list[str], request_line: str, answer: str
) -> None:
    with command("simulate", "caen-dt55xx", "--serial", *options) as simulator:
        simulator.wait_for("Ctrl-C ends it")
        port = int(simulator.wait_for(r"tcp://127\.0\.0\.1:(\d+)")[1])
        door = int(simulator.wait_for(r"telnet 127\.0\.0\.1 (\d+)")[1])
        terminal = simulator.wait_for(r"serial://(\S+)\?baudrate=9600")[1]
        assert re.fullmatch(answer, ask(port, request_line))
        assert ask(door, "load 0 5").startswith("error") is False
        assert Path(terminal).exists()
        assert simulator.end(signal.SIGINT) < 2.0
        assert simulator.process.returncode == 0
        assert simulator.errors[0] == ""
