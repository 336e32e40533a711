"""The errors that Seism raises itself.

::

    SeismError                HTTP 500  exit 4
    ├── ConfigurationError    HTTP 400  exit 2  what a user gave is wrong
    ├── NotFound              HTTP 404  exit 2  no such proxy, toxic, connection
    ├── Conflict              HTTP 409  exit 2  the name or the address is taken
    ├── Unavailable           HTTP 500  exit 2  the machine says no, or nobody answers
    ├── Incomplete            HTTP 507  exit 4  records of what happened are missing
    ├── NotReady              HTTP 503  exit 3  no steady state before the start
    └── ProtocolError         HTTP 502  exit 4  a peer's bytes are not as they should be

Each class carries the HTTP status that the control API answers with and the exit code
of a command that ends with it. An injected fault is never a SeismError.
"""

from __future__ import annotations


class SeismError(Exception):
    """Something went wrong in Seism, said in one line; what was observed is not complete."""

    status = 500
    exit_code = 4


class ConfigurationError(SeismError):
    """The user's input is wrong; the message says where, what and the accepted values."""

    status = 400
    exit_code = 2


class NotFound(SeismError):
    """The named proxy, toxic or connection does not exist."""

    status = 404
    exit_code = 2


class Conflict(SeismError):
    """The name or the address is taken."""

    status = 409
    exit_code = 2


class Unavailable(SeismError):
    """The operating system refused, for example to bind an address."""

    status = 500
    exit_code = 2


class Incomplete(SeismError):
    """The journal lacks records: the disk is full, or too slow."""

    status = 507


class NotReady(SeismError):
    """The app, or its steady state, is not there before the first perturbation."""

    status = 503
    exit_code = 3


class ProtocolError(SeismError):
    """A peer broke its protocol."""

    status = 502
