"""Pairs of applications: a healthy one, and a sick twin that differs in one line (``SICK``)."""
