"""``labioc schema``: print the JSON Schema of the site file."""

from __future__ import annotations

import argparse
import json

from ioc.site.schema import site_schema


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""


def run(_args: argparse.Namespace) -> int:
    """Print the schema that every check uses."""
    print(json.dumps(site_schema(), indent=2))
    return 0
