"""Hygiene for every test: loopback only, no task and no thread left behind; a missing server fails in CI.

The Channel Access settings are made before anything imports a client or server library, because those read
them at import.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import signal
import stat
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, NoReturn

import pytest
from hypothesis import settings

# How long one example takes says more about the machine than about the code; the time limit of the test stays.
LONG = 30
"""How many times as many examples ``make test-long`` tries."""
settings.register_profile("short", deadline=None)
settings.register_profile("long", deadline=None, max_examples=100 * LONG)
settings.load_profile("short")

os.environ.update(
    EPICS_CA_ADDR_LIST="127.0.0.1",
    EPICS_CA_AUTO_ADDR_LIST="NO",
    EPICS_CAS_INTF_ADDR_LIST="127.0.0.1",
    EPICS_CAS_BEACON_ADDR_LIST="127.0.0.1",
    EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
)
# A shell starts what is to run in the background with Ctrl-C ignored, which all that a test starts would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

for _name in ("EPICS_CA_NAME_SERVERS", "EPICS_CA_SERVER_PORT", "EPICS_CAS_SERVER_PORT"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session", autouse=True)
def own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what servers remember over a restart away from that of the user who runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


def rounds(short: int) -> int:
    """How often a test with chances of its own goes round: ``short``, or LONG times that with ``make test-long``."""
    return short * LONG if settings.get_current_profile_name() == "long" else short


def unavailable(what: str) -> NoReturn:
    """Skip the test because a server or library it needs is not to be had; under CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that have the longest time limits: at the end all workers but one would wait for them."""
    items.sort(key=_time_limit, reverse=True)


def _time_limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Generator[None, object, object]:
    """Have the time limit come again and again: what it raises may end in a task of asyncio, and the test go on."""
    result = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, settings.timeout)
    return result


def _threads() -> set[threading.Thread]:
    # Threads of C libraries show up as dummies; those of the loop's executor end with the loop.
    return {
        thread
        for thread in threading.enumerate()
        if not isinstance(thread, threading._DummyThread) and not thread.name.startswith("asyncio_")
    }


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread running for more than 2 s."""
    before = _threads()
    yield
    end = time.monotonic() + 2.0
    left = _threads() - before
    while left and time.monotonic() < end:
        next(iter(left)).join(0.05)
        left = _threads() - before
    assert not left, f"threads still running: {sorted(thread.name for thread in left)}"


@pytest.fixture
async def _task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks still running: {sorted(task.get_name() for task in left if task)}"


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest, no_thread_left_behind: None) -> None:
    """Fail an asynchronous test that leaves a task running."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_task_check")


def no_flush_of_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have file systems answer to the flush of a folder as those do that know none."""
    sync = os.fsync

    def refuse(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(fd)

    monkeypatch.setattr(os, "fsync", refuse)
