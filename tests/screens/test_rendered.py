"""The screens in a browser, against a running IOC: every PV connects, no text is cut, a press does what its label says.

The viewer is the public one for .bob files, which knows neither defaults of macros nor confirmations; for these there
are tests of the files (tests/ioc/export/test_screens.py). What the gateway is asked to write is compared with the file.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import aiohttp
import pytest

from ioc.export import phoebus
from ioc.export.plant import Plant, states
from tests.ioc.export import plants
from tests.ioc.export.bobs import expand
from tests.screens.browser import Page, browser, built_viewer
from tests.softioc import ROOT, free_port

LABIOC = [sys.executable, "-c", "from ioc.cli import main; raise SystemExit(main())"]
CUT = """
[...document.querySelectorAll("#screen *")].filter(e =>
    [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()) || e.tagName == "INPUT"
).filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display != "inline"
).map(e => (e.value || e.textContent) + ": " + e.scrollWidth + " > " + e.clientWidth)
"""
TEXTS = "document.body ? [document.body.innerText, ...[...document.querySelectorAll('input')].map(e => e.value)] : []"
WAITING = "######"
MENU = "..."
"""The label of a button that opens a menu of screens."""
OPTIONS = """
[...document.querySelectorAll("[role=option]")].map(e => [e.textContent, e.ariaSelected == "true",
    ...(r => [r.x + r.width / 2, r.y + r.height / 2])(e.getBoundingClientRect())])
"""
ROWS = """([x, top, height, tag]) => [...Array(height).keys()].map(i => top + i).filter(y => {
    let e = document.elementFromPoint(x, y)?.closest(tag);
    while (e && !(getComputedStyle(e).position == "absolute" && Math.abs(e.getBoundingClientRect().top - top) < 2))
        e = e.parentElement;
    return e;
})"""
OWNER = re.compile(r"LAB:[A-Z]+[0-9]*(:CH[0-9]+)?")
TAGS = {"textentry": "INPUT", "combo": "[role=combobox]"}


@dataclass(frozen=True)
class Widget:
    """A widget where it is in the page, macros put in."""

    kind: str
    x: float
    y: int
    height: int
    pv: str
    text: str
    opens: str
    writes: tuple[tuple[str, str], ...]

    @property
    def what(self) -> tuple[str, str, str]:
        """What it is apart from the device and channel that it belongs to."""
        return self.kind, self.text, OWNER.sub("", self.writes[0][0] if self.writes else self.pv)


def some_of_each(shown: list[Widget]) -> Iterator[Widget]:
    """Yield the first and the last of the widgets of each kind that write: rows are made alike."""
    kinds: dict[tuple[str, str, str], list[Widget]] = {}
    for widget in shown:
        if widget.kind in TAGS or (widget.kind == "action_button" and widget.writes and not widget.opens):
            kinds.setdefault(widget.what, []).append(widget)
    for alike in kinds.values():
        yield from alike[:: max(1, len(alike) - 1)]


def widgets(files: Mapping[str, str], file: str, macros: Mapping[str, str], x: int = 0, y: int = 0) -> Iterator[Widget]:
    """Yield the widgets of a screen and of those embedded in it."""
    for element in ET.fromstring(files[file]).findall("widget"):
        left, top, width, height = (int(element.findtext(tag, "")) for tag in ("x", "y", "width", "height"))
        if element.get("type") == "embedded":
            own = {child.tag: expand(child.text or "", macros) for child in element.find("macros") or ()}
            target = expand(element.findtext("file", ""), {**macros, **own})
            yield from widgets(files, target, {**macros, **own}, x + left, y + top)
            continue
        actions = list(element.iter("action"))
        yield Widget(
            kind=element.get("type", ""),
            x=x + left + width / 2,
            y=y + top,
            height=height,
            pv=expand(element.findtext("pv_name", ""), macros),
            text=expand(element.findtext("text", ""), macros),
            opens=next((expand(a.findtext("file", ""), macros) for a in actions if a.findtext("file")), ""),
            writes=tuple(
                (expand(a.findtext("pv_name", ""), macros), a.findtext("value", ""))
                for a in actions
                if a.get("type") == "write_pv"
            ),
        )


class Station:
    """A browser, the gateway it gets its PVs from, and the IOC behind that."""

    def __init__(self, page: Page, session: aiohttp.ClientSession, plant: Plant, files: Mapping[str, str]) -> None:
        self.page = page
        self.plant = plant
        self.files = files
        self._session = session
        self._rows: dict[Widget, list[int]] = {}

    async def ask(self, path: str) -> Any:
        """Return what the gateway tells."""
        async with self._session.get(path) as answer:
            return await answer.json()

    async def let_through(self) -> None:
        """Have the gateway put what is written from now on."""
        async with self._session.post("/forward") as answer:
            assert answer.status == 200

    async def writes(self) -> list[tuple[str, str]]:
        """Return what pages have written so far."""
        return [(entry["pv"], str(entry["value"])) for entry in await self.ask("/writes")]

    async def open(self, file: str, macros: Mapping[str, str]) -> list[Widget]:
        """Show a screen, wait until everything on it is there and can be pressed, and return its widgets."""
        query = urlencode({"file": f"/screens/{file}", **macros})
        await self.page.call("Page.navigate", url=f"{self._session._base_url}viewer/index.html?{query}")
        found = list(widgets(self.files, file, macros))
        expected = {widget.pv for widget in found if widget.pv}

        async def complete() -> bool:
            states = await self.ask("/pvs")
            if not expected <= {name for name, up in states.items() if up}:
                return False
            texts = await self.page.evaluate(TEXTS)
            return len(texts) > 1 and not any(WAITING in text for text in texts)

        # each look has the page laid out anew, which takes longer than to draw what has changed
        await until(complete, 120.0, f"{file} does not become complete", pause=0.3)
        pressed = [*some_of_each(found), *(widget for widget in found if widget.opens)]
        await until(partial(self.spots, pressed), 30.0, f"{file}: something cannot be pressed")
        return found

    async def do(self, widget: Widget, write: tuple[str, str]) -> None:
        """Press a button or fill a field in until something is written: this, once, and nothing else."""
        before = await self.writes()
        y = self.spot(widget)
        for _ in range(10):
            if widget.kind == "textentry":
                await self.page.enter(widget.x, y, write[1])
            else:
                await self.page.click(widget.x, y)
            with suppress(AssertionError):
                await until(lambda: self._more_than(len(before)), 2.0, "nothing is written")
                break
        assert await self.writes() == [*before, write], widget

    async def choose(self, widget: Widget) -> None:
        """Choose what a menu does not show: it has the states of its PV, and writes the one chosen, once."""
        before = await self.writes()
        y = self.spot(widget)
        options: list[tuple[str, bool, float, float]] = []

        async def opened() -> bool:
            if not options:
                await self.page.click(widget.x, y)
            last, options[:] = list(options), await self.page.evaluate(OPTIONS)
            return bool(options) and options == last  # it grows where it opens

        await until(opened, 10.0, f"{widget} does not open")
        labels = [label for label, _ in states(self.plant.records[widget.pv])]
        assert [option[0] for option in options] == labels, widget
        label, _, x, below = next(option for option in reversed(options) if not option[1])
        await self.page.click(x, below)
        await until(lambda: self._more_than(len(before)), 10.0, f"{widget} writes nothing")
        assert await self.writes() == [*before, (widget.pv, label)], widget

        async def closed() -> bool:
            return not await self.page.evaluate(OPTIONS)

        await until(closed, 10.0, f"{widget} does not close")

    async def go(self, button: Widget) -> None:
        """Press a button until the page asks for the file of the screen that it opens."""
        script = f"performance.getEntriesByType('resource').some(e => e.name.endsWith('/screens/{button.opens}'))"
        assert not await self.page.evaluate(script)
        for _ in range(10):  # the first may come too early
            await self.page.click(button.x, self.spot(button))
            with suppress(AssertionError):
                return await until(lambda: self.page.evaluate(script), 2.0, "it is not opened")
        pytest.fail(f"{button.opens} is not opened")

    async def spots(self, shown: list[Widget]) -> bool:
        """Find where widgets can be pressed: menus of this viewer reach over what is above and below them."""
        pressed = [widget for widget in shown if widget.kind in TAGS or widget.kind == "action_button"]
        areas = [[one.x, one.y, one.height, TAGS.get(one.kind, "BUTTON:enabled")] for one in pressed]
        script = f"{json.dumps(areas)}.map({ROWS})"
        self._rows = dict(zip(pressed, await self.page.evaluate(script), strict=True))
        return all(self._rows.values())

    def spot(self, widget: Widget) -> float:
        """Return where a widget can be pressed."""
        rows = self._rows[widget]
        assert rows, widget
        return float(rows[len(rows) // 2])

    async def _more_than(self, count: int) -> bool:
        return len(await self.writes()) > count


async def until(condition: Any, seconds: float, complaint: str, pause: float = 0.03) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < end, complaint
        await asyncio.sleep(pause)


def _servers(site: Path, folders: list[str], environment: dict[str, str], log: IO[str]) -> Iterator[Any]:
    """Start the IOC and the gateway."""
    yield subprocess.Popen([*LABIOC, "run", str(site)], stderr=log)
    command = [sys.executable, "-m", "tests.screens.gateway", *folders]
    pipe = subprocess.PIPE
    yield subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=log, text=True)


@asynccontextmanager
async def station(folder: Path) -> AsyncIterator[Station]:
    """Run IOC, gateway and browser."""
    viewer = built_viewer()
    port = free_port()
    head = f'{plants.HEAD}\n[server]\ninterfaces = ["127.0.0.1"]\nport = {port}\n'
    site = folder / "site.toml"
    site.write_text(plants.site_file("simulated = true\nperiod = 2", head))
    plant = plants.plant()
    files = phoebus.write(plant)
    files = {name.removeprefix("web/"): text for name, text in files.items() if name.startswith("web/")}
    screens = folder / "screens"
    screens.mkdir()
    for name, text in files.items():
        (screens / name).write_text(text)
    environment = {**os.environ, "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    log = folder / "log.txt"
    with log.open("w") as file:
        ioc, gateway = _servers(site, [str(screens), str(viewer)], environment, file)
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    try:
        address = f"http://127.0.0.1:{int(await asyncio.to_thread(gateway.stdout.readline))}/"
        async with browser(folder / "profile", 1280, 2400) as page, aiohttp.ClientSession(address) as session:
            yield Station(page, session, plant, files)
    finally:
        gateway.stdin.close()
        ioc.send_signal(signal.SIGTERM)
        assert (await asyncio.to_thread(gateway.wait, 20), ioc.wait(20)) == (0, 0), log.read_text()
        gateway.stdout.close()


SCREENS = [
    ("overview.bob", {}, "hv-channel-iseg-edcp.bob"),
    ("server.bob", {}, "alarms.bob"),
    ("alarms.bob", {}, "server.bob"),
    ("HV1.bob", {"DEV": "HV1"}, "hv-channel-caen-dt55xx.bob"),
    ("ISEG1.bob", {"DEV": "ISEG1"}, "device-iseg-edcp.bob"),
    ("hv-channel-caen-dt55xx.bob", {"DEV": "HV1", "CH": "01", "ALIAS": "CALO:PMT"}, "hv-trip.bob"),
    ("hv-channel-iseg-edcp.bob", {"DEV": "ISEG1", "CH": "15", "ALIAS": "CALO:PMT"}, "hv-trip.bob"),
    ("furnace-eurotherm-3200.bob", {"DEV": "FURN1"}, "device-eurotherm-3200.bob"),
    ("device-caen-dt55xx.bob", {"DEV": "HV2"}, "server.bob"),
    ("device-iseg-edcp.bob", {"DEV": "ISEG2"}, "server.bob"),
    ("device-eurotherm-3200.bob", {"DEV": "FURN2"}, "server.bob"),
]
"""Screens, macros, and the one that is opened from there; that every button leads somewhere is a test of the files."""


async def _every_button_writes_or_opens_what_it_says(here: Station) -> None:
    problems: list[str] = []
    for file, macros, target in SCREENS:
        shown = await here.open(file, {"P": "LAB", **macros})
        problems += [f"{file}: cut: {text}" for text in await here.page.evaluate(CUT)]
        for widget in some_of_each(shown):
            if widget.kind == "combo":
                await here.choose(widget)
            else:
                (write,) = widget.writes or ((widget.pv, "1.5"),)
                await here.do(widget, write)
        before = await here.writes()
        await here.go(next(widget for widget in shown if widget.opens == target and widget.text != MENU))
        assert await here.writes() == before
    assert not problems, "\n".join(problems)


async def _a_channel_is_set_and_switched_on(here: Station) -> None:
    await here.let_through()
    shown = await here.open("HV1.bob", {"P": "LAB", "DEV": "HV1"})
    entry = next(w for w in shown if w.kind == "textentry" and w.pv == "LAB:HV1:CH00:VSET")
    on = next(w for w in shown if w.writes == (("LAB:HV1:CH00:ON", "1"),))
    await here.do(entry, ("LAB:HV1:CH00:VSET", "50"))
    await here.do(on, ("LAB:HV1:CH00:ON", "1"))

    near = {f"{tenths / 10:.1f} V" for tenths in range(490, 511)} - {"50.0 V"}  # which the setting has already

    async def voltage() -> bool:
        return bool(near & set(await here.page.evaluate(TEXTS)))

    await until(voltage, 20.0, "the channel does not reach its voltage")


@pytest.mark.timeout(600)
async def test_GIVEN_the_screens_of_a_site_WHEN_used_in_a_browser_THEN_they_show_and_do_what_they_say(
    tmp_path: Path,
) -> None:
    async with station(tmp_path) as here:
        await _every_button_writes_or_opens_what_it_says(here)
        await _a_channel_is_set_and_switched_on(here)
