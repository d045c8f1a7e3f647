"""Programs of Debian's packages for tests, unpacked once into a cache folder (nothing is installed)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labioc-tests"


def program(name: str, package: str, folder: str = "bin") -> str | None:
    """Find a program in the PATH, in the cache, or in Debian's package, below /usr; None when it is not to be had."""
    found = shutil.which(name)
    if found:
        return found
    root = CACHE / package
    path = root / "usr" / folder / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _unpack(package, root)
    return str(path) if path.exists() else None


def _unpack(package: str, root: Path) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        for file in CACHE.glob(f"{package}_*.deb"):
            file.unlink()
        subprocess.run(["apt-get", "download", package], cwd=CACHE, check=True, capture_output=True, timeout=120)
        (archive,) = CACHE.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True, capture_output=True, timeout=120)
        archive.unlink()
