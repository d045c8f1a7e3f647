"""EPICS database files: grammar, macros, loading."""
