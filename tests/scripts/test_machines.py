"""Tests that need what there is no wheel for are skipped there, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: An ARM computer with Linux, without the C client library.
ARM = """
import platform, sys
platform.machine = lambda: "aarch64"
sys.modules["epicscorelibs"] = sys.modules["epics"] = None
"""
NEEDING = ("tests/conformance/test_values.py", "tests/parity/test_fields.py")
"""One that imports the library, and one that starts a server of it."""


def test_GIVEN_a_machine_without_the_C_client_library_WHEN_tests_need_it_THEN_they_are_skipped_with_the_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ARM)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", *NEEDING],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tmp_path), "CI": "true"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "epicscorelibs has no wheel for Linux on aarch64" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
