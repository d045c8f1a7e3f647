"""What the servers of PVs ask before they serve a client: a rule that lets every client do everything."""

from __future__ import annotations

from collections.abc import Callable

from ioc.records import PutContext, Record


class Policy:
    """Every client that reaches the server may read and write; the base of stricter rules.

    ``on_change`` is called when rights may have changed.
    """

    summary = "writing is possible from every computer"
    """The rule in one line for the log."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[], object]] = []

    def may_read(self, record: Record, field: str, client: PutContext) -> bool:
        """Whether this client may read this field."""
        return True

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        """Return why this client may not write this field, or None when it may."""
        return None

    def may_acknowledge(self, record: Record, client: PutContext) -> str | None:
        """Return why this client may not acknowledge the alarm of a record, or None when it may."""
        return self.may_put(record, "ACKS", client)

    def may_read_group(self, field: str, client: PutContext) -> bool:
        """Whether this client may read a PV of a caproto group, or a field of its record."""
        return True

    def may_put_group(self, field: str, client: PutContext) -> str | None:
        """Return why this client may not write a PV of a caproto group, or a field of its record; None when it may."""
        return None

    def may_write_raw(self, client: PutContext) -> str | None:
        """Return why this client may not write past the PVs, None when it may."""
        return None

    def changed(self) -> None:
        """Have the rights of all clients judged anew."""
        for call in self.on_change:
            call()

    async def start(self) -> None:
        """Begin to follow what the rights depend on. Raises OSError or ValueError when that is not possible."""

    async def stop(self) -> None:
        """Follow it no more."""

    async def reload(self) -> str:
        """Read the access security file anew and return in a sentence what came of it; a bad one changes nothing."""
        return "there is no access security file, acf of [access] names one"
