"""``labioc top`` on a terminal of textual's own, in front of a served site."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static, TabbedContent

from ioc.app import App
from ioc.export.plant import Plant
from ioc.top.rows import tables
from ioc.top.screen import Confirm, Top
from tests.ioc.app_rig import DEVICE, running, supply

SECONDS = 15.0


@asynccontextmanager
async def on_screen(app: App) -> AsyncIterator[tuple[Top, Pilot[None]]]:
    env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    top = Top("LAB", tables(Plant.build([app.site])), env)
    async with top.run_test(size=(130, 40)) as pilot:
        yield top, pilot


async def shown(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait until something is on the screen."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await pilot.pause(0.05)


def line(top: Top, name: str, table: str = "table1") -> list[str]:
    """Return the cells of a row as text; none when it is not shown."""
    widget: Any = top._widget(table)
    return [cell.plain for cell in widget.get_row(name)] if name in widget.rows else []


def styles(top: Top, name: str) -> set[str]:
    return {str(cell.style) for cell in top._widget("table1").get_row(name)} - {""}


def text(top: Top, name: str) -> str:
    return str(top.query_one(name, Static).render())


def notes(top: Top) -> list[str]:
    return [note.message for note in top._notifications]


async def test_GIVEN_a_site_WHEN_it_changes_THEN_tables_colours_and_details_follow() -> None:
    async with running(DEVICE | {"channel": {"0": {"alias": "CALO:PMT07"}}}) as app, on_screen(app) as (top, pilot):
        await shown(pilot, lambda: line(top, "HV1.0")[2:3] == ["OFF"])
        assert line(top, "HV1.0")[:2] == ["HV1.0", "CALO:PMT07"]
        assert line(top, "HV1.0")[5:8] == ["0.0 V", "OFF", ""]
        assert "LAB " in text(top, "#summary")
        assert "no alarm" in text(top, "#summary")
        await shown(pilot, lambda: "HV1:CH00:VMON" in text(top, "#values"))
        await shown(pilot, lambda: "LAB:HV1:CH00:VMON = " in text(top, "#trend"))
        supply(app).model.trip(1)
        await shown(pilot, lambda: line(top, "HV1.1")[2:3] == ["TRIPPED"])
        assert "bold red" in styles(top, "HV1.1")
        await pilot.press("a")
        assert [line(top, f"HV1.{number}") != [] for number in (0, 1)] == [False, True]
        await pilot.press("a", "slash", *"pmt07")
        assert [line(top, f"HV1.{number}") != [] for number in (0, 1)] == [True, False]
        await pilot.press("escape", "s")
        await shown(pilot, lambda: "sorted by alarm" in text(top, "#summary"))
        assert top._shown["table1"][0] == "HV1.1"
        await pilot.press("2")
        await shown(pilot, lambda: line(top, "HV1", "table2")[1:2] == ["OK"])
        assert line(top, "IOC", "table2")[1] == "ARMED"


async def test_GIVEN_a_channel_WHEN_a_key_is_pressed_THEN_nothing_is_written_without_a_yes() -> None:
    async with running() as app, on_screen(app) as (top, pilot):
        await shown(pilot, lambda: line(top, "HV1.0")[1:2] == ["OFF"])

        async def question() -> str:
            await shown(pilot, lambda: isinstance(top.screen, Confirm))
            return str(top.screen.query_one("#question", Static).render())

        for answer in ("n", "enter", "escape"):
            await pilot.press("o")
            assert "HV1.0: put ON to LAB:HV1:CH00:ON, which is OFF?" in await question()
            await pilot.press(answer)
            await shown(pilot, lambda: not isinstance(top.screen, Confirm))
        assert not supply(app).model.channels[0].on
        await pilot.press("v")
        await shown(pilot, lambda: bool(top.screen.query(Input)) and top.screen.query_one(Input).has_focus)
        await pilot.press(*"100", "enter")
        assert "put 100 to LAB:HV1:CH00:VSET, which is 0.0 V?" in await question()
        await pilot.press("y")
        await shown(pilot, lambda: "LAB:HV1:CH00:VSET: 100 is set" in notes(top))
        assert supply(app).model.channels[0].vset == 100.0
        await pilot.press("o")
        await question()
        await pilot.press("y")
        await shown(pilot, lambda: supply(app).model.channels[0].on)
        await shown(pilot, lambda: line(top, "HV1.0")[5:6] == ["ON"])
        await pilot.press("v")
        await shown(pilot, lambda: bool(top.screen.query(Input)) and top.screen.query_one(Input).has_focus)
        await pilot.press(*"9999", "enter")
        await question()
        await pilot.press("y")
        reason = "LAB:HV1:CH00:VSET: refused: VSET 9999 V is above 4000 V (device VMAX)"
        await shown(pilot, lambda: reason in notes(top))
        await pilot.press("2", "o")
        await shown(pilot, lambda: "this row cannot be switched" in notes(top))


async def test_GIVEN_a_server_that_ends_WHEN_it_was_shown_THEN_its_rows_are_not_connected() -> None:
    async with running() as app, on_screen(app) as (top, pilot):
        await shown(pilot, lambda: line(top, "HV1.0")[1:2] == ["OFF"])
        await app._server.stop()
        await shown(pilot, lambda: line(top, "HV1.0")[6:7] == ["not connected"])
        assert line(top, "HV1.0")[1:4] == ["?", "?", "?"]
        assert "4 not connected" in text(top, "#summary")


async def test_GIVEN_a_PV_that_is_not_found_WHEN_its_row_is_chosen_THEN_the_others_are_shown_and_it_is_not_put_ON() -> (
    None
):
    async with running() as app:
        (channels, *others) = tables(Plant.build([app.site]))
        row = channels.rows[0]
        lost = replace(row, details=[*row.details, "LAB:NOT:THERE"], switch="LAB:NOT:THERE")
        env = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{app.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        top = Top("LAB", [replace(channels, rows=[lost, *channels.rows[1:]]), *others], env)
        async with top.run_test(size=(130, 40)) as pilot:
            await shown(pilot, lambda: "NOT:THERE" in text(top, "#values") and "HV1:CH00:VMON" in text(top, "#values"))
            await pilot.press("o")
            await shown(pilot, lambda: isinstance(top.screen, Confirm))
            assert "put OFF to LAB:NOT:THERE, which is ?" in str(top.screen.query_one("#question", Static).render())
            await pilot.press("n")


async def test_GIVEN_values_that_are_being_read_WHEN_the_screen_is_taken_down_THEN_what_comes_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
):
    async with running() as app, on_screen(app) as (top, pilot):
        read = top._client.read

        async def late(*arguments: Any) -> Any:
            found = await read(*arguments)
            await top.query_one(TabbedContent).remove()
            return found

        monkeypatch.setattr(top._client, "read", late)
        await shown(pilot, lambda: not top.query(TabbedContent))
        await shown(pilot, lambda: top._reading is not None and top._reading.is_finished)
