"""A headless Chromium driven by its DevTools protocol, and the viewer of screens that is built for it once."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import unavailable
from tests.debian import CACHE

SOURCES = Path(__file__).parent / "viewer"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--remote-debugging-port=0", "--proxy-server=direct://", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
SELECT = "document.activeElement.select && (document.activeElement.select(), true)"


def built_viewer() -> Path:
    """Return the folder of the viewer, made with npm when its sources are new to this computer."""
    text = b"".join(path.read_bytes() for path in sorted(SOURCES.rglob("*")) if path.is_file())
    root = CACHE / f"viewer-{hashlib.sha256(text).hexdigest()[:12]}"
    page = root / "dist" / "index.html"
    if page.exists():
        return page.parent
    npm = shutil.which("npm")
    if npm is None:
        unavailable("no npm to build the viewer of screens with")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "viewer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not page.exists():
            shutil.copytree(SOURCES, root, dirs_exist_ok=True)
            for words in (["install", "--no-audit", "--no-fund", "--no-package-lock"], ["run", "build"]):
                command = [npm, *words]
                done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=400, check=False)
                if done.returncode:
                    unavailable(f"npm {words[0]} fails: {done.stderr[-500:]}")
            shutil.rmtree(root / "node_modules")
    return page.parent


class Page:
    """A page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take answers until the socket is closed."""
        async for message in self._socket:
            answer = json.loads(message.data)
            future = self._waiting.pop(answer.get("id"), None)
            if future is not None and not future.done():
                future.set_result(answer)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._next += 1
        future = self._waiting[self._next] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._next, "method": method, "params": parameters})
        answer = await asyncio.wait_for(future, 120)  # a page that is drawn for the first time answers nothing
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def click(self, x: float, y: float) -> None:
        """Press and release the left button."""
        await asyncio.gather(*self._click(x, y))

    def _click(self, x: float, y: float) -> list[Coroutine[Any, Any, Any]]:
        kinds = ("mousePressed", "mouseReleased")
        return [self.call("Input.dispatchMouseEvent", type=k, x=x, y=y, button="left", clickCount=1) for k in kinds]

    async def enter(self, x: float, y: float, text: str) -> None:
        """Click into a field, replace what is in it, press Enter."""
        for _ in range(20):  # the field may still be showing a value that has just come
            *_, selected = await asyncio.gather(*self._click(x, y), self.evaluate(SELECT))
            if selected:
                typing = self.call("Input.insertText", text=text), self.evaluate("document.activeElement.value")
                if (await asyncio.gather(*typing))[1] == text:
                    break
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        down = self.call("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        await asyncio.gather(down, self.call("Input.dispatchKeyEvent", type="keyUp", **key))

    async def picture(self, path: Path) -> None:
        """Save what is seen."""
        found = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(found["data"]))


@asynccontextmanager
async def browser(folder: Path, width: int, height: int) -> AsyncIterator[Page]:
    """Run Chromium with its profile in a folder."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        unavailable("no chromium (Debian package chromium)")
    quiet = asyncio.subprocess.DEVNULL
    command = [binary, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    try:
        port = await asyncio.to_thread(_port, folder / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                targets = await answer.json(content_type=None)
            address = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
            async with session.ws_connect(address, max_msg_size=1 << 27) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                await page.call("Emulation.setDeviceMetricsOverride", **size)
                await page.call("Page.enable")
                yield page
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), 15)


def _port(file: Path) -> int:
    end = time.monotonic() + 30
    while not (file.exists() and file.read_text().count("\n")):
        assert time.monotonic() < end, "chromium opens no port"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])
