"""EPICS database templates: the only list of the PVs that labioc serves."""
