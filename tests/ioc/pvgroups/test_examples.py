"""caproto's own example groups, unchanged: a C client sees what it sees from caproto's server, event by event."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ioc.commands.test_commands_serving import command
from tests.libca import CaError, Channel, Context, Reply, Subscription
from tests.softioc import free_port

STS, TIME, CTRL = 7, 14, 28
START_SECONDS = 20.0

#: Module of the example, its class, the PVs to look at, and puts: PV and value, each with completion.
SCENARIOS: dict[str, tuple[str, Sequence[str], Sequence[tuple[str, Any]]]] = {
    "records": (
        "RecordMockingIOC",
        ["A", "B", "C", "D", "E", "A.RVAL", "C.HIHI", "C.EGU", "C.DESC", "B.PREC", "C.SEVR", "C.STAT", "C.RTYP"],
        [("A", 5.0), ("B", 7.5), ("B", 1.0), ("C", 1.5), ("C", 2.5), ("C", 0.0), ("C.HIHI", 5.0), ("A.RVAL", 4),
         ("E", "another text")],
    ),
    "setpoint_rbv_pair": (
        "Group",
        ["pair", "pair_RBV", "pair2", "pair2_RBV", "pair3", "pair3_RBV", "pair3.ONAM"],
        [("pair", 3), ("pair", 4), ("pair2", 1.25), ("pair3", 1), ("pair3", 0)],
    ),
    "enums": (
        "EnumIOC",
        ["bo", "bi", "mbbi", "enum_class", "bo.ZNAM", "mbbi.TWST"],
        [("bo", 0), ("bo", 1), ("mbbi", 3), ("mbbi", "two"), ("bi", 1)],
    ),
}  # fmt: skip


@contextmanager
def served_by_caproto(example: str, prefix: str) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", f"caproto.ioc_examples.{example}", "--prefix", prefix, "--interfaces", "127.0.0.1"],
        env={"EPICS_CA_SERVER_PORT": str(port), "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
             "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO", "PATH": ""},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def served_by_us(example: str, prefix: str, folder: Path) -> Iterator[str]:
    name, _, _ = SCENARIOS[example]
    site = folder / "site.toml"
    site.write_text(
        f'[site]\nprefix = "LAB"\n[server]\ninterfaces = ["127.0.0.1"]\nstate_dir = "{folder}"\n'
        f'[[device]]\nname = "G1"\ntype = "caproto"\ngroup = "caproto.ioc_examples.{example}:{name}"\n'
        f'prefix = "{prefix}"\n'
    )
    port = free_port()
    with command("run", str(site), "--port", str(port)) as process:
        process.wait_for("serving .* records", process.errors)
        yield f"127.0.0.1:{port}"
        process.end(2)


def received(context: Context, prefix: str, names: Sequence[str], puts: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Everything that a client learns: types, values with their metadata, and the events of each PV."""
    channels = dict(zip(names, context.connect([prefix + name for name in names], 10.0), strict=True))
    found: dict[str, Any] = {}
    for name, channel in channels.items():
        native = channel.field_type
        found[name] = [native, channel.element_count, channel.may_write]
        # the strings of a C client have no control form: what it reads there is what happens to be in its memory
        found[name] += [_plain(channel.get_any(kind + native)) for kind in ((0, STS, CTRL) if native else (0, STS))]
    monitors = {name: channel.monitor(TIME + channel.field_type) for name, channel in channels.items()}
    for monitor in monitors.values():
        monitor.wait(1)
    outcomes = [_put(channels, name, value) for name, value in puts]
    _settle(monitors.values())
    found["puts"] = outcomes
    for name, monitor in monitors.items():
        found[f"{name} events"] = [_plain(reply) for reply in monitor.events]
    return found


def _put(channels: dict[str, Channel], name: str, value: Any) -> tuple[str, bool]:
    try:
        return name, channels[name].put_callback(value, deadline=1.0) == 1
    except CaError:
        return name, False


def _settle(monitors: Iterable[Subscription]) -> None:
    """Wait until no events come any more."""
    seen, end = -1, time.monotonic() + 3.0
    while (count := sum(len(monitor.events) for monitor in monitors)) != seen and time.monotonic() < end:
        seen = count
        time.sleep(0.2)


def _plain(reply: Reply) -> tuple[Any, ...]:
    """A reply without its time."""
    if not reply.raw:
        return reply.dbr_type, reply.count, reply.status
    return reply.dbr_type, reply.count, reply.status, reply.value, reply.canonical


@pytest.mark.parametrize("example", SCENARIOS)
def test_GIVEN_an_example_of_caproto_WHEN_a_client_works_with_it_THEN_it_sees_what_caproto_shows(
    example: str, tmp_path: Path
) -> None:
    _, names, puts = SCENARIOS[example]
    prefix = f"x{example}:"
    with served_by_caproto(example, prefix) as address, Context(address) as context:
        expected = received(context, prefix, names, puts)
    with served_by_us(example, prefix, tmp_path) as address, Context(address) as context:
        assert received(context, prefix, names, puts) == expected
