"""Tests; a package, so that tests/ioc never hides the package ioc."""
