"""The sub-commands of ``labioc``: one module of ``ioc.commands`` for each, imported when it is asked for.

Exit status: 0 ok, 1 failed, 2 wrong usage or site file; ``ioc.cli`` adds 130 for Ctrl-C. What is asked for goes to
standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Container, Sequence
from importlib import import_module

from ioc.errors import MistakesError

_COMMANDS = {
    "init": "look for devices and write a first site file",
    "run": "serve a site until Ctrl-C or SIGTERM",
    "console": "give commands to a running server, at a prompt or from standard input",
    "demo": "simulated devices and the IOC, to try it all without hardware",
    "check": "check a site file and report every mistake",
    "pvs": "list the PVs of a site",
    "get": "read PVs of any IOC, with unit, alarm and age",
    "put": "set a PV of any IOC and wait until it is done, or say why not",
    "monitor": "show every change of PVs until Ctrl-C",
    "top": "show the state of a site in the terminal, live",
    "info": "show all that an IOC says about PVs: limits, states, fields",
    "snapshot": "save the settings of a running site",
    "diff": "compare a snapshot with what is in force now",
    "restore": "put the settings of a snapshot in force again",
    "tuned": "list what clients have tuned at run time",
    "journal": "list the puts that clients have made: who, what, and what came of it",
    "health": "ask the running servers of a site how they are",
    "trips": "list the trips that the servers remember, with what was read around each",
    "selftest": "read everything of a site, change nothing, and report what is wrong",
    "schema": "print the JSON Schema of the site file",
    "export": "write files for other programs",
    "archive": "forward every event to InfluxDB until Ctrl-C or SIGTERM",
    "history": "print, export or plot what PVs did",
    "simulate": "run a simulated device alone",
}
"""Every command with its line of the help. The module of this name has ``register``, which adds its arguments to a
parser, and ``run``, which returns the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; wrong usage ends in SystemExit(2) as argparse does it."""
    arguments = sys.argv[1:] if argv is None else argv
    args = parser(arguments).parse_args(arguments)
    try:
        status: int = args.func(args)
        sys.stdout.flush()
    except MistakesError as error:
        subject = error.subject.format(site=getattr(args, "site", "of the demo"))
        return _failed(f"{subject} cannot be used", error.errors, error.status)
    except BrokenPipeError:
        # The reader, head for example, has seen enough: nothing to report, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(str(error), [], 1)
    return status


def parser(commands: Container[str] = frozenset(_COMMANDS)) -> argparse.ArgumentParser:
    """Make the parser of the command line; only the commands named have their arguments."""
    top = argparse.ArgumentParser(prog="labioc", description="EPICS soft IOC for high voltage and furnaces.")
    top.add_argument("--version", action=_Version)
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for name, about in _COMMANDS.items():
        command = subparsers.add_parser(name, help=about)
        if name in commands:
            module = import_module(f"ioc.commands.{name}")
            command.set_defaults(func=module.run)
            module.register(command)
    return top


class _Version(argparse.Action):
    """Print the version; it is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show program's version number and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from ioc.version import release  # noqa: PLC0415  importing it takes longer than all the rest

        print(f"labioc {release()}")
        parser.exit()


def _failed(summary: str, errors: Sequence[str], status: int) -> int:
    print(f"labioc: {summary}", *(f"  {error}" for error in errors), sep="\n", file=sys.stderr)
    return status
