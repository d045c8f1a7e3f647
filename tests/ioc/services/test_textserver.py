"""The text interface, as the programs made for the older server use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import Refused
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces, simulated_furnaces
from devices.model import Value
from ioc.access import AccessPolicy, policy
from ioc.app import App
from ioc.records import fields_of
from ioc.services.textserver import CLIENTS, TextServer
from ioc.site.config import SiteError, TextSettings, parse_site
from tests.fair_time import until
from tests.ioc.app_rig import DEVICE, record, running
from tests.softioc import free_port

FURNACE = {"name": "FURN1", "type": "eurotherm-3200", "address": "serial:///dev/ttyS9", "simulated": True,
           "detail": "full"}  # fmt: skip


@asynccontextmanager
async def served(**section: object) -> AsyncIterator[tuple[App, SimulatedFurnaces]]:
    """A furnace at 183.4 C with a target of 250 C and a rate of 5 C/min."""
    access = section.pop("access", None)
    sections = {"textserver": {"device": "FURN1", "port": free_port(), **section}} | (
        {"access": access} if access else {}
    )
    model = EurothermModel()
    model.held = 183.4
    model.memory["SP1"], model.memory["SP.RAT"] = 250.0, 5.0
    model.memory["A-M"], model.memory["MAN.OP"] = 1, 32.5
    model.settle()
    with TemporaryDirectory() as folder:
        async with simulated_furnaces({1: model}) as furnaces:
            device = {**FURNACE, "simulated": False, "address": furnaces.address, "state_dir": folder}
            async with running(device, **sections) as app:
                yield app, furnaces


@pytest.mark.parametrize(("field", "reason"), [("DISP", "puts are disabled (DISP is 1)"), ("DISA", "is disabled")])
async def test_GIVEN_a_locked_PV_WHEN_set_over_the_text_interface_THEN_refused(field: str, reason: str) -> None:
    async with served(allow_set=True) as (app, furnaces):
        target = record(app, "SP1", "FURN1")
        target.put(fields_of("ao")[field], 1)
        asked = len(furnaces.received)
        assert reason in await ask(app, b"Set:24:2600")
        assert not [frame for frame in list(furnaces.received)[asked:] if frame[1] in (6, 16)]
        assert reason in str(record(app, "PUT:MSG", "FURN1").val)


async def ask(app: App, request: bytes) -> str:
    """What a client does: one request without line end, then read until the server closes."""
    assert app.text is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", app.text.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_answers_are_those_of_the_older_server() -> None:
    async with served() as (app, furnaces):
        asked = len(furnaces.received)
        for request, answer in {
            b"Status": "Ok",
            b"GetStatus\r\n": "Ok",
            b"status": "Unknown command",
            b"Get:1": "1834.0",
            b"Get:2\r\n": "2500",
            b"Get:4": "325.0",
            b"Get:35": "500",
            b"Get:75": "8208.0",
            b"Get:": "Unknown command",
            b"Get": "Unknown command",
            b"Get:x": "Exception occurred: invalid literal for int() with base 10: 'x'",
            b"Get:66": "Exception occurred: register 66 is not among those that are scanned",
            b"Read": "PV=183.4;SP=250;SPrate=50;WOp=32.5",
            b"Readable": "PV=183.4;SP=250;SPrate=50;WOp=32.5",
            b"Set:24": "Unknown command",
            b"Exit": "Exit",
            b"Quit now": "Exit",
            b"\xff\x00:": "Unknown command",
            b"nonsense": "Unknown command",
        }.items():
            assert await ask(app, request) == answer, request
        assert len(furnaces.received) - asked < 10  # no request of a client reaches the line
        refused = await ask(app, b"Set:24:2600")
        assert refused.startswith("Exception occurred: Set is switched off")
        assert not [frame for frame in furnaces.received if frame[1] != 3]


async def test_set_goes_the_way_of_every_put() -> None:
    async with served(allow_set=True) as (app, furnaces):
        assert await ask(app, b"Set:24:2600") == "Ok"
        assert furnaces.model.memory["SP1"] == 260.0
        assert record(app, "SP1", "FURN1").val == 260.0
        assert "textserver@127.0.0.1" in str(app.records["LAB:IOC:PUTS"].val)
        for request, reason in {
            b"Set:24:20000": "SP1 2000 C is above 1200 C (instrument SP.HI)",
            b"Set:24:12.5": "invalid literal",
            b"Set:24:70000": "not between",
            b"Set:66:1": "register 66 cannot be set here",
            b"Set:1:5": "register 1 cannot be set here",
        }.items():
            answer = await ask(app, request)
            assert answer.startswith("Exception occurred: ")
            assert reason in answer
        assert "above 1200" in str(record(app, "PUT:MSG", "FURN1").val)
        app.statistics.put("ARMED", 0)
        assert "not armed" in await ask(app, b"Set:24:2500")
        assert furnaces.model.memory["SP1"] == 260.0


async def test_set_obeys_the_access_section() -> None:
    async with served(allow_set=True, access={"operators": ["textserver"]}) as (app, _):
        assert await ask(app, b"Set:2:2600") == "Ok"
        assert "not an expert" in await ask(app, b"Set:25:2600")
        assert record(app, "PUT:REFUSED", "FURN1").val == 1


async def test_set_is_for_this_computer_without_an_access_section(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(allow_set=True) as (app, furnaces):
        monkeypatch.setattr(policy, "is_own_address", lambda address: False)
        assert 'hosts = ["127.0.0.0/24"]' in await ask(app, b"Set:24:2600")
        assert furnaces.model.memory["SP1"] == 250.0


async def test_what_is_not_known_is_none_and_never_zero() -> None:
    async with served() as (app, furnaces):
        furnaces.model.sensor_broken = True
        await until(lambda: record(app, "TEMP", "FURN1").sevr == 3, 3.0)
        assert await ask(app, b"Get:1") == "None"
        assert (await ask(app, b"Read")).startswith("PV=None;SP=250;")
        furnaces.faults.silent = True
        await until(lambda: record(app, "COMM", "FURN1").val == 0, 5.0)
        assert await ask(app, b"Read") == "PV=None;SP=None;SPrate=None;WOp=None"
        assert await ask(app, b"Status") == "Ok"


class FakeDevice:
    """Registers without a furnace."""

    ready = True

    def word(self, register: int) -> int | None:
        if register == 66:
            raise Refused("no")
        return None if register == 3 else 65412

    def setting_at(self, register: int, word: int) -> tuple[str, Value]:
        raise Refused("no")


def made(patience: float = 5.0) -> TextServer:
    device = FakeDevice()
    settings = TextSettings("FURN1", port=0, allow_set=True)
    return TextServer(settings, device, {}, AccessPolicy(), device, patience)


async def test_silent_and_many_clients_harm_nobody() -> None:
    server = made(patience=0.2)
    await server.start()
    try:
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(CLIENTS)]
        await until(lambda: len(server._sessions) == CLIENTS, 2.0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""  # one too many
        writer.close()
        await until(lambda: not server._sessions, 2.0)  # patience has an end
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"Get:1" + b" " * 100_000)
        assert await reader.read(5) in (b"65412", b"Excep")
        writer.close()
    finally:
        await server.stop()


async def test_stopping_ends_sessions_and_a_taken_port_is_reported() -> None:
    server = made()
    await server.start()
    other = TextServer(TextSettings("X", port=server.port), FakeDevice(), {}, AccessPolicy(), FakeDevice())
    with pytest.raises(OSError, match="in use"):
        await other.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await until(lambda: bool(server._sessions), 2.0)
    await server.stop()
    assert not server._sessions
    writer.close()


@given(st.text(max_size=60) | st.from_regex(r"(Get|Set|Read|Status|Exit)(:[ -~]{0,9}){0,4}", fullmatch=True))
async def test_any_request_gets_an_answer(request: str) -> None:
    assert await made().answer(request, ("127.0.0.1", 1)) != ""


def test_negative_and_whole_words_read_as_before() -> None:
    async def answers() -> list[str]:
        server = made()
        return [await server.answer(text, ("127.0.0.1", 1)) for text in ("Get:1", "Get:3", "Get:66", "Read")]

    assert asyncio.run(answers()) == [
        "65412.0",
        "None",
        "Exception occurred: no",
        "PV=6541.2;SP=6541.2;SPrate=6541.2;WOp=6541.2",
    ]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"device": "HV1"}, "allowed: FURN1"),
        ({}, "missing"),
        ({"device": "FURN1", "port": 0}, "from 1 to 65535"),
        ({"device": "FURN1", "set": True}, "unknown key"),
    ],
)
def test_mistakes_in_the_section_are_reported(section: dict[str, object], text: str) -> None:
    with pytest.raises(SiteError, match=text):
        parse_site({"site": {"prefix": "LAB"}, "device": [DEVICE, FURNACE], "textserver": section})


def test_without_the_section_there_is_none() -> None:
    assert parse_site({"site": {"prefix": "LAB"}, "device": [FURNACE]}).textserver is None
