# SPDX-License-Identifier: Apache-2.0
"""The manager as a gateway meets it (docs/previews.md), told by a test what to say: JSON-RPC over a WebSocket over TLS.

    feed = Feed(("127.0.0.1", 7443), pki, token="secret")
    feed.tell("intercepts", {"epoch": 1, "intercepts": []})      # again to each gateway that comes
"""
import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import threading

from lab import wait_for

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Gone(Exception):
    pass


class Feed:
    def __init__(self, address, pki, token):
        self.token, self.said, self.tickets = token, {}, {}
        self.watched, self.link, self.lock = False, None, threading.Lock()
        self.address = address
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(pki.path("culvert.crt"), pki.path("culvert.key"))
        self.start()

    def start(self):
        self.listener = socket.create_server(self.address)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """As a manager that ends."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock, contextlib.suppress(OSError, AttributeError):
            self.link.shutdown(socket.SHUT_RDWR)

    def accept(self, listener):
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    # -- what the test says ----------------------------------------------------------------------

    def tell(self, method, params):
        """A snapshot: whoever comes later hears it, too."""
        self.said[method] = params
        self.notify(method, params)

    def notify(self, method, params):
        with self.lock:
            if self.link:
                with contextlib.suppress(OSError):
                    self.send(self.link, {"jsonrpc": "2.0", "method": method, "params": params})

    def requests(self, *rows, dropped=0, agent="web-1"):
        """Each row is as agents tell it: uid, t, method, path, status, ms, by."""
        wait_for("somebody who watches", lambda: self.watched)
        self.notify("requests", {"requests": list(rows), "dropped": dropped, "agent": agent})

    # -- one gateway -----------------------------------------------------------------------------

    def serve(self, plain):
        with contextlib.suppress(OSError, Gone):
            with self.tls.wrap_socket(plain, server_side=True) as s:
                try:
                    self.converse(s)
                finally:
                    with self.lock:
                        if self.link is s:
                            self.link, self.watched = None, False

    def converse(self, s):
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(1) or self.gone()
        fields = dict(re.findall(r"^([^:\r\n]+): *(.*?)\r?$", head.decode(), re.M))
        fields = {k.lower(): v for k, v in fields.items()}
        if not head.startswith(b"GET /gateway HTTP/1.1\r\n") or fields.get("authorization") != f"Bearer {self.token}":
            s.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            return
        accept = base64.b64encode(hashlib.sha1((fields["sec-websocket-key"] + MAGIC).encode()).digest()).decode()
        s.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
                  "Sec-WebSocket-Protocol: culvert.v1\r\n\r\n".encode())
        buffer = b""
        while True:
            buffer += self.frame(s)
            while len(buffer) >= 4 and len(buffer) >= 4 + (length := struct.unpack(">I", buffer[:4])[0]):
                message, buffer = json.loads(buffer[4:4 + length]), buffer[4 + length:]
                self.answer(s, message)

    def answer(self, s, message):
        method, params = message.get("method"), message.get("params", {})
        result, error = {}, None
        if method == "hello":
            result = {"version": params["version"]}
        elif method == "watch":
            self.watched = params["on"]
        elif method == "redeem":
            result = self.tickets.pop(params["ticket"], None)
            error = None if result else {"code": 4, "message": "this ticket is not known: it is good once, for a minute"}
        if "id" in message:
            with self.lock:
                self.send(s, {"jsonrpc": "2.0", "id": message["id"], **({"error": error} if error else {"result": result})})
        if method == "hello":
            with self.lock:
                self.link = s
                for method, params in self.said.items():
                    self.send(s, {"jsonrpc": "2.0", "method": method, "params": params})

    # -- WebSocket (RFC 6455) --------------------------------------------------------------------

    @staticmethod
    def gone():
        raise Gone

    def exactly(self, s, n):
        data = b""
        while len(data) < n:
            data += s.recv(n - len(data)) or self.gone()
        return data

    def frame(self, s):
        """The payload of the next frame with data."""
        while True:
            first, second = self.exactly(s, 2)
            length = second & 0x7f
            if length >= 126:
                length = int.from_bytes(self.exactly(s, 2 if length == 126 else 8), "big")
            mask = self.exactly(s, 4)
            data = self.exactly(s, length)
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
            kind = first & 0x0f
            if kind == 8:
                self.gone()
            if kind == 9:
                with self.lock:
                    s.sendall(bytes([0x8a, len(data)]) + data)
            if kind in (0, 2):
                return data

    @staticmethod
    def send(s, message):
        text = json.dumps(message).encode()
        data = struct.pack(">I", len(text)) + text
        length = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data)) if len(data) < 65536 else b"\x7f" + struct.pack(">Q", len(data))
        s.sendall(b"\x82" + length + data)
