"""The text interface as Zabbix sees it: Debian's agent with the line of the how-to, asked as a Zabbix server asks."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.conftest import unavailable
from tests.debian import program
from tests.fair_time import until
from tests.ioc.app_rig import record
from tests.ioc.services.test_textserver import served

HOW_TO = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "migrate-from-the-text-server.md"
_HEADER = struct.Struct("<4sBII")
_CONFIG = """
Server=127.0.0.1
ListenIP=127.0.0.1
ListenPort={port}
Hostname=furnace
LogType=console
Timeout=10
PidFile={folder}/agent.pid
ControlSocket={folder}/agent.sock
PluginSocket={folder}/plugin.sock
{parameter}
"""


def port_for_agent() -> int:
    """Return a free port of those that the agent takes, which end below those that the kernel gives."""
    for port in random.sample(range(10_000, 32_767), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port below 32767")


def documented(port: int) -> str:
    """Return the line of the how-to, for another port than 9000."""
    (line,) = re.findall(r"^UserParameter=.*$", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE)
    assert "/9000" in line
    return line.replace("/9000", f"/{port}")


def ask(port: int, key: str) -> str:
    """Ask an agent for an item ("Zabbix protocol", header and passive check); of one not supported the reason."""
    with socket.create_connection(("127.0.0.1", port), 10.0) as connection:
        connection.sendall(_HEADER.pack(b"ZBXD", 1, len(key), 0) + key.encode())
        with connection.makefile("rb") as stream:
            mark, flags, length, _ = _HEADER.unpack(stream.read(_HEADER.size))
            assert (mark, flags) == (b"ZBXD", 1)
            return str(stream.read(length).decode()).replace("\0", ": ")


def agent_answers(port: int) -> bool:
    """Return whether the agent is there."""
    try:
        return ask(port, "agent.ping") == "1"
    except OSError:
        return False


@asynccontextmanager
async def agent(folder: Path, parameters: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[int]:
    """Run the agent with these user parameters, and give the port at which it is asked."""
    binary = program("zabbix_agent2", "zabbix-agent2", "sbin")
    if binary is None:
        unavailable("no zabbix_agent2, and Debian's package zabbix-agent2 cannot be downloaded")
    port = port_for_agent()
    config, output = folder / "agent.conf", folder / "agent.log"
    config.write_text(_CONFIG.format(port=port, folder=folder, parameter=parameters))
    with output.open("w") as file:
        process = await asyncio.create_subprocess_exec(
            binary, "-f", "-c", str(config), stdout=file, stderr=file, env={**os.environ, **(environment or {})}
        )
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(agent_answers, port):
                if process.returncode is not None:
                    unavailable(f"the Zabbix agent does not start: {output.read_text()}")
                await asyncio.sleep(0.05)
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def test_GIVEN_a_zabbix_agent_WHEN_the_furnace_is_asked_for_THEN_it_gets_words_and_never_a_false_number(
    tmp_path: Path,
) -> None:
    async with served() as (app, furnaces):
        assert app.text is not None
        async with agent(tmp_path, documented(app.text.port)) as port:

            async def item(register: int | str) -> str:
                return await asyncio.to_thread(ask, port, f"labioc.furnace[{register}]")

            assert [await item(register) for register in (1, 2, 4, 35)] == ["1834.0", "2500", "325.0", "500"]
            assert (await item(66)).startswith("Exception occurred: ")
            assert "not allowed" in await item("1;reboot")
            furnaces.model.sensor_broken = True
            await until(lambda: record(app, "TEMP", "FURN1").sevr == 3, 3.0)
            assert await item(1) == "None"
            assert await item(2) == "2500"
            await app.text.stop()
            assert not is_number(await item(1))


def is_number(text: str) -> bool:
    """Return whether Zabbix would take an answer for a value."""
    try:
        float(text)
    except ValueError:
        return False
    return True
