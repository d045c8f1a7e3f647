"""``labioc schema``: print the JSON Schema of the site file."""

from __future__ import annotations

import argparse
import json

from ioc.site.schema import site_schema


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser("schema", help="print the JSON Schema of the site file")
    parser.set_defaults(func=run)


def run(_args: argparse.Namespace) -> int:
    """Print the schema that every check uses."""
    print(json.dumps(site_schema(), indent=2))
    return 0
