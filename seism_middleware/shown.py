"""Which of our functions show, in their frames, what a thread works for.

Whoever looks at another thread sees its frames only. A function that is marked says in which of
its variables the request, or the driver's call, is to be found. A name that the function does
not have fails when the module is imported, rather than the evidence when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_VARIABLES: dict[CodeType, str] = {}
"""Code of a marked function -> the variable."""


def shows(variable: str) -> Callable[[F], F]:
    """Mark a function, whose ``variable`` is a Request, or has one as its ``request``.

    Raises LookupError where the function has no such variable.
    """

    def mark(function: F) -> F:
        code = function.__code__
        if variable not in (*code.co_varnames, *code.co_cellvars, *code.co_freevars):
            raise LookupError(f"{code.co_qualname}: no variable {variable!r}")
        _VARIABLES[code] = variable
        return function

    return mark


def values(frame: FrameType | None) -> Iterator[Any]:
    """What the marked functions in the stack of ``frame`` show, innermost first."""
    while frame is not None:
        variable = _VARIABLES.get(frame.f_code)
        if variable is not None:
            yield frame.f_locals.get(variable)
        frame = frame.f_back
