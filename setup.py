"""Metadata is in pyproject.toml; this file is where an optional compiled relay will be built."""

from setuptools import setup

setup()
