"""What the micro-benchmarks share: a site of 25 supplies with 200 channels."""

from __future__ import annotations

import pytest

from ioc.records import RecordSet
from ioc.site.config import Site, parse_site
from ioc.site.expansion import expand

SUPPLIES = 25


@pytest.fixture(scope="session")
def site() -> Site:
    devices = [
        {"name": f"HV{number}", "type": "caen-dt55xx", "address": f"tcp://192.0.2.{number + 1}:23", "channels": 8}
        for number in range(SUPPLIES)
    ]
    return parse_site({"site": {"prefix": "LAB"}, "device": devices})


@pytest.fixture(scope="session")
def records(site: Site) -> RecordSet:
    return RecordSet.build(expand(site).records.values())
