"""The trace that a message names: W3C Trace Context, section 3.2, wherever it is written.

An HTTP header, a SQL comment and a field of JSON all have the same few words in them; that is
what is looked for, no protocol.
"""

from __future__ import annotations

import re

from seism_middleware.contract import TRACEPARENT

_TRACEPARENT = re.compile(rf"(?i:traceparent)['\"]?\s*[:=]\s*['\"]?{TRACEPARENT}".encode())


def trace_of(data: bytes) -> str:
    """The id of the one trace that ``data`` names; empty if it names none, or several."""
    found = {match[1] for match in _TRACEPARENT.finditer(data)}
    return found.pop().decode() if len(found) == 1 else ""
