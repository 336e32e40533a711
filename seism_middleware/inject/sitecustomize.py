"""Observes the web app of this process without a line of code; Python imports it before the app.

Set ``SEISM_INJECT`` and put this folder first on ``PYTHONPATH``. Hooks on imports
(``seism_middleware.inject.server``) then wrap the app as its server takes it. The app's environment
needs no Seism: ``seism_middleware`` is found beside this folder. The app's own ``sitecustomize``
runs afterwards. This file has to run on every Python 3, so that an old one is refused in one line.
"""

import importlib
import importlib.util
import os
import sys

VARIABLE = "SEISM_INJECT"
MARK = "SEISM_INJECTED"
"""Its value is ``PID:SERVER``: the first process, and the server once its app is observed."""
OLDEST = (3, 11)
EXIT_CODE = 2

_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.dirname(_HERE)


class _BesideUs:
    """Finds ``seism_middleware`` where no other finder does."""

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name != "seism_middleware":
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(_PACKAGE, "__init__.py"), submodule_search_locations=[_PACKAGE]
        )


def _start() -> None:
    if sys.version_info < OLDEST:
        if MARK not in os.environ:
            version = ".".join(map(str, sys.version_info[:3]))
            oldest = ".".join(map(str, OLDEST))
            sys.stderr.write(
                f"seism: inject: Python {version} is too old ({oldest} or newer is needed): "
                f"observe the app by [front] instead\n"
            )
            sys.stderr.flush()
            os._exit(EXIT_CODE)
        return
    sys.meta_path.append(_BesideUs())
    importlib.import_module("seism_middleware.inject.server").start()


def _hand_on() -> None:
    """Import the ``sitecustomize`` that this one stands before, if there is one."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    ours = sys.modules.pop("sitecustomize")
    sys.modules["seism_inject"] = ours
    try:
        importlib.import_module("sitecustomize")
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = ours


if __name__ == "sitecustomize" and os.environ.get(VARIABLE):
    try:
        _start()
    except Exception as error:
        sys.stderr.write(f"seism: inject: the app is not observed: {error!r}\n")
    _hand_on()
