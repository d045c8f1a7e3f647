"""What is behind a record: the device, or the server itself, that its value comes from and that its puts go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ioc.records.fields import Value
from ioc.records.put import PutContext, PutRefused

if TYPE_CHECKING:
    from ioc.records.fieldtable import FieldSpec, FieldValue
    from ioc.records.record import Record


class Source:
    """The source of records that have none: nothing reads them, and a put for a device is refused.

    ``read`` and ``rescan`` return at once and send nothing that could change a device.
    """

    def read(self, record: Record) -> None:
        """Have the record read soon: it was processed, or is enabled again."""

    def rescan(self, record: Record) -> None:
        """Take note of the SCAN field, which a client has changed."""

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Apply a value and return when it has been read back. Raises PutRefused with the reason when it was not."""
        raise PutRefused(f"{record.name}: its device is not served")

    def refused(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
        """Take note of a put that the record or the access rules refused."""

    def applied(self, record: Record, spec: FieldSpec, old: FieldValue, new: Value, context: PutContext) -> None:
        """Take note of a put to a field that concerns the record alone."""


NO_SOURCE = Source()
"""What a record has until it is served."""
