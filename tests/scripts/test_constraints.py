"""constraints.txt: each dependency has a version there, one that pyproject.toml allows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text(encoding="ascii").splitlines() if line[0] != "#"]
PINS = {name: Version(version) for name, version in (line.split("==") for line in LINES)}


EXTRAS = {name: extra for name, extra in PROJECT["optional-dependencies"].items() if name != "bench"}
REQUIREMENTS = [Requirement(text) for group in (PROJECT["dependencies"], *EXTRAS.values()) for text in group]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_each_dependency_has_a_version_that_is_allowed(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier, "run scripts/constraints.py"


def test_each_runtime_dependency_has_an_upper_bound() -> None:
    runtime = (PROJECT["dependencies"], *(extra for name, extra in EXTRAS.items() if name not in ("test", "lint")))
    assert [text for group in runtime for text in group if "<" not in text] == []


def test_the_file_says_nothing_but_names_and_versions() -> None:
    assert sorted(PINS) == list(PINS)
    assert not [line for line in LINES if "/" in line or "@" in line]
