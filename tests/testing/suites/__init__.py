"""Apps with tests of their own that know nothing of Seism: the load of ``pytest --seism``.

Each app answers ``/well``, which survives its backend, and ``/ill``, which does not.
``test_clients`` copies the module to a folder in which pytest collects it.
"""
