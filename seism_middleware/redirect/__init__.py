"""A folder for ``PYTHONPATH``: its ``sitecustomize`` sends connects to the proxies."""
