"""Metadata is in pyproject.toml; here is the compiled pump, which an install can do without.

``optional``: without a compiler or Cython the build says so and goes on, and the relay is
pure Python. See docs/performance.md.
"""

from setuptools import Extension, setup

setup(ext_modules=[Extension("seism.proxy._pump", ["seism/proxy/_pump.pyx"], optional=True)])
