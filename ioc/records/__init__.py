"""Record types: values, fields, alarms and monitors, as an EPICS database behaves."""
