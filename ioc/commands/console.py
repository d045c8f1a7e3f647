"""``labioc console SITE``: commands for a running server, or for one that is started for it."""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from ioc.commands.arguments import part_of
from ioc.commands.demo_site import site_at
from ioc.commands.run import add_arguments
from ioc.console.client import Console, Lost
from ioc.console.wire import connect, socket_path
from ioc.services.state import state_folder
from ioc.site.config import Site

_END_SECONDS = 10.0
"""How long a server may take to end, before it is killed."""

_SERVICE_FOLDER = Path("/var/lib/labioc")
"""State folder of a server under systemd."""

_LABIOC = "import sys; from ioc.cli import main; raise SystemExit(main())"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_arguments(parser)
    parser.add_argument("--serve", action="store_true", help="serve the site as run does when no server of it runs")


def run(args: argparse.Namespace) -> int:
    """Take commands; raises SiteError, and OSError when the socket of a running server cannot be used."""
    site = part_of(args, site_at(args.site))
    sock = _connected(site)
    if sock is None:
        return _serve(args) if args.serve else _none_runs(site)
    with closing(sock):
        try:
            return Console(sock, attached=True).run()
        except Lost:
            print("labioc: the server has ended", file=sys.stderr)
            return 1


def _paths(site: Site) -> list[Path]:
    """Return where a server of the site may have its console, the most probable place first."""
    folders = [state_folder(site)] + ([] if site.server.state_dir else [_SERVICE_FOLDER])
    return [socket_path(site, folder) for folder in folders]


def _connected(site: Site) -> socket.socket | None:
    """Connect to the console of a running server; None when there is none. Raises OSError."""
    for path in _paths(site):
        try:
            return connect(path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise OSError(f"{path}: {_owner(path)}; a console needs the same user or group") from error
    return None


def _none_runs(site: Site) -> int:
    name = f"{site.prefix.replace(':', '.')}.*-console"
    others = [path for mine in _paths(site) for path in mine.parent.glob(name) if path != mine]
    parts = ", ".join(path.name.removesuffix("-console") for path in others)
    print(
        f"labioc: no server of {site.prefix} has a console at {' or '.join(map(str, _paths(site)))}\n"
        "  labioc run SITE starts one, labioc console --serve SITE one for this console alone"
        + (f"\n  there are consoles of {parts}: give --only as those servers have it" if parts else ""),
        file=sys.stderr,
    )
    return 1


def _owner(path: Path) -> str:
    try:
        return f"it belongs to {path.owner()} and group {path.group()}"
    except (OSError, KeyError):
        return "it belongs to another user"


def _serve(args: argparse.Namespace) -> int:
    """Run a server in a process of its own, which ends with this console, also when that is killed."""
    ours, theirs = socket.socketpair()
    words = [args.site, "--console-fd", str(theirs.fileno()), "--log", args.log]
    for option, value in (("--port", args.port), ("--only", ",".join(args.only or ())), ("--log-file", args.log_file)):
        words += [option, str(value)] if value not in (None, "") else []
    words += ["--force"] if args.force else []
    # In a session of its own the Ctrl-C of this terminal does not reach it.
    server = subprocess.Popen(
        [sys.executable, "-c", _LABIOC, "run", *words],
        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    theirs.close()
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGHUP, _ended)
    status = 0
    try:
        with closing(ours):
            status = Console(ours, attached=False).run()
    except Lost:
        status = 1
    finally:
        try:
            ended = server.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            ended = server.wait()
    return status or (ended if ended > 0 else 0)


def _ended(number: int, _: object) -> None:
    """End as after quit: what runs is given up, and the server ends."""
    raise SystemExit(128 + number)
