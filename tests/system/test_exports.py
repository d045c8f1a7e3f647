"""What exports name is there: a C client connects to every PV of every format, at an IOC that serves the same site."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from ioc.export.formats import everything
from tests.ioc.export import plants
from tests.ioc.export.bobs import Walk
from tests.libca import Context
from tests.machines import needs
from tests.softioc import free_port

COMMAND = "from ioc.cli import main; raise SystemExit(main())"
PV = re.compile(r"\bLAB:[A-Z0-9_:]*[A-Z0-9_]\$?")


def test_GIVEN_a_running_ioc_WHEN_a_c_client_searches_for_all_that_exports_name_THEN_everything_connects(
    tmp_path: Path,
) -> None:
    needs("epicscorelibs")
    port = free_port()
    head = f'{plants.HEAD}\n[server]\ninterfaces = ["127.0.0.1"]\nport = {port}\n'
    site = tmp_path / "site.toml"
    site.write_text(plants.site_file("simulated = true", head))
    files = everything(plants.plant())
    walk = Walk({path.removeprefix("phoebus/"): text for path, text in files.items() if path.startswith("phoebus/")})
    walk.open("overview.bob", {})
    named = {name for path, text in files.items() if not path.startswith("phoebus/") for name in PV.findall(text)}
    names = sorted(walk.pvs | named)
    assert len(names) > 3000
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-c", COMMAND, "run", str(site)], stderr=log)
    try:
        with Context(f"127.0.0.1:{port}") as context:
            channels = context.connect(names, 40.0)
            assert all(channel.may_read for channel in channels)
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0, (tmp_path / "log").read_text()
