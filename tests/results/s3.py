"""A server that speaks S3, in a process of its own, which can be out of reach for a while."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PYTHON = Path(f"{sys.prefix}-s3") / "bin" / "python"
MISSING = f"no server that speaks S3: {PYTHON} is not there. `make s3` puts it beside the environment"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Way:
    """The way to a server: passes on what comes to its own port, unless it is `closed`."""

    def __init__(self, port: int, host: str) -> None:
        self.to, self.host, self.port, self.closed = port, host, free_port(), False
        self.listener: socket.socket | None = None
        self.open()

    def open(self) -> None:
        self.closed = False
        self.listener = socket.create_server((self.host, self.port))
        threading.Thread(target=self._listen, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        """From now on nobody answers, and what is under way breaks off."""
        self.closed = True
        assert self.listener is not None
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self.closed:
                threading.Thread(target=self._pass_on, args=listener.accept()[:1], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self.to)) as server:
            other = {client: server, server: client}
            while not self.closed:
                for end in select.select([client, server], [], [], 0.1)[0]:
                    content = end.recv(65536)
                    if not content:
                        return
                    other[end].sendall(content)


class S3:
    """The server, which is reached by the address `host` of this machine: `address` of a place in it, and the
    environment in which it is found there."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.way = Way(self.port, host)
        self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{self.way.port}"}
        deadline = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{self.port}/bucket", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def address(self, name: str) -> str:
        return f"s3://bucket/{name}"

    def end(self) -> None:
        self.way.close()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(host: str = "127.0.0.1") -> Iterator[S3]:
    """A server, until this ends; skips where there is none."""
    if not PYTHON.exists():
        pytest.skip(MISSING)
    server = S3(host)
    try:
        yield server
    finally:
        server.end()
