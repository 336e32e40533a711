"""A FastAPI app with JSON Web Tokens (RFC 7519, HS256), HTTP basic, and orders with ids."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import time
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Header, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials

PASSWORD = os.environ["API_PASSWORD"]
KEY = os.urandom(32)
app = FastAPI()
orders: dict[int, dict[str, Any]] = {}
numbers = itertools.count(1)


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _signed(text: str) -> str:
    return f"{text}.{_part(hmac.digest(KEY, text.encode(), hashlib.sha256))}"


def known(user: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> None:
    if not hmac.compare_digest(user.password.encode(), PASSWORD.encode()):
        raise HTTPException(401)


@app.post("/token")
def token(user: Annotated[str, Body()], password: Annotated[str, Body()]) -> dict[str, str]:
    if password != PASSWORD:
        raise HTTPException(401)
    claims = {"sub": user, "exp": time.time() + 300}
    head = _part(b'{"alg":"HS256","typ":"JWT"}')
    return {"access_token": _signed(f"{head}.{_part(json.dumps(claims).encode())}")}


@app.get("/me")
def me(authorization: Annotated[str, Header()] = "") -> dict[str, bool]:
    given = authorization.removeprefix("Bearer ")
    if _signed(given.rpartition(".")[0]) != given:
        raise HTTPException(401)
    return {"known": True}


@app.get("/basic", dependencies=[Depends(known)])
def basic() -> dict[str, bool]:
    return {"known": True}


@app.post("/orders", dependencies=[Depends(known)], status_code=201)
def order(what: Annotated[dict[str, Any], Body()]) -> dict[str, int]:
    number = next(numbers)
    orders[number] = what
    return {"id": number}


@app.get("/orders/{number}", dependencies=[Depends(known)])
def ordered(number: int) -> dict[str, Any]:
    return orders[number]


@app.delete("/orders/{number}", dependencies=[Depends(known)])
def cancel(number: int) -> dict[str, Any]:
    return orders.pop(number)
