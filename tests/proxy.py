"""A TCP proxy on loopback that breaks connections on purpose."""

import socket
import threading
import time
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
        #: Rises whenever all connections are broken, those that are just being made included.
        self._era = 0
        self._flows = threading.Event()
        self._flows.set()
        self._needle = b""
        self._replies_to_lose = 0
        self._requests_to_lose = 0
        self._bytes_to_keep = 0
        self._delay_s = 0.0
        self._refuses = False
        self._closed = False
        self.port: int = self._listener.getsockname()[1]
        self.lost_replies = 0
        self.lost_requests = 0
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
            self._era += 1
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

    def strand(self) -> None:
        """Forward nothing more, ever, on the connections that are open now; they stay open. New ones work."""
        with self._lock:
            for link in self._links:
                link.flows.clear()

    def redirect(self, port: int) -> None:
        """Break every connection; new ones lead to another server."""
        self._server_port = port
        self.cut()

    def delay(self, seconds: float) -> None:
        """Hold back every request for so long, from now on."""
        self._delay_s = seconds

    def cut_before_request(self, n: int = 1, *, needle: bytes = b"") -> None:
        """Break the connections of the next `n` requests that contain `needle` before the server sees them."""
        with self._lock:
            self._needle, self._requests_to_lose, self._replies_to_lose = needle, n, 0

    def cut_before_reply(self, n: int = 1, *, needle: bytes = b"", keep: int = 0) -> None:
        """Lose the replies of the next `n` requests that contain `needle`.

        The request reaches the server, which runs it; its connection breaks before any of the reply comes back, or
        after its first `keep` bytes.
        """
        with self._lock:
            self._needle, self._requests_to_lose, self._replies_to_lose = needle, 0, n
            self._bytes_to_keep = keep

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
        era = self._era
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
            is_current = era == self._era
            if is_current:
                self._links.add(link)
        if not is_current:
            link.close()
            return
        threading.Thread(target=self._requests, args=(link,), daemon=True).start()
        threading.Thread(target=self._replies, args=(link,), daemon=True).start()

    def _requests(self, link: "_Link") -> None:
        seen = b""  # the end of what went before: a needle may arrive in two pieces
        with suppress(OSError):
            while data := link.client.recv(_CHUNK):
                self._flows.wait()
                link.flows.wait()
                if self._delay_s:
                    time.sleep(self._delay_s)
                hit = self._needle in seen + data and self._loses(link)
                if link.loses_request:
                    break
                keep = max(len(self._needle) - 1, 0)
                seen = (seen + data)[-keep:] if keep and not hit else b""
                link.server.sendall(data)
        self._drop(link)

    def _loses(self, link: "_Link") -> bool:
        """Whether this request, which has the needle, is to be lost, or its reply."""
        with self._lock:
            if self._requests_to_lose > 0:
                self._requests_to_lose -= 1
                self.lost_requests += 1
                link.loses_request = True
            elif self._replies_to_lose > 0:
                self._replies_to_lose -= 1
                link.loses_reply = True
            return link.loses_request or link.loses_reply

    def _replies(self, link: "_Link") -> None:
        with suppress(OSError):
            while data := link.server.recv(_CHUNK):
                self._flows.wait()
                link.flows.wait()
                if link.loses_reply:
                    self.lost_replies += 1
                    if self._bytes_to_keep:
                        link.client.sendall(data[: self._bytes_to_keep])
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
        self.loses_reply = self.loses_request = False
        self.flows = threading.Event()
        self.flows.set()

    def close(self) -> None:
        self.flows.set()
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
            end.close()
