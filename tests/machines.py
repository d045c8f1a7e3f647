"""What a machine may lack. Servers under test import this too, so it sets nothing and loads little."""

from __future__ import annotations

import platform
import socket


def needs(package: str) -> None:
    """Skip the test, or at import the whole module, on a machine for which the extra ``test`` leaves a package out.

    It does so for packages without a wheel there (environment markers in pyproject.toml). Where the package belongs to
    the extra but is missing nothing is skipped: the import fails.
    """
    from importlib.metadata import requires

    import pytest
    from packaging.requirements import Requirement

    for text in requires("labioc") or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if requirement.name == package and marker is not None and not marker.evaluate({"extra": "test"}):
            machine = f"{platform.system()} on {platform.machine()}"
            pytest.skip(f"{package} has no wheel for {machine}", allow_module_level=True)


def needs_multicast() -> None:
    """Skip the test where no network route leads to UDP multicast groups."""
    import pytest

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("239.74.163.2", 9))
        except OSError as error:
            pytest.skip(f"no route for UDP multicast: {error.strerror}")
