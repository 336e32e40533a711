"""Tells when a module has been imported, so that it can be patched before anybody uses it.

An app may import its driver in its first requests, many at once: what they open before the next
request begins would not be seen. A finder (see ``sys.meta_path``) that finds nothing itself
leaves the finding to the others, and is there when the module has been executed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Imports:
    """``imported`` is called with the name of each of ``names`` once it has been executed."""

    def __init__(self, names: Container[str], imported: Callable[[str], None]) -> None:
        self._names = names
        self._imported = imported

    def install(self) -> None:
        """Become the first finder. Idempotent: twice in the list, it would ask itself."""
        self.uninstall()
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Remove the finder. Idempotent."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As the other finders find it, with a loader that tells."""
        if name not in self._names:
            return None
        # Those before it have been asked; another of these among them would ask this one again.
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 if self in finders else 0 :]:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Telling(spec.loader, self._imported)  # type: ignore[assignment]
                return spec
        return None


class _Telling:
    """A loader that puts the true one back before the module can see it."""

    def __init__(self, loader: Any, imported: Callable[[str], None]) -> None:
        self._loader = loader
        self._imported = imported

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        made: ModuleType | None = create(spec) if create else None
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._imported(module.__name__)
