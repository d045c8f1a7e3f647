"""``labioc run`` and ``console``: serve a site until it is stopped, and give commands to a running server."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from ioc.app import run as run_app
from ioc.commands.arguments import add_logging, begin_logging, device_names, part_of, port_number
from ioc.commands.demo_site import site_at
from ioc.commands.output import complain
from ioc.console.client import Console, Lost
from ioc.console.server import consoles
from ioc.console.wire import connect, socket_path
from ioc.services.state import state_folder
from ioc.site.config import Site, load_site


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``."""
    _add_arguments(parser)
    parser.add_argument("--console-fd", type=int, help=argparse.SUPPRESS)  # the connection of labioc console --serve


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which site to serve, and where."""
    parser.add_argument("site", metavar="SITE", help="the site file")
    parser.add_argument(
        "--port",
        type=port_number,
        metavar="N",
        help="Channel Access port, 0 for any (default: the site file, EPICS_CA_SERVER_PORT, or 5064)",
    )
    parser.add_argument(
        "--only",
        type=device_names,
        metavar="DEV,...",
        help="serve only these devices of the site; other processes serve the others",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="start although another server has these PVs or devices",
    )
    add_logging(parser)


def run(args: argparse.Namespace) -> int:
    """Serve; raises SiteError, DatabaseError or OSError when it can't be started."""
    site = part_of(args, load_site(args.site))
    begin_logging(args)
    sock = None if args.console_fd is None else socket.socket(fileno=args.console_fd)
    asyncio.run(run_app(site, args.port, partial(consoles, sock=sock), args.force))
    return 0


_END_SECONDS = 10.0
"""How long a server may take to end, before it is killed."""

_SERVICE_FOLDER = Path("/var/lib/labioc")
"""State folder of a server under systemd."""

_LABIOC = "import sys; from ioc.cli import main; raise SystemExit(main())"


def console_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``console``."""
    _add_arguments(parser)
    parser.add_argument("--serve", action="store_true", help="serve the site as run does when no server of it runs")


def console(args: argparse.Namespace) -> int:
    """Take commands; raises SiteError, and OSError when the socket of a running server cannot be used."""
    site = part_of(args, site_at(args.site))
    sock = _connected(site)
    if sock is None:
        return _serve(args) if args.serve else _none_runs(site)
    with closing(sock):
        try:
            return Console(sock, attached=True).run()
        except Lost:
            complain("the server has ended")
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
    complain(
        f"no server of {site.prefix} has a console at {' or '.join(map(str, _paths(site)))}\n"
        "  labioc run SITE starts one, labioc console --serve SITE one for this console alone"
        + (f"\n  there are consoles of {parts}: give --only as those servers have it" if parts else "")
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
