"""A small file that survives a power failure: written beside the old one, flushed to the disk, then put in its place.

Written in a thread, one write at a time; of what is saved while one is under way only the newest follows. A thread that
writes is never given up: the process does not end before it, also when no one waits for it any longer.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

log = logging.getLogger("labioc.state")


def default_folder() -> Path:
    """Return the folder of the user for things that programs keep (XDG base directories)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "labioc"


def in_thread(function: Callable[[Path], None], path: Path) -> asyncio.Future[None]:
    """Have a thread write a file; a shielded wait for it may be cancelled, and it is written, begun or not.

    Raises RuntimeError when no thread can be had.
    """
    return asyncio.get_running_loop().run_in_executor(None, function, path)


class StateFile:
    """One JSON object; ``path`` None keeps nothing. That a file cannot be written is logged, and nothing else.

    A ``readable`` file has a line for each value, for people who look into it.
    """

    def __init__(self, path: Path | None, readable: bool = False) -> None:
        self.path = path
        self.writes = 0
        self._indent = 2 if readable else None
        self._next: Any = None
        self._lock = Lock()  # for what waits and whether it is being written
        self._disk = Lock()  # for one write at a time
        self._busy = False
        self._failed = False

    async def load(self) -> dict[str, Any] | None:
        """Return what was saved; None when there is nothing, or nothing that can be read, which is put aside."""
        return None if self.path is None else await asyncio.to_thread(load_object, self.path)

    def save(self, data: dict[str, Any]) -> None:
        """Have an object written soon; ``data`` must not be changed afterwards."""
        if self.path is None:
            return
        with self._lock:
            self._next = data
        self.again()

    def again(self) -> None:
        """Have what could not be written before written, if there is any."""
        with self._lock:
            if self._next is None or self.path is None or self._busy:
                return
            self._busy = True
        try:
            in_thread(self._write, self.path)
        except RuntimeError as error:
            self._fails(error)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._busy

    async def put_aside(self, error: Exception) -> None:
        """Keep the file as .bad and begin anew, because what was loaded makes no sense to its owner."""
        if self.path is not None:
            await asyncio.to_thread(_put_aside, self.path, error)

    async def flush(self) -> None:
        """Wait until everything saved is on the disk, or could not be written; what failed before is tried once more.

        When the wait is cancelled, a thread does so all the same.
        """
        if self.path is None or (self._next is None and not self._busy):
            return
        try:
            await asyncio.shield(in_thread(self._write, self.path))
        except RuntimeError as error:
            self._fails(error)

    def _replace(self, path: Path, data: dict[str, Any]) -> None:
        """Put an object in place of what the file holds. Raises OSError."""
        write_json(path, data, self._indent)

    def _write(self, path: Path) -> None:
        with self._disk:
            while (data := self._take()) is not None:
                try:
                    self._replace(path, data)
                except Exception as error:  # whatever it is, the next one has its turn
                    if not self._fails(error, data):
                        return
                    continue
                self.writes += 1
                self._failed = False

    def _take(self) -> Any:
        """Return what is to be written next; None ends the writing."""
        with self._lock:
            data, self._next = self._next, None
            self._busy = data is not None
        return data

    def _fails(self, error: Exception, data: Any = None) -> bool:
        """Keep what could not be written for ``again``, unless something newer waits; return whether it does."""
        if not self._failed:
            log.warning(
                "%s cannot be written: %s; going on without", self.path, getattr(error, "strerror", None) or error
            )
        self._failed = True
        with self._lock:
            newer = self._next is not None
            self._next = self._next if newer else data
            self._busy = newer and data is not None
        return newer


class SharedStateFile(StateFile):
    """A readable file that several processes of one computer share, each with sections of its own.

    What is saved are sections by name; those that are not named stay as they are in the file.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path, readable=True)
        self._held: int | None = None

    def hold(self) -> None:
        """Let ``unused`` know that a process has the contents in memory, until it releases them or ends."""
        if self.path is not None and self._held is None:
            with suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._held = os.open(self.path.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT, 0o644)
                fcntl.flock(self._held, fcntl.LOCK_SH)

    def release(self) -> None:
        """End what ``hold`` began."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @contextmanager
    def unused(self) -> Iterator[bool]:
        """Give whether no process holds the file; none can begin to meanwhile if so. Raises OSError."""
        if self.path is None or not self.path.parent.exists():
            yield True
            return
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        try:
            yield free
        finally:
            os.close(lock)

    def load_now(self) -> dict[str, Any] | None:
        """Return all sections as ``load`` does, without a thread."""
        return None if self.path is None else load_object(self.path)

    def store_now(self, data: dict[str, Any]) -> bool:
        """Write sections without a thread; return whether they are on the disk. A failure is logged."""
        if self.path is None:
            return False
        try:
            self._replace(self.path, data)
        except OSError as error:
            log.warning("%s cannot be written: %s; going on without", self.path, error.strerror or error)
            return False
        return True

    def _replace(self, path: Path, data: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent):
            write_json(path, (_object_in(path) or {}) | data, self._indent)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a shared file of a folder meanwhile; the lock ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load_object(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None when there is nothing, or nothing that can be read, which is put aside."""
    try:
        return _object_in(path)
    except OSError as error:
        _put_aside(path, error)
        return None


def _object_in(path: Path) -> dict[str, Any] | None:
    """Return the object in a file as ``load_object`` does. Raises OSError for one that cannot be read at the moment."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        _put_aside(path, error)
        return None
    return data


def _put_aside(path: Path, error: Exception) -> None:
    log.error("%s cannot be read: %s; beginning anew, the old file is kept as .bad", path, error)
    with suppress(OSError):
        path.replace(path.with_suffix(".bad"))


def write_json(path: Path, data: dict[str, Any], indent: int | None = None) -> None:
    """Write a file that is there whole or not at all, and is on the disk when this returns. Raises OSError."""
    text = json.dumps(data, indent=indent)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    _write_text(beside, text)
    os.replace(beside, path)
    flush_folder(path.parent)


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Have the names in a folder on the disk, those of new files too. Raises OSError."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems, of networks mostly, know no flush of a folder
            raise
    finally:
        os.close(folder)
