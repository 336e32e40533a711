"""A folder for ``PYTHONPATH``: its ``sitecustomize`` observes the app under any known server."""
