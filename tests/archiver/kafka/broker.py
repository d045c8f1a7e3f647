"""A real Kafka broker for tests: one node in KRaft mode, with its data in a temporary folder.

LABIOC_KAFKA names a folder with the jars of Apache Kafka 4 (``org.apache.kafka:kafka_2.13`` and ``kafka-tools`` with
what they depend on); ``java`` 17 or newer is on the PATH. It takes some seconds to start, so without that nothing runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.softioc import free_port

_CONFIG = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={root}/data
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=2000000
"""


class Broker:
    """The broker as a process; its address stays the same when it is started again."""

    def __init__(self, jars: Path, root: Path) -> None:
        self.port = free_port()
        root.mkdir(parents=True)
        self._config = root / "server.properties"
        self._config.write_text(_CONFIG.format(port=self.port, controller=free_port(), root=root))
        self._java = [shutil.which("java") or "java", "-Xmx400m", "-cp", f"{jars}/*"]
        self._log = root / "broker.log"
        command = ["kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", str(self._config)]
        subprocess.run([*self._java, *command], check=True, capture_output=True, env=os.environ)
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it, and wait until it answers."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen([*self._java, "kafka.Kafka", str(self._config)], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self._log.read_text()[-2000:]
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                assert time.monotonic() < end, self._log.read_text()[-2000:]
                time.sleep(0.1)

    def kill(self) -> None:
        """kill -9"""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
