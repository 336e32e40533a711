"""A test-only tap between a proxy and a backend: it keeps what each connection sent.

``python -m tests.truth.tap HOST:PORT FOLDER`` prints its address and writes the bytes
of each connection to ``FOLDER/<address of the proxy's end>``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path


async def main(host: str, port: int, folder: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        try:
            up_reader, up_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        with (folder / f"{peer[0]}:{peer[1]}").open("ab", buffering=0) as kept:

            async def relay(
                source: asyncio.StreamReader, sink: asyncio.StreamWriter, keep: bool
            ) -> None:
                try:
                    while data := await source.read(65536):
                        if keep:
                            kept.write(data)
                        sink.write(data)
                        await sink.drain()
                except OSError:
                    sink.transport.abort()
                finally:
                    sink.close()

            await asyncio.gather(relay(reader, up_writer, True), relay(up_reader, writer, False))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    address, _, at = sys.argv[1].rpartition(":")
    asyncio.run(main(address, int(at), Path(sys.argv[2])))
