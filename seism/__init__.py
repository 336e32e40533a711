"""Seism shows what a web application does when its backends get slow, lie or die."""

__version__ = "0.1.0"
