"""The bridge of the demo: a process of its own, which archives into a log in a temporary folder."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from archiver import cli
from archiver.config import read_config, select
from ioc.archiver_status import ArchiverPvs
from ioc.commands.demo_site import demo_site
from ioc.logs import set_up_logging
from ioc.site.archiver_pvs import archiver_pvs, measurements
from ioc.site.expansion import expand

_END_SECONDS: Final = 1.2
_CODE: Final = "import sys; from ioc.commands.demo_archiver import archive; archive(sys.argv[1])"


class DemoArchiver:
    """Archives the PVs of the demo, served at a port of this computer; it takes about a second until it does."""

    def __init__(self, port: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="labioc-demo-"))
        environment = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        # In a session of its own, because Ctrl-C is for the demo, which ends it; and not with modules of the folder
        # in which the demo is started.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, str(self.directory)],
            stdin=subprocess.PIPE, env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip

    async def stop(self) -> None:
        """End the process and remove its log."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self.directory, ignore_errors=True)


def archive(directory: str) -> None:
    """Run the bridge until the demo ends, also when it is killed."""
    set_up_logging()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        site = demo_site()
        usual = read_config({}, site.prefix, measurements=measurements())
        config = replace(usual, directory=Path(directory), max_bytes=1_000_000_000, local_only=True)
        pvs = select(archiver_pvs(site, expand(site)), ())
        cli.run_bridge(config, pvs, ArchiverPvs(config.prefix, config.port, config.local_only))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _end_with_parent() -> None:
    """End when the other end of the pipe is closed: the demo has no time to say so when it is killed."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
