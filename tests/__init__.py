"""A package, so that ``tests/seism_middleware`` is not taken for ``seism_middleware``."""
