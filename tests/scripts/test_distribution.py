"""What a source distribution and a wheel of the tree hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("ioc", "devices", "db", "archiver", "labioc_ca", "labioc_pages")
ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys, setuptools.build_meta as b; to = sys.argv[1]; b.build_sdist(to); b.build_wheel(to)"
LEFT_OUT = {".git", ".venv", "build", "dist", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "results"}


def names(folder: str, *suffixes: str) -> set[str]:
    paths = (path for path in (ROOT / folder).rglob("*") if path.suffix in suffixes and "__pycache__" not in path.parts)
    return {str(path.relative_to(ROOT)) for path in paths if not LEFT_OUT & set(path.parts)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both files, built from a copy: setuptools writes beside the sources."""
    folder = tmp_path_factory.mktemp("build")
    ignore = shutil.ignore_patterns(*LEFT_OUT, "*.egg-info", "__pycache__", ".import_linter_cache", "htmlcov")
    shutil.copytree(ROOT, folder / "tree", ignore=ignore)
    made = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)],
        cwd=folder / "tree", capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder


def test_the_source_distribution_is_what_one_works_with(built: Path):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    wanted = {
        "Makefile",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "constraints.txt",
        ".pre-commit-config.yaml",
        ".ci/run",
    }
    for folder in ("ioc", "devices", "archiver", "labioc_ca", "labioc_pages", "tests", "scripts", "bench"):
        wanted |= names(folder, ".py", ".lark", ".db", ".txt")
    wanted |= (
        names("db", ".template", ".substitutions") | names("docs", ".md", ".svg") | names("examples", ".toml", ".py")
    )
    assert wanted - held == set()
    assert not [name for name in held if "__pycache__" in name or name.startswith(".venv")]


def test_the_wheel_has_the_packages_with_their_data_and_types(built: Path):
    (file,) = built.glob("*.whl")
    held = set(zipfile.ZipFile(file).namelist())
    wanted = {f"{package}/py.typed" for package in PACKAGES}
    for folder in PACKAGES:
        wanted |= names(folder, ".py", ".lark", ".txt", ".template", ".substitutions")
    assert wanted - held == set()
    others = {name.partition("/")[0] for name in held} - {*PACKAGES}
    assert [name for name in others if not name.endswith(".dist-info")] == []
