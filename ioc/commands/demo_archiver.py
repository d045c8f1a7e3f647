"""The bridge of the demo: a process of its own, which archives into a log in a temporary folder."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path

from archiver import cli
from archiver.config import ArchiverConfig, PvSpec, read_config, select
from ioc.archiver_status import ArchiverPvs
from ioc.logs import set_up_logging
from ioc.site.archiver_pvs import archiver_pvs, measurements
from ioc.site.config import Site
from ioc.site.expansion import expand

_END_SECONDS = 1.2


class DemoArchiver:
    """Archives the PVs of a site that is served at a port of this computer, for as long as the demo runs."""

    def __init__(self, site: Site, port: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="labioc-demo-"))
        config = replace(
            read_config({}, site.prefix, measurements=measurements()),
            directory=self.directory,
            max_bytes=1_000_000_000,
            local_only=True,
        )
        pvs = select(archiver_pvs(site, expand(site)), ())
        environment = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        # In a file: the pipe to the new process takes little at once, so that writing waits until it has begun to
        # read, and if it ends before that, for ever.
        work = self.directory / "work"
        work.write_bytes(pickle.dumps((config, pvs, environment)))
        # Spawned, because a forked process would have the sockets of the IOC open.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_work, args=(work,), name="archiver", daemon=True)

    def start(self) -> None:
        """Start the process; it takes about a second until it archives. Ctrl-C is for the demo, which ends it."""
        resource_tracker.ensure_running()  # starting it would unblock the signal
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    async def stop(self) -> None:
        """End the process and remove its log."""
        if self._process.pid is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.join, _END_SECONDS)
            self._process.kill()
            self._process.join()
        shutil.rmtree(self.directory, ignore_errors=True)


def _work(work: Path) -> None:
    config: ArchiverConfig
    pvs: list[PvSpec]
    environment: Mapping[str, str]
    config, pvs, environment = pickle.loads(work.read_bytes())
    os.environ.update(environment)
    set_up_logging()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        cli.run_bridge(config, pvs, ArchiverPvs(config.prefix, config.port, config.local_only))
    finally:
        shutil.rmtree(config.directory, ignore_errors=True)


def _end_with_parent() -> None:
    """End when the demo is killed, which leaves it no time to say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
