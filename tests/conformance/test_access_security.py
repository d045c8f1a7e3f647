"""Access security: what every client may do is decided by the C softIoc with the same file and database."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import rounds
from tests.labioc_server import start_labioc
from tests.libca import Channel, Context
from tests.raw_ca import (
    ACCESS_RIGHTS,
    CREATE_CHAN,
    ERROR,
    EVENT_ADD,
    READ,
    READ_NOTIFY,
    VERSION,
    WRITE_NOTIFY,
    Message,
    RawCircuit,
    event_mask,
)
from tests.softioc import ServerProcess, start_softioc

GROUPS = ("DEFAULT", "ONE", "TWO")
DATABASE = """
record(ao, "D") {{}}
record(ao, "ONE") {{ field(ASG, "ONE") }}
record(ai, "TWO") {{ field(ASG, "TWO") }}
record(bo, "UNKNOWN") {{ field(ASG, "UNKNOWN") }}
record(ao, "IN1") {{ field(ASG, "OPEN") }}
record(ao, "IN2") {{ field(ASG, "OPEN") }}
record(ao, "FENCE") {{ field(ASG, "OPEN") }}
record(ao, "FENCED") {{ field(ASG, "FENCED") }}
"""
CHANNELS = [f"{name}{field}" for name in ("D", "ONE", "TWO", "UNKNOWN") for field in ("", ".DISP", ".ASG", ".SEVR")]
CLIENTS = [("ann", "desk1"), ("ann", "Desk2"), ("bob", "desk1"), ("zoe", "nowhere"), ("", "desk2")]

users = st.lists(st.sampled_from(["ann", "bob", "Ann", '"eve x"']), min_size=1, max_size=2, unique=True)
hosts = st.lists(st.sampled_from(["desk1", "DESK2", "10.0.0.1"]), min_size=1, max_size=2, unique=True)
calcs = st.sampled_from(['CALC("A=1")', 'CALC("A>1||B")', 'CALC("!B")', 'CALC("1")', 'CALC("C=0")', 'CALC("A+B=1")'])
conditions = st.lists(
    st.one_of(
        st.sampled_from(["UAG(u1)", "UAG(u1,u2)", "UAG(u2)", "UAG(none)"]),
        st.sampled_from(["HAG(h1)", "HAG(h1,h2)", "HAG(h2)"]),
        calcs,
        st.just('METHOD("ca")'),
    ),
    max_size=3,
).map(lambda found: f" {{{' '.join(found)}}}" if found else "")
rules = st.builds(
    "  RULE({},{}{}){}".format,
    st.integers(0, 2),
    st.sampled_from(["NONE", "READ", "WRITE", "WRITE"]),
    st.sampled_from(["", ",TRAPWRITE", ",NOTRAPWRITE"]),
    conditions,
)
inputs = st.sampled_from(["", '  INPA("IN1")', '  INPA("IN1") INPB("IN2.VAL")', "  INPB(IN1)"])
bodies = st.builds(lambda first, found: "\n".join([first, *found]), inputs, st.lists(rules, min_size=1, max_size=4))


@st.composite
def files(draw: st.DrawFn) -> str:
    """Groups of users and hosts, and rules for some of the groups of records."""
    parts = [f"UAG(u{n}) {{{', '.join(draw(users))}}}" for n in (1, 2)] + ["UAG(none)"]
    parts += [f"HAG(h{n}) {{{', '.join(draw(hosts))}}} # host" for n in (1, 2)]
    parts += [f"ASG({name}) {{\n{draw(bodies)}\n}}" for name in GROUPS if draw(st.booleans())]
    parts.append("ASG(OPEN) { RULE(1,WRITE) }")
    return "\n".join(parts)


@dataclass
class Judged:
    """Both servers, their file, and clients that can put to the inputs."""

    acf: Path
    servers: tuple[ServerProcess, ServerProcess]
    inputs: tuple[list[Channel], list[Channel]]
    number: int = 0

    def use(self, text: str) -> None:
        """Have both read a file."""
        self.number += 1
        fence = f'ASG(FENCED) {{ INPA("FENCE") RULE(1,WRITE) {{ CALC("A={self.number}") }} }}\n'
        self.acf.write_text(f"{text}\n{fence}")
        for server in self.servers:
            server.ask("asInit")

    def put(self, one: float, two: float) -> None:
        """Put to the inputs of the rules, then to the fence, whose rule is looked at last."""
        for channels in self.inputs:
            for channel, value in zip(channels, (one, two, float(self.number)), strict=True):
                channel.put_callback(value)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    folder = tmp_path_factory.mktemp("acf")
    acf, database = folder / "site.acf", folder / "site.db"
    acf.write_text("ASG(OPEN) { RULE(1,WRITE) }")
    database.write_text(DATABASE.format())
    softioc = start_softioc([(database, {})], acf=acf)
    labioc = start_labioc([(database, {})], acf=acf)
    try:
        with Context(softioc.address) as one, Context(labioc.address) as two:
            names = ["IN1", "IN2", "FENCE"]
            yield Judged(acf, (softioc, labioc), (one.connect(names), two.connect(names)))
    finally:
        softioc.stop()
        labioc.stop()


def answers(circuit: RawCircuit, count: int) -> list[Message]:
    """So many messages, those of errors without their text; base sends some from other threads, in no fixed order."""
    left = iter(range(count - 1, -1, -1))
    got = circuit.until(lambda one: next(left) == 0)
    return sorted(one._replace(payload=b"") if one.command == ERROR else one for one in got)


def rights(circuit: RawCircuit, names: Sequence[str]) -> dict[str, int]:
    """The rights that come with channels."""
    circuit.until(lambda one: one.command == VERSION)
    circuit.send(
        *(
            Message(CREATE_CHAN, parameter1=cid, parameter2=13, payload=name.encode() + b"\0")
            for cid, name in enumerate(names)
        )
    )
    got = answers(circuit, 2 * len(names))
    return {names[one.parameter1]: one.parameter2 for one in got if one.command == ACCESS_RIGHTS}


def now(port: int) -> dict[tuple[str, str], dict[str, int]]:
    """The rights that new clients get."""
    found = {}
    for user, host in CLIENTS:
        with RawCircuit(port, user=user, host=host) as circuit:
            found[user, host] = rights(circuit, CHANNELS)
    return found


def wait_for_fence(port: int) -> None:
    """Wait until the last rule has seen the fence."""
    with RawCircuit(port) as circuit:
        circuit.channel("FENCED")
        if circuit.rights["FENCED"] != 3:
            circuit.until(lambda one: one.command == ACCESS_RIGHTS and one.parameter2 == 3, 5.0)


@settings(max_examples=rounds(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files(), st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=2))
def test_GIVEN_a_file_WHEN_clients_connect_THEN_each_has_the_rights_that_base_gives(
    judged: Judged, text: str, values: list[float]
) -> None:
    judged.use(text)
    judged.put(*values)
    for server in judged.servers:
        wait_for_fence(server.port)
    softioc, labioc = (now(server.port) for server in judged.servers)
    assert labioc == softioc, text


LIVE = """
UAG(ann) {ann}
ASG(OPEN) { RULE(1,WRITE) }
ASG(DEFAULT) { INPA("IN1") RULE(1,READ) { UAG(ann) CALC("A=1") } RULE(1,WRITE) { CALC("A=2") } }
"""
DOUBLE = 6


def live(server: ServerProcess, channels: Sequence[Channel]) -> list[list[Message]]:
    """What a client gets whose rights change while it is connected."""
    with RawCircuit(server.port, user="ann", host="desk1") as circuit:
        circuit.channel("D")
        sid = circuit.sids["D"]
        ask = (
            Message(READ_NOTIFY, DOUBLE, 1, sid, 78),
            Message(READ, DOUBLE, 1, sid, 79),
            Message(WRITE_NOTIFY, DOUBLE, 1, sid, 80, struct.pack(">d", 3.5)),
        )
        circuit.send(Message(EVENT_ADD, DOUBLE, 1, sid, 77, event_mask(5)), *ask)
        steps = [answers(circuit, 4)]
        for value, events in ((1.0, 1), (2.0, 2), (0.0, 1)):
            channels[0].put_callback(value)
            steps.append(answers(circuit, 2))
            circuit.send(*ask)
            steps.append(answers(circuit, 2 + events))
    return steps


def test_GIVEN_a_client_WHEN_its_rights_change_THEN_it_is_notified_and_served_as_by_base(judged: Judged) -> None:
    judged.use(LIVE)
    judged.put(0.0, 0.0)
    for server in judged.servers:
        wait_for_fence(server.port)
    found = [live(*one) for one in zip(judged.servers, judged.inputs, strict=True)]
    assert found[1] == found[0]
