"""Reading the requests of one client, in portions: what one client asks for must not keep the others waiting."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from ioc.server import wire
from ioc.server.connection import Connection
from ioc.server.wire import Message

log = logging.getLogger("labioc.server")

#: Requests that a client may have under way, puts to devices above all, before no more of its requests are served.
MOST_PUTS: Final = 1000
#: Seconds that a get waits for the same client's put to the same record, so that a plain caput shows the new value.
READ_AFTER_WRITE: Final = 0.8
#: Seconds of requests that one client is served in one turn of the loop, before the others have theirs.
SLICE: Final = 0.002


class Requests(Connection):
    """The receiving side of a circuit; what a request means is left to ``_handle``."""

    def __init__(self, max_array_bytes: int) -> None:
        super().__init__()
        self._reader = wire.MessageReader(max_array_bytes)
        self._unserved = False

    def _handle(self, message: Message) -> None:
        """Serve one request. Raises BrokenStream when it is none."""
        raise NotImplementedError

    def _under_way(self) -> int:
        """Return how many requests have begun and are not answered."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Handle the requests that have arrived."""
        self._serve(data)

    def resume_writing(self) -> None:
        """Go on with the requests that were left when the client took no more answers."""
        super().resume_writing()
        if not self._unserved:
            self._serve(b"")

    def _serve(self, data: bytes) -> None:
        """Handle requests until there are no more, or this client must wait; the rest is kept and no more is read.

        It waits for ``resume_writing`` when its answers pile up, for the end of a put when too many are under way, and
        for the next turn of the loop when others have waited long enough.
        """
        end = time.perf_counter() + SLICE
        try:
            for message in self._reader.feed(data):
                self._handle(message)
                if self._paused or self._under_way() >= MOST_PUTS:
                    break
                if time.perf_counter() > end:
                    self._unserved = True
                    self._throttle()
                    asyncio.get_running_loop().call_soon(self._serve_on)
                    break
        except wire.BrokenStream as error:
            log.warning("client %s:%d: %s; its connection is closed", *self.address, error)
            self.close()

    def _serve_on(self) -> None:
        """Go on with the requests that one turn of the loop left."""
        self._unserved = False
        if self._transport is None:
            return
        self._throttle()
        if not self._paused:
            self._serve(b"")

    def _one_less(self) -> None:
        """Go on with requests that had to wait because too many were under way."""
        if self._under_way() == MOST_PUTS - 1 and not self._unserved:
            self._serve_on()

    def _busy_enough(self) -> bool:
        return self._unserved or self._under_way() >= MOST_PUTS
