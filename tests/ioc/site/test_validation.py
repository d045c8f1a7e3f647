"""The site file against its schema: what is right and wrong is what the standard says, each mistake with its key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ioc.site.check import mistakes
from ioc.site.schema import site_schema
from ioc.site.validation import schema_mistakes

KEYS = ["a", "b", "12", "c d"]
SCALARS = (
    st.booleans()
    | st.integers(-3, 3)
    | st.floats(-3, 3).map(lambda value: round(value, 1))
    | st.sampled_from(["", *KEYS])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
TYPES = ["object", "array", "string", "number", "integer", "boolean"]
SIZES = st.integers(0, 3)
PATTERNS = st.sampled_from(["^a", "[0-9]", "^$", " "])


def keywords(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=2)
    rules: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "const": SCALARS,
        "required": st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
        "properties": st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "additionalProperties": st.just(False) | inner,
        "items": inner,
        "allOf": several,
        "anyOf": several,
        "not": inner,
        "pattern": PATTERNS,
        "description": st.just("what it is"),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.integers(-2, 2)),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), SIZES),
    }
    condition = st.fixed_dictionaries({"if": inner, "then": inner})
    return st.fixed_dictionaries({}, optional=rules).flatmap(
        lambda found: st.just(dict(list(found.items())[:4])) | condition.map(lambda more: more | found)
    )


SCHEMAS = st.recursive(st.just({"$ref": "#/$defs/number"}) | st.just({}), keywords, max_leaves=6)
DEFINITIONS = {"number": {"type": "number", "minimum": 0}}


@given(SCHEMAS, VALUES)
def test_a_value_is_right_when_the_standard_says_so(schema: dict[str, Any], value: Any) -> None:
    found = schema_mistakes(value, schema, DEFINITIONS)
    assert (not found) == Draft202012Validator({**schema, "$defs": DEFINITIONS}).is_valid(value)
    assert all(text.startswith(("found ", "missing", "unknown key")) for _, text in found)


def test_a_keyword_that_is_not_known_is_never_passed_over() -> None:
    with pytest.raises(NotImplementedError, match="the keyword 'multipleOf'"):
        schema_mistakes(3, {"multipleOf": 2}, {})


def test_every_keyword_of_the_site_file_is_known() -> None:
    schema = site_schema()
    for definition in (schema, *schema["$defs"].values()):
        for value in ({}, [], "", 1, True):
            schema_mistakes(value, definition, schema["$defs"])


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
