"""Endpoints that speak HTTP/2 over TLS frame by frame, also wrongly."""
import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
OK = b"\x88"  # :status 200
ENDED = 5  # END_STREAM and END_HEADERS


class Tls:
    """A certificate for localhost, and a server that speaks HTTP/2 with it."""

    def __init__(self, pem=None):
        """With a certificate of its own, or that of another one."""
        self.folder = None if pem else tempfile.mkdtemp(prefix="sidehook-http2-")
        self.pem = pem or os.path.join(self.folder, "pem")
        if self.folder:
            self.make()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.pem, self.pem + ".key")
        self.context.set_alpn_protocols(["h2"])

    def make(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", self.pem + ".key",
                        "-out", self.pem, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-addext", "basicConstraints=critical,CA:FALSE"], check=True, capture_output=True)

    async def serve(self, handler, receive_buffer=None):
        """The port of a server that treats each connection with `handler(reader, writer)`."""
        listener = socket.socket()
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))

        async def guarded(reader, writer):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):  # cancelled: the suite ends
                await handler(reader, writer)
            writer.close()
        await asyncio.start_server(guarded, sock=listener, ssl=self.context)
        return listener.getsockname()[1]

    def remove(self):
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


async def frames(reader):
    await reader.readexactly(24)
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        yield head[3], head[4], int.from_bytes(head[5:9], "big"), payload
