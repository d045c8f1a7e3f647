"""Record types: values, fields, alarms and monitors, as an EPICS database behaves."""

from ioc.records.fields import Value
from ioc.records.fieldtable import FieldSpec, FieldValue, fields_of
from ioc.records.put import AccessDenied, Cancelled, PutContext, PutRefused, Source, as_text
from ioc.records.record import Record
from ioc.records.recordset import RecordSet
from ioc.records.status import SEVERITY_NAMES, STATUS_NAMES, alarm_status

__all__ = [
    "SEVERITY_NAMES",
    "STATUS_NAMES",
    "AccessDenied",
    "Cancelled",
    "FieldSpec",
    "FieldValue",
    "PutContext",
    "PutRefused",
    "Record",
    "RecordSet",
    "Source",
    "Value",
    "alarm_status",
    "as_text",
    "fields_of",
]
