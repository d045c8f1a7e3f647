"""labioc's record layer and server alone, as a process for tests: soft records from database files.

Run as ``python -m tests.labioc_server JSON`` with ``[port, [[file, {macro: value}], ...]]``; prints
``ready PORT`` and ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tests.softioc import Databases, ServerProcess, free_port

if TYPE_CHECKING:
    from ioc.dbfile import RecordDef


class OpenPolicy:
    """Everybody may write everything, like an IOC without an access security file."""

    def may_put(self, record: object, field: str, user: str, host: str) -> str | None:
        """Refuse nothing."""
        return None


def start_labioc(databases: Databases, deadline: float = 20.0) -> ServerProcess:
    """Run labioc's server with database files, each with its macros."""
    arguments = json.dumps([free_port(), [(str(path), dict(macros)) for path, macros in databases]])
    return ServerProcess("labioc", [sys.executable, "-m", "tests.labioc_server", arguments], {}, deadline)


async def serve(port: int, databases: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Serve until standard input ends."""
    from ioc.dbfile import parse_template
    from ioc.records import RecordSet
    from ioc.server import Server

    definitions: list[RecordDef] = []
    for path, macros in databases:
        definitions += parse_template(path).expand(macros)
    records = RecordSet.build(definitions)
    server = Server(records, OpenPolicy(), interfaces=["127.0.0.1"], port=port)
    await server.start()
    print("ready", server.port, flush=True)
    try:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    finally:
        await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(*json.loads(sys.argv[1])))
