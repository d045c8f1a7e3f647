"""What an honest client notices while another floods the server: gets during 10,000 puts to a field with 200 monitors.

``python -m bench.ca_flood`` prints, for labioc and for the C softIoc in the same run, the delay of gets (ms) when quiet
and during the flood, how long the flood took, and by how much the server's memory grew.
"""

from __future__ import annotations

import itertools
import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Event

from tests.conformance.test_flood import DBR_DOUBLE, FLOOD, RECORDS, memory_kb, monitors, puts
from tests.labioc_server import start_labioc
from tests.raw_ca import READ_NOTIFY, Message, RawCircuit
from tests.softioc import ServerProcess, start_softioc

FIELD = "T:AI.HIGH"


def main() -> None:
    """Measure both servers."""
    print("server    quiet p50/p99 ms   flood p50/p99/max ms   flood s   RSS growth MB")
    for name, start in (("labioc", start_labioc), ("softIoc", start_softioc)):
        server = start([(RECORDS, {})])
        try:
            quiet, flood, seconds, grown = measure(server)
        finally:
            server.stop()
        print(
            f"{name:8} {at(quiet, 50):8.2f} {at(quiet, 99):8.2f} {at(flood, 50):10.2f} {at(flood, 99):7.2f} "
            f"{max(flood) * 1e3:7.2f} {seconds:10.2f} {grown / 1e3:12.1f}"
        )


def measure(server: ServerProcess) -> tuple[list[float], list[float], float, int]:
    """Return delays when quiet and during the flood (s), the seconds of the flood, and the growth of memory (kB)."""
    spawn = multiprocessing.get_context("spawn")  # in one process the two clients would wait for one interpreter
    ready, go, served = spawn.Event(), spawn.Event(), spawn.Event()
    sender = spawn.Process(target=send_flood, args=(server.port, ready, go, served))
    sender.start()
    with RawCircuit(server.port) as good:
        good.channel(FIELD)
        ready.wait()
        quiet = [get(good, number) for number in range(500)]
        before = peak = memory_kb(server)
        start = time.perf_counter()
        go.set()
        delays = []
        while not served.is_set():
            delays.append(get(good, len(delays)))
            if len(delays) % 20 == 0:
                peak = max(peak, memory_kb(server))
        seconds = time.perf_counter() - start
    sender.join()
    return quiet, delays, seconds, peak - before


def send_flood(port: int, ready: Event, go: Event, served: Event) -> None:
    """Be the client that sends too much, in a process of its own."""
    with RawCircuit(port) as bad:
        bad.channel(FIELD)
        bad.ask(*monitors(bad.sids[FIELD], 200))
        data = b"".join(itertools.islice(puts(bad.sids[FIELD]), FLOOD))
        ready.set()
        go.wait()
        bad.ask(data)
        served.set()


def get(circuit: RawCircuit, number: int) -> float:
    """Return how long one get takes, in seconds."""
    start = time.perf_counter()
    circuit.send(Message(READ_NOTIFY, DBR_DOUBLE, 1, circuit.sids[FIELD], number))
    circuit.until(lambda one: one.command == READ_NOTIFY)
    return time.perf_counter() - start


def at(delays: list[float], percent: int) -> float:
    """Return a percentile of delays, in ms."""
    return statistics.quantiles(delays, n=100)[percent - 1] * 1e3


if __name__ == "__main__":
    main()
