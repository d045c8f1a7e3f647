"""Beacons on pairs of virtual Ethernet cards between network namespaces, without a default route."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import rounds, unavailable
from tests.machines import needs
from tests.softioc import ROOT, ServerProcess

TYPES = Path(__file__).parents[2] / "conformance" / "records.db"
PORT = 15064
PERIODS = [0.02 * 2**n for n in range(7)]
"""Seconds between the first beacons of a C IOC."""

_LISTEN = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 5065))
print("ready 0", flush=True)
while True:
    data, (host, _) = sock.recvfrom(64)
    if data[:2] == b"\\x00\\x0d":
        print("beacon", host, int.from_bytes(data[6:8], "big"), int.from_bytes(data[8:12], "big"),
              time.monotonic(), flush=True)
"""

# Clients of a computer get beacons through its repeater, which they start when they find the program.
_REPEATER = """
import ctypes
from epicscorelibs.path import get_lib
print("ready 0", flush=True)
ctypes.CDLL(get_lib("ca")).caRepeaterThread(None)
"""

_CLIENT = """
import sys
import epics
pv = epics.PV("T:LO", connection_callback=lambda conn=None, **_: print("up" if conn else "down", flush=True))
print("ready 0", flush=True)
while True:
    epics.poll(0.05)
"""


class Host:
    """A network namespace: a computer of its own as far as the network is concerned."""

    _numbers = itertools.count()

    def __init__(self, stack: ExitStack) -> None:
        self.name = f"labioc-{os.getpid()}-{next(self._numbers)}"
        self._stack = stack
        _ip("netns", "add", self.name)
        stack.callback(_ip, "netns", "del", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        """Configure this host."""
        _ip("-n", self.name, *words)

    def run(self, name: str, command: list[str], **environment: str) -> ServerProcess:
        """Start a process on this host; its settings of Channel Access are these alone."""
        unset = [f"-u{key}" for key in os.environ if key.startswith("EPICS_")]
        words = ["ip", "netns", "exec", self.name, "env", *unset, *(f"{k}={v}" for k, v in environment.items())]
        process = ServerProcess(name, [*words, *command], {}, 30.0)
        self._stack.callback(process.kill)
        return process

    def server(self, **environment: str) -> ServerProcess:
        """Start labioc's server on this host."""
        arguments = f'[{PORT}, [["{TYPES}", {{}}]]]'
        return self.run("labioc", [sys.executable, "-m", "tests.labioc_server", arguments], **environment)

    def listen(self) -> ServerProcess:
        """Print the beacons that arrive at this host."""
        return self.run("beacons", [sys.executable, "-c", _LISTEN])


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, cwd=ROOT, timeout=20)


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host, Host]]:
    """A server's computer with two cards, 10.231.1.1 and 10.231.2.1, and a computer at the end of each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        unavailable("network namespaces need root and the command ip")
    with ExitStack() as stack:
        try:
            server, *others = (Host(stack) for _ in range(3))
        except subprocess.CalledProcessError as error:
            unavailable(f"no network namespace can be made: {error.stderr.decode()}")
        for number, other in enumerate(others, 1):
            card = f"lab{number}"
            server.ip("link", "add", card, "type", "veth", "peer", "name", card, "netns", other.name)
            for host, last in ((server, 1), (other, 2)):
                host.ip("address", "add", f"10.231.{number}.{last}/24", "broadcast", "+", "dev", card)
                host.ip("link", "set", card, "up")
        yield server, others[0], others[1]


def test_GIVEN_two_cards_and_no_default_route_WHEN_served_THEN_each_network_gets_beacons_with_its_address(
    hosts: tuple[Host, Host, Host],
) -> None:
    server, *others = hosts
    listeners = [other.listen() for other in others]
    server.server(EPICS_CAS_INTF_ADDR_LIST="")
    for number, listener in enumerate(listeners, 1):
        assert listener.wait_line("beacon").split()[1:3] == [f"10.231.{number}.1", str(PORT)]


def test_GIVEN_one_interface_WHEN_served_THEN_the_other_network_gets_no_beacon(hosts: tuple[Host, Host, Host]) -> None:
    server, first, second = hosts
    reached, silent = first.listen(), second.listen()
    running = server.server(EPICS_CAS_INTF_ADDR_LIST="10.231.1.1")
    for _ in range(4):  # the fourth comes 0.14 s after the first; both sockets get theirs in the same round
        assert reached.wait_line("beacon").split()[1:3] == ["10.231.1.1", str(PORT)]
    with pytest.raises(TimeoutError):
        silent.wait_line("beacon", 0.5)
    assert running.running()


def test_GIVEN_a_start_WHEN_beacons_are_sent_THEN_count_and_periods_are_those_of_a_c_ioc(
    hosts: tuple[Host, Host, Host],
) -> None:
    server, other, _ = hosts
    listener = other.listen()
    server.server(EPICS_CAS_INTF_ADDR_LIST="")
    beacons = [listener.wait_line("beacon").split()[3:] for _ in range(len(PERIODS) + 1)]
    assert [int(count) for count, _ in beacons] == [0, *range(len(PERIODS))]
    times = [float(moment) for _, moment in beacons]
    for period, (before, after) in zip(PERIODS, itertools.pairwise(times), strict=True):
        assert after - before > 0.8 * period  # a loaded machine may be late, but is never early


@pytest.mark.timeout(180)
def test_GIVEN_a_client_90_s_without_its_server_WHEN_it_starts_again_THEN_the_client_is_back_within_5_s(
    hosts: tuple[Host, Host, Host],
) -> None:
    server, other, _ = hosts
    if rounds(1) == 1:
        pytest.skip("takes 95 s, see make test-long")
    running = server.server(EPICS_CAS_INTF_ADDR_LIST="")
    needs("epicscorelibs")
    needs("pyepics")
    other.run("repeater", [sys.executable, "-c", _REPEATER])
    client = other.run(
        "client",
        [sys.executable, "-c", _CLIENT],
        EPICS_CA_ADDR_LIST="10.231.1.255",
        EPICS_CA_AUTO_ADDR_LIST="NO",
        EPICS_CA_SERVER_PORT=str(PORT),
    )
    client.wait_line("up", 30.0)
    running.kill()
    client.wait_line("down", 30.0)
    _pass(90.0)  # then the client searches so rarely that only a beacon helps
    server.server(EPICS_CAS_INTF_ADDR_LIST="")
    client.wait_line("up", 5.0)


def _pass(seconds: float) -> None:
    """Let the time pass in which a client's searches become rare; nothing can be waited for meanwhile."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.2)
