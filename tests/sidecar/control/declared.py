"""An OpenAPI document, held against what a server answers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

UNROUTED = {404, 405}
"""What is answered where there is no such path or method, which no document declares."""


class Declared:
    """The operations of ``document``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = {
            re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): item
            for path, item in document["paths"].items()
        }

    @property
    def operations(self) -> dict[str, set[str]]:
        """The methods of each path."""
        return {
            path: {method.upper() for method in item if method != "parameters"}
            for path, item in self.document["paths"].items()
        }

    def operation(self, method: str, target: str) -> dict[str, Any] | None:
        """The operation that a request is, None where the document has none."""
        path = target.partition("?")[0]
        for pattern, item in self._paths.items():
            if pattern.fullmatch(path):
                found: dict[str, Any] | None = item.get(method.lower())
                return found
        return None

    def check(
        self, method: str, target: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Fails if the answer is not declared, or its body is not as declared."""
        operation = self.operation(method, target)
        if operation is None:
            # The guard comes before the router.
            assert status in UNROUTED | {401, 403}, (method, target, status)
            return
        said = operation["responses"].get(str(status))
        assert said is not None, f"{method} {target}: {status} is not declared"
        if "content" not in said:
            assert body == b""
            return
        ((media, content),) = said["content"].items()
        assert headers["Content-Type"].partition(";")[0] == media
        if media == "application/json":
            self.validate(json.loads(body), content["schema"])

    def takes(self, method: str, target: str, body: Any) -> bool:
        """Whether ``body`` is what the operation declares to take."""
        operation = self.operation(method, target)
        assert operation is not None
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        return self._validator(schema).is_valid(body)

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        self._validator(schema).validate(value)

    def _validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator({**schema, "components": self.document["components"]})
