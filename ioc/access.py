"""Who may write what: the ``[access]`` section of the site file.

User and host are what the client says about itself; Channel Access has no proof of either. This keeps honest
people from mistakes and is no protection against others.
"""

from __future__ import annotations

from collections.abc import Iterable

from ioc.records import Record

_ACKNOWLEDGE = frozenset({"ACKS", "ACKT", "PROC"})
"""Fields that an operator may write on every record: acknowledging an alarm, reading now."""


class AccessPolicy:
    """Operators and experts, each ``user`` or ``user@host``; None for both: everybody is an expert.

    ``asked_by`` is who was judged last, as ``user@host``. A put to a field of a record is judged and applied in one go,
    so that meanwhile it is who puts.
    """

    def __init__(self, operators: Iterable[str] | None = None, experts: Iterable[str] | None = None) -> None:
        self.asked_by = "nobody"
        self._open = operators is None and experts is None
        self._experts = frozenset(_normal(name) for name in experts or ())
        self._operators = self._experts | {_normal(name) for name in operators or ()}

    def may_put(self, record: Record, field: str, user: str, host: str) -> str | None:
        """Return why this client may not write this field, or None when it may.

        A record with access ``R`` takes no value from anybody; ``O`` takes one from operators and experts,
        ``E`` from experts. Every other field (alarm limits, SCAN, DISP...) is for experts, acknowledging
        for operators.
        """
        self.asked_by = f"{user}@{host}"
        if field == "PROC" and record.is_output:
            field = "VAL"  # processing an output sends its value once more
        if field == "VAL" and not _writable(record):
            return f"{record.name} is a read-only PV"
        return self._lacks_role(field not in _ACKNOWLEDGE and (field != "VAL" or record.access != "O"), user, host)

    def may_put_group(self, name: str, field: str, user: str, host: str) -> str | None:
        """Return why this client may not write a PV of a caproto group, None when it may.

        The value is for operators, like a setting; the fields of a record (alarm limits, SCAN) are for experts.
        """
        return self._lacks_role(field not in ("", "VAL", *_ACKNOWLEDGE), user, host)

    def may_write_raw(self, user: str, host: str) -> str | None:
        """Return why this user may not write past the PVs, None when nothing speaks against it: it takes an expert."""
        return self._lacks_role(True, user, host)

    def _lacks_role(self, needs_expert: bool, user: str, host: str) -> str | None:
        if self._open:
            return None
        allowed = self._experts if needs_expert else self._operators
        if allowed & {_normal(user), _normal(f"{user}@{host}")}:
            return None
        role = "an expert" if needs_expert else "an operator"
        return f"{user}@{host} is not {role} in the [access] section of the site file"


def _writable(record: Record) -> bool:
    """Return whether anybody may set the value; a record without access tag goes by its direction."""
    return record.access in ("O", "E") or (record.access == "" and record.is_output)


def _normal(name: str) -> str:
    """Host names do not care about case, user names do."""
    user, at, host = name.partition("@")
    return f"{user}{at}{host.lower()}"
