"""Tests of the scripts that maintainers run."""
