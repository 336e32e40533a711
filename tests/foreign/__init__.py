"""Test suites that others wrote, as the load of ``pytest --seism``: ``make suites``."""
