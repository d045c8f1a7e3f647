"""How long puts to one channel take over a line with 10 ms for each exchange.

A simulated supply is behind a TCP server that waits before each answer; the scan is slow, so that little but the puts
is on the line. The first row is a setting with completion, the second settings that are put at once and queue, the
third on and off. Run it from two versions by turns and compare: python -m bench.puts [PUTS]
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from devices.caen.simulator.model import CaenModel
from ioc.app import App
from ioc.records import PutContext, fields_of
from ioc.site.config import parse_site

EXCHANGE = 0.01
PUTS = 100
TOGETHER = 20


async def _serve(model: CaenModel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while request := await reader.readline():
        await asyncio.sleep(EXCHANGE)
        writer.write(model.respond(request))
    writer.close()


async def _measure(puts: int) -> None:
    model = CaenModel()
    server = await asyncio.start_server(lambda reader, writer: _serve(model, reader, writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    device = {"name": "HV1", "type": "caen-dt55xx", "address": f"tcp://127.0.0.1:{port}", "period": 10.0}
    site = {"site": {"prefix": "B"}, "server": {"interfaces": ["127.0.0.1"]}, "device": [device]}
    app = App(parse_site(site), port=0)
    await app.start()
    assert await app.wait_until_read(20.0)

    async def put(name: str, value: float) -> None:
        record = app.records[f"B:HV1:CH00:{name}"]
        await record.put_device(fields_of(record.rtyp)["VAL"], value, PutContext(callback=True))

    await _row("ISET, one by one", puts, lambda number: put("ISET", 1.0 + number % 50))
    begun = time.perf_counter()
    await asyncio.gather(*(put("ISET", 1.0 + number) for number in range(TOGETHER)))
    print(
        f"{'ISET, ' + str(TOGETHER) + ' at once':<20}{(time.perf_counter() - begun) / TOGETHER * 1e3:8.2f} ms per put"
    )
    await _row("ON and OFF", puts // 5, lambda number: put("ON", (number + 1) % 2))
    await app.stop()
    server.close()


async def _row(title: str, puts: int, put: Callable[[int], Awaitable[None]]) -> None:
    took = []
    for number in range(puts):
        begun = time.perf_counter()
        await put(number)
        took.append((time.perf_counter() - begun) * 1e3)
    print(f"{title:<20}{statistics.median(took):8.2f} ms median, {max(took):.2f} at most")


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else PUTS))
