"""Stands between the service and Postgres, and can cut the line without a word, as a network does."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """A TCP port of 127.0.0.1 that leads to a unix socket."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._loop = asyncio.new_event_loop()
        self._connected = threading.Event()
        self._is_open = asyncio.Event()
        self.port = 0

    def cut(self) -> None:
        """From now on nothing passes; nobody is told."""
        self._loop.call_soon_threadsafe(self._is_open.clear)

    def mend(self) -> None:
        """Everything passes again, what was held up included."""
        self._loop.call_soon_threadsafe(self._is_open.set)

    def run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())

    def wait_until_open(self) -> None:
        assert self._connected.wait(10)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(self._loop)])

    async def _serve(self) -> None:
        self._is_open.set()
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._connected.set()
        await server.serve_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._is_open.wait()
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(self._socket_path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._is_open.wait()
                writer.write(data)
        writer.close()


@contextmanager
def proxy(socket_path: str) -> Iterator[Proxy]:
    """A proxy for as long as the block runs."""
    between = Proxy(socket_path)
    thread = threading.Thread(target=between.run)
    thread.start()
    between.wait_until_open()
    try:
        yield between
    finally:
        between.end()
        thread.join(10)
