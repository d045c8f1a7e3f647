"""Ordinary caproto PVGroups as devices: loaded from the site file, served beside the records."""
