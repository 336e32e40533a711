"""The errors that Seism raises itself.

::

    SeismError                500
    ├── ConfigurationError    400  what a user gave is wrong: file, option, attribute
    ├── NotFound              404  no such proxy, toxic, connection
    ├── Conflict              409  the name or the address is taken
    ├── Unavailable           500  the machine says no: an address that cannot be bound
    └── ProtocolError         502  bytes of a peer that are not what they should be

Each class carries the HTTP status that the control API answers with. An injected
fault is never a SeismError.
"""

from __future__ import annotations


class SeismError(Exception):
    """Something went wrong in Seism, said in one line."""

    status = 500


class ConfigurationError(SeismError):
    """The user's input is wrong; the message says what, where and what is allowed."""

    status = 400


class NotFound(SeismError):
    """What was named does not exist."""

    status = 404


class Conflict(SeismError):
    """What was to be made exists already."""

    status = 409


class Unavailable(SeismError):
    """The operating system refused, for example to bind an address."""

    status = 500


class ProtocolError(SeismError):
    """A peer broke its protocol."""

    status = 502
