"""How much of a serial line the Eurotherm link uses: poll cycles per second at 9600 and 19200 baud.

A simulated instrument in a process of its own answers on a pseudo terminal, with characters that take as long as on a
real line and with a latency before each answer. One cycle is the fast scan of a furnace: five floats, and the words 75
to 87. The theoretical maximum is the time of the bytes, the two silences of 3.5 characters, and the latency. The same
nine quantities are then read one register per request.

Run: python -m bench.eurotherm_poll [SECONDS]
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
import time

from devices.eurotherm.simulator.server import BITS, SILENCE, SimulatedFurnaces
from devices.links.modbus import ModbusUnit, open_unit
from devices.links.modbus_frames import READ, Request, twin_of

BLOCKS = ((twin_of(1), 10), (75, 13))
SINGLES = tuple((address, 1) for address in (1, 2, 3, 4, 5, 75, 76, 80, 87))
GOAL = 0.85


def theoretical(requests: tuple[tuple[int, int], ...], baudrate: int, latency: float) -> float:
    """Return the cycles per second that the line allows."""
    frames = [Request(1, READ, address, count) for address, count in requests]
    characters = sum(len(request.frame) + request.reply_length + 2 * SILENCE for request in frames)
    return 1 / (characters * BITS / baudrate + len(frames) * latency)


async def cycles_per_second(unit: ModbusUnit, requests: tuple[tuple[int, int], ...], seconds: float) -> float:
    begun, count = time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        for address, words in requests:
            await unit.read_registers(address, words)
        count += 1
    return count / (time.monotonic() - begun)


def measure(baudrate: int, latency: float, seconds: float) -> bool:
    command = [sys.executable, "-m", "bench.eurotherm_poll", "--serve", str(baudrate), str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        unit = open_unit(server.stdout.readline().strip(), 1, 1.0)
        blocks, singles = asyncio.run(poll(unit, seconds))
        server.communicate()  # closes its standard input, which ends it
    maximum = theoretical(BLOCKS, baudrate, latency)
    print(
        f"{baudrate:6} {latency * 1000:8.0f} {maximum:9.2f} {blocks:9.2f} {blocks / maximum:6.1%} {singles:9.2f} "
        f"{blocks / singles:8.2f} {unit.stats.errors:7}"
    )
    return blocks >= GOAL * maximum and unit.stats.errors == 0


async def poll(unit: ModbusUnit, seconds: float) -> tuple[float, float]:
    await unit.connect()
    try:
        return await cycles_per_second(unit, BLOCKS, seconds), await cycles_per_second(unit, SINGLES, seconds)
    finally:
        await unit.close()


async def serve(baudrate: int, latency: float) -> None:
    furnaces = SimulatedFurnaces(baudrate=baudrate, realtime=True)
    furnaces.latencies = (latency, latency)
    await furnaces.start()
    print(furnaces.address, flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the client closes its end
    await furnaces.stop()


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--serve"]:
        # The default selector rounds up to milliseconds, which is a whole character.
        loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        loop.run_until_complete(serve(int(arguments[1]), float(arguments[2])))
        return 0
    seconds = float(arguments[0]) if arguments else 5.0
    print("  baud  latency   maximum  measured  share   singles    ratio  errors")
    print("             ms  cycles/s  cycles/s        cycles/s")
    results = [measure(baudrate, latency, seconds) for baudrate in (9600, 19200) for latency in (0.01, 0.05)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
