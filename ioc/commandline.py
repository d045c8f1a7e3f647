"""The sub-commands of ``labioc``, in modules of ``ioc.commands`` that are imported when they are asked for.

Exit status: 0 ok, 1 failed, 2 wrong usage or site file; ``ioc.cli`` adds 130 for Ctrl-C. What is asked for goes to
standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Container, Sequence
from importlib import import_module

from ioc.errors import MistakesError

_COMMANDS = {
    "init": ("init", "look for devices and write a first site file"),
    "run": ("serve", "serve a site until Ctrl-C or SIGTERM"),
    "console": ("serve", "give commands to a running server, at a prompt or from standard input"),
    "demo": ("demo", "simulated devices and the IOC, to try it all without hardware"),
    "check": ("site_file", "check a site file and report every mistake"),
    "pvs": ("site_file", "list the PVs of a site"),
    "get": ("reading", "read PVs of any IOC, with unit, alarm and age"),
    "put": ("put", "set a PV of any IOC and wait until it is done, or say why not"),
    "monitor": ("reading", "show every change of PVs until Ctrl-C"),
    "top": ("top", "show the state of a site in the terminal, live"),
    "info": ("reading", "show all that an IOC says about PVs: limits, states, fields"),
    "snapshot": ("settings", "save the settings of a running site"),
    "diff": ("settings", "compare a snapshot with what is in force now"),
    "restore": ("settings", "put the settings of a snapshot in force again"),
    "tuned": ("tuned", "list what clients have tuned at run time"),
    "journal": ("remembered", "list the puts that clients have made: who, what, and what came of it"),
    "health": ("health", "ask the running servers of a site how they are"),
    "trips": ("remembered", "list the trips that the servers remember, with what was read around each"),
    "selftest": ("selftest", "read everything of a site, change nothing, and report what is wrong"),
    "schema": ("site_file", "print the JSON Schema of the site file"),
    "export": ("export", "write files for other programs"),
    "archive": ("archive", "forward every event to InfluxDB until Ctrl-C or SIGTERM"),
    "history": ("archive", "print, export or plot what PVs did"),
    "simulate": ("simulate", "run a simulated device alone"),
}
"""Every command with its module and its line of the help.

The module has a function of the command's name, which returns the exit status, and one with ``_arguments`` behind it,
which adds its arguments to a parser.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; wrong usage ends in SystemExit(2) as argparse does it."""
    arguments = sys.argv[1:] if argv is None else argv
    gc.disable()  # what importing makes is no garbage, and looking it through takes a while
    try:
        args = parser(arguments).parse_args(arguments)
    finally:
        gc.enable()
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
    for name, (module, about) in _COMMANDS.items():
        command = subparsers.add_parser(name, help=about)
        if name in commands:
            commands_of = import_module(f"ioc.commands.{module}")
            command.set_defaults(func=getattr(commands_of, name))
            getattr(commands_of, f"{name}_arguments")(command)
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
