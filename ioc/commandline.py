"""The sub-commands of ``labioc``: one module of ``ioc.commands`` for each.

Exit status: 0 ok, 1 failed, 2 wrong usage or site file; ``ioc.cli`` adds 130 for Ctrl-C. What is asked for goes to
standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ioc.commands import archive, check, console, demo, export, history, pvs, run, schema, simulate, tuned
from ioc.database.dbfile import DatabaseError
from ioc.services.statistics import release
from ioc.site.config import SiteError

_COMMANDS = (run, console, demo, check, pvs, tuned, schema, export, archive, history, simulate)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; wrong usage ends in SystemExit(2) as argparse does it."""
    args = parser().parse_args(argv)
    try:
        status: int = args.func(args)
        sys.stdout.flush()
    except SiteError as error:
        return _failed(f"the site file {getattr(args, 'site', 'of the demo')} cannot be used", error.errors, 2)
    except DatabaseError as error:
        return _failed("the database cannot be used", error.errors, 1)
    except BrokenPipeError:
        # The reader, head for example, has seen enough: nothing to tell, and nothing more to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(str(error), [], 1)
    return status


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    top = argparse.ArgumentParser(prog="labioc", description="EPICS soft IOC for high voltage and furnaces.")
    top.add_argument("--version", action="version", version=f"labioc {release()}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.register(subparsers)
    return top


def _failed(summary: str, errors: Sequence[str], status: int) -> int:
    print(f"labioc: {summary}", *(f"  {error}" for error in errors), sep="\n", file=sys.stderr)
    return status
