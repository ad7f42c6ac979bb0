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
        self._forgotten = 0
        self.port = 0
        #: How many connections were taken.
        self.taken = 0

    def cut(self) -> None:
        """From now on nothing passes; nobody is told."""
        self._loop.call_soon_threadsafe(self._is_open.clear)

    def mend(self) -> None:
        """Everything passes again, what was held up included."""
        self._loop.call_soon_threadsafe(self._is_open.set)

    def forget(self) -> None:
        """Of every connection that there is: what is sent is lost from now on, and nobody is told."""
        self._forgotten = self.taken

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
        self.taken += 1
        number = self.taken
        await self._is_open.wait()
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(self._socket_path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._carry(number, reader, there_writer), self._carry(number, there_reader, writer))

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._is_open.wait()
                if number > self._forgotten:
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
