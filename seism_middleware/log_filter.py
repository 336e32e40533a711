"""Log records that say which request they belong to and what had hit it.

    handler.addFilter(SeismFilter())
    handler.setFormatter(logging.Formatter("%(message)s %(seism_request)s %(seism_perturbation)s"))

or in a ``logging.config.dictConfig``: ``{"filters": {"seism": {"()":
"seism_middleware.log_filter.SeismFilter"}}}``. On a handler rather than a logger: a logger's
filters do not see the records of the loggers below it.
"""

from __future__ import annotations

import logging

from seism_middleware.hits import HITS, certain
from seism_middleware.traffic import current


class SeismFilter(logging.Filter):
    """Lets every record pass, with two attributes more.

    ``seism_request`` is the id of the request, ``seism_perturbation`` the ids of the
    perturbations known by then to have hit or harmed it for certain, with commas; each is an
    empty string where there is none. A request is not looked up before the first record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        HITS.follow()
        request = current.get()
        id_ = request.id if request is not None else ""
        record.seism_request = id_
        record.seism_perturbation = certain(HITS.of(id_)) if id_ else ""
        return True
