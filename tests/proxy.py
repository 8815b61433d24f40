"""A TCP proxy on loopback that breaks connections on purpose."""

import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 65_536


class Proxy:
    """Stands between a client and a server; `url` is where the client connects."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._needle = b""
        self._replies_to_lose = 0
        self._refuses = False
        self._closed = False
        self.port: int = self._listener.getsockname()[1]
        self.lost_replies = 0
        self._accepting = threading.Thread(target=self._accept, name=f"proxy-{self.port}", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        self._accepting.start()
        return self

    def cut(self) -> None:
        """Break every connection; new ones are accepted."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.close()

    def refuse(self) -> None:
        """Break every connection, and every new one at once, until `accept()`."""
        self._refuses = True
        self.cut()

    def accept(self) -> None:
        self._refuses = False

    def stall(self) -> None:
        """Forward nothing in either direction, connections stay open, until `resume()`."""
        self._flows.clear()

    def resume(self) -> None:
        self._flows.set()

    def cut_before_reply(self, n: int = 1, *, needle: bytes = b"") -> None:
        """Lose the replies of the next `n` requests that contain `needle`.

        The request reaches the server, which runs it; its connection breaks before any of the reply comes back.
        """
        with self._lock:
            self._needle, self._replies_to_lose = needle, n

    def close(self) -> None:
        self._closed = True
        # A close alone does not wake a thread in accept(); a connection does.
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            pass
        self._accepting.join(timeout=5)
        self._listener.close()
        self._flows.set()
        self.cut()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._closed:
                client.close()
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            if self._refuses:
                raise ConnectionRefusedError
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        with self._lock:
            self._links.add(link)
        threading.Thread(target=self._requests, args=(link,), daemon=True).start()
        threading.Thread(target=self._replies, args=(link,), daemon=True).start()

    def _requests(self, link: "_Link") -> None:
        seen = b""  # the end of what went before: a needle may arrive in two pieces
        with suppress(OSError):
            while data := link.client.recv(_CHUNK):
                self._flows.wait()
                with self._lock:
                    hit = self._replies_to_lose > 0 and self._needle in seen + data
                    if hit:
                        self._replies_to_lose -= 1
                        link.loses_reply = True
                keep = max(len(self._needle) - 1, 0)
                seen = (seen + data)[-keep:] if keep and not hit else b""
                link.server.sendall(data)
        self._drop(link)

    def _replies(self, link: "_Link") -> None:
        with suppress(OSError):
            while data := link.server.recv(_CHUNK):
                self._flows.wait()
                if link.loses_reply:
                    self.lost_replies += 1
                    break
                link.client.sendall(data)
        self._drop(link)

    def _drop(self, link: "_Link") -> None:
        link.close()
        with self._lock:
            self._links.discard(link)


class _Link:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.loses_reply = False

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            end.close()
