"""Faults of devices, clients, clock, disk and network, as bench.reliability makes them, for a shorter time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import reliability, reliability_host
from tests.conftest import unavailable


async def test_GIVEN_no_device_WHEN_started_THEN_every_pv_is_served_INVALID_within_5_s(tmp_path: Path) -> None:
    await reliability.all_off(tmp_path)


async def test_GIVEN_answers_in_nine_tenths_of_the_timeout_WHEN_scanned_THEN_the_device_is_not_lost(
    tmp_path: Path,
) -> None:
    await reliability.slow_answers(tmp_path, timeout=0.4, seconds=2.0)


async def test_GIVEN_clients_WHEN_one_of_them_is_stopped_THEN_the_others_get_every_event(tmp_path: Path) -> None:
    await reliability.many_clients(tmp_path, clients=6, seconds=2.0)


async def test_GIVEN_clients_that_come_and_go_WHEN_they_are_gone_THEN_nothing_of_them_is_left(tmp_path: Path) -> None:
    await reliability.thousand_connections(tmp_path, number=100)


async def test_GIVEN_a_clock_that_steps_by_an_hour_WHEN_scanned_THEN_scans_go_on_without_alarm(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        unavailable("no C compiler")
    await reliability.clock_step(tmp_path, seconds=2.0)


async def test_GIVEN_a_disk_that_is_read_only_WHEN_puts_go_on_THEN_all_of_them_are_kept_later(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        unavailable("a file system of its own needs root")
    await reliability_host.disk_read_only(tmp_path)


async def test_GIVEN_a_lost_address_WHEN_it_is_back_THEN_events_arrive_again(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        unavailable("network namespaces need root and the command ip")
    await reliability_host.address_lost(tmp_path, seconds=1.5)
