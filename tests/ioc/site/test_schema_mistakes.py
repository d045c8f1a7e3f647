"""Values of the wrong kind or size in a site file: each is a sentence with its key, never a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from ioc.site.check import mistakes


@pytest.mark.parametrize(
    ("key", "value", "mistake"),
    [
        ("settled_band", -1, "device HV1.settled_band: found -1, allowed: above 0"),
        ("name", [], "device number 1.name: found [], allowed: a text in quotes (Capital letters"),
        ("channels", True, "device HV1.channels: found true, allowed: a whole number (Number of channels)"),
    ],
)
def test_a_bound_without_an_end_and_a_value_of_another_type_are_reported(key: str, value: Any, mistake: str) -> None:
    device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://h:1", key: value}
    (found,) = mistakes({"site": {"prefix": "LAB"}, "device": [device]})
    assert str(found).startswith(mistake)


def test_the_kinds_that_an_option_of_a_writer_may_be_are_named() -> None:
    server = {"url": "kafka://h:1", "version": "kafka", "topic": "t", "options": {"x": []}}
    (found,) = mistakes({"site": {"prefix": "LAB"}, "archiver": {"influxdb": [server], "pvs": ["LAB:A"]}})
    assert found.text == "found [], allowed: a text in quotes or a number or true or false"


@pytest.mark.parametrize("device", [5, "HV1", ["HV1"]])
def test_a_device_that_is_no_table_is_one_mistake(device: Any) -> None:
    """The keys of a family are asked of a table with its type, and not of a value that has no keys."""
    (found,) = mistakes({"site": {"prefix": "LAB"}, "device": [device]})
    assert found.text.endswith("allowed: a table")
