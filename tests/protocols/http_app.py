"""An HTTP server for the sessions: python -m tests.protocols.http_app PORT"""

from __future__ import annotations

import sys

from aiohttp import WSMsgType, web


async def plain(request: web.Request) -> web.Response:
    if request.headers.get("If-None-Match") == '"one"':
        return web.Response(status=304, headers={"ETag": '"one"'})
    return web.Response(text="hello\n", headers={"ETag": '"one"'})


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(5):
        await response.write(b"part %d\n" % number * 20)
    await response.write_eof()
    return response


async def empty(request: web.Request) -> web.Response:
    return web.Response(status=204)


async def status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]))


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data.upper())
    return socket


def main(port: int) -> None:
    app = web.Application()
    app.add_routes([web.get("/plain", plain), web.get("/stream", stream)])
    app.add_routes([web.get("/plain/{id}", plain), web.get("/websocket", websocket)])
    app.add_routes([web.delete("/items/{id}", empty), web.post("/echo", echo)])
    app.router.add_get("/status/{status}", status)
    app.add_routes([web.put("/echo", echo)])
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
