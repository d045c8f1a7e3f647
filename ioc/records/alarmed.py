"""Alarm status and severity of a record, how they change and how they are acknowledged (recGbl of EPICS base)."""

from __future__ import annotations

from ioc.records import status as st
from ioc.records.monitored import Monitored


class Alarmed(Monitored):
    """The alarm that a record shows, and the one that is being raised while it is processed.

    ``stat`` and ``sevr`` are what clients see, ``acks`` the highest severity that is not acknowledged, ``ackt``
    whether one that has gone must be acknowledged too.
    """

    __slots__ = ("_nsev", "_nsta", "acks", "ackt", "sevr", "stat")

    def __init__(self, status: int, severity: int) -> None:
        super().__init__()
        self.stat = status
        self.sevr = severity
        self.acks = 0
        self.ackt = 1
        self._nsta = self._nsev = 0

    def _alarm(self, status: int, severity: object) -> None:
        """Remember an alarm if it is worse than those raised before in this processing (recGblSetSevr)."""
        if isinstance(severity, int) and severity > self._nsev:
            self._nsta, self._nsev = status, severity

    def _reset_alarms(self) -> int:
        """Make the alarms raised the present ones (recGblResetAlarms); return DBE_ALARM when they changed."""
        if self._nsta == self.stat and self._nsev == self.sevr:
            self._nsta = self._nsev = 0
            return 0
        mask = (st.DBE_ALARM if self._nsev != self.sevr else 0) | (st.DBE_VALUE if self._nsta != self.stat else 0)
        status, severity = self._nsta, self._nsev
        self._nsta = self._nsev = 0
        changed = severity != self.sevr
        self.stat, self.sevr = status, severity
        if changed:
            self.post_events("SEVR", st.DBE_VALUE)
        self.post_events("STAT", mask)
        if not self.ackt or severity >= self.acks:
            self.acks = severity
            self.post_events("ACKS", st.DBE_VALUE)
        return st.DBE_ALARM

    def acknowledge(self, severity: int) -> None:
        """Acknowledge alarms up to this severity (DBR_PUT_ACKS)."""
        if severity >= self.acks:
            self.acks = 0
            self.post_events("ACKS", st.DBE_VALUE | st.DBE_ALARM)
            self.post_all(st.DBE_ALARM)
        self._put_done()

    def acknowledge_transient(self, transient: bool) -> None:
        """Choose whether an alarm that has gone must still be acknowledged (DBR_PUT_ACKT)."""
        if bool(self.ackt) != transient:
            self.ackt = int(transient)
            self.post_events("ACKT", st.DBE_VALUE | st.DBE_ALARM)
            if not transient and self.acks > self.sevr:
                self.acks = self.sevr
                self.post_events("ACKS", st.DBE_VALUE | st.DBE_ALARM)
            self.post_all(st.DBE_ALARM)
        self._put_done()

    def _put_done(self) -> None:
        """Do what follows a put to the value."""
        raise NotImplementedError
