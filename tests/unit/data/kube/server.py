#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server that answers as an API server does, and as a broken one: for the tests of kube/. Prints its ports (TLS, plain) and
ends with its standard input. The client's certificate is asked for, never demanded."""
import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

here = os.path.dirname(os.path.abspath(__file__))
state = {"watches": 0, "lists": 0, "unauthorized": 0}
go = threading.Event()


def status(code, reason, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message}


def pod(name, version):
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        path = self.path.split("?")[0].strip("/").split("/")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length).decode()
        getattr(self, "do_" + path[0].replace("-", "_"), self.do_nothing)(path)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

    def do_nothing(self, path):
        self.answer(404, status(404, "NotFound", f"the server could not find the requested resource: {self.path}"))

    def do_echo(self, path):
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        self.answer(200, {"method": self.command, "path": self.path, "body": self.body, "headers": [[k, v] for k, v in self.headers.items()],
                          "peer": str(peer["subject"]) if peer else ""})

    def do_status(self, path):
        code = int(path[1])
        texts = {
            403: ("Forbidden", 'deployments.apps "cart" is forbidden: User "alice" cannot patch resource "deployments" in API group "apps" in the namespace "shop"'),
            409: ("AlreadyExists", 'sessions.culvert.dev "x" already exists'), 410: ("Expired", "too old resource version: 1 (2)"),
            422: ("Invalid", "Intercept is invalid"), 500: ("InternalError", "boom"), 429: ("TooManyRequests", "slow down"), 401: ("Unauthorized", "Unauthorized")}
        reason, message = texts[code]
        self.answer(code, status(code, reason, message), headers=[("Retry-After", "3")] if code == 429 else [])

    def do_html(self, path):
        self.answer(502, b"<html>\n<b>bad gateway</b>\n</html>", "text/html")

    def do_slow(self, path):
        time.sleep(3)
        self.answer(200, {})

    def do_big(self, path):
        self.answer(200, b"x" * 100000)

    def do_cut(self, path):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        self.close_connection = True

    def do_need(self, path):
        """401 to all but one token."""
        if self.headers.get("Authorization") == f"Bearer {path[1]}":
            self.answer(200, {"ok": True})
        else:
            state["unauthorized"] += 1
            self.answer(401, status(401, "Unauthorized", "Unauthorized"))

    def do_CONNECT(self):
        """A proxy that leads to this server whatever it is asked for, and counts."""
        state["tunnels"] = state.get("tunnels", 0) + 1
        there = socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1])))
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.wfile.flush()
        self.close_connection = True

        def copy(a, b):
            try:
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        back = threading.Thread(target=copy, args=(there, self.connection), daemon=True)
        back.start()
        copy(self.connection, there)
        back.join()

    def do_go(self, path):
        go.set()
        self.answer(200, {})

    def do_tunnels(self, path):
        self.answer(200, {"tunnels": state.get("tunnels", 0)})

    # --- watches

    def do_pods(self, path):
        """A list of two pages; then watches that end in various ways, one after the other."""
        query = dict(p.split("=", 1) for p in self.path.split("?")[1].split("&"))
        if "watch" not in query:
            state["lists"] += 1
            if query.get("continue") == "more%2B1":
                self.answer(200, {"metadata": {"resourceVersion": "10"}, "items": [pod("c", 3)]})
            else:
                self.answer(200, {"metadata": {"resourceVersion": "9", "continue": "more+1"}, "items": [pod("a", 1), pod("b", 2)]})
            return
        state["watches"] += 1
        n = state["watches"]
        if n == 3:  # the history is gone: a status
            self.answer(410, status(410, "Expired", "too old resource version"))
            return
        if n == 4:
            self.answer(500, status(500, "InternalError", "boom"))
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if n == 1:
            assert query["resourceVersion"] == "10", query
            assert query["allowWatchBookmarks"] == "true"
            self.lines({"type": "ADDED", "object": pod("d", 11)}, {"type": "BOOKMARK", "object": pod("", 15)}, split=True)
        elif n == 2:
            assert query["resourceVersion"] == "15", query
            self.lines({"type": "DELETED", "object": pod("a", 16)})
        elif n == 5:  # the history is gone: a line
            self.lines({"type": "ERROR", "object": status(410, "Expired", "too old")})
        elif n == 6:
            self.chunk(b"rubbish\n")
        elif n == 7:
            for _ in range(5):
                self.chunk(b"x" * (1 << 20))
        else:
            self.lines({"type": "MODIFIED", "object": pod("end", 99)})
            time.sleep(3)
        self.chunk(b"")

    def lines(self, *objects, split=False):
        for o in objects:
            data = json.dumps(o).encode() + b"\n"
            if split:
                self.chunk(data[:7])
                time.sleep(0.02)
                data = data[7:]
            self.chunk(data)

    def chunk(self, data):
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    # --- upgrades

    def do_prefix(self, path):
        self.path = self.path[len("/prefix"):]
        self.handle_any()

    def upgrade(self, protocol=None):
        accept = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: " + accept +
                         (b"\r\nSec-WebSocket-Protocol: " + protocol.encode() if protocol else b"") + b"\r\n\r\n")
        self.close_connection = True

    def frame(self, data, opcode=2, fin=True):
        head = bytes([opcode | (0x80 if fin else 0)])
        n = len(data)
        head += bytes([n]) if n < 126 else struct.pack("!BH", 126, n) if n < 65536 else struct.pack("!BQ", 127, n)
        self.wfile.write(head + data)
        self.wfile.flush()

    def read_frame(self):
        head = self.rfile.read(2)
        if len(head) < 2:
            return None, b""
        n = head[1] & 127
        assert head[1] & 128, "a client masks"
        if n == 126:
            n = struct.unpack("!H", self.rfile.read(2))[0]
        elif n == 127:
            n = struct.unpack("!Q", self.rfile.read(8))[0]
        mask = self.rfile.read(4)
        data = self.rfile.read(n)
        pad = mask * (n // 4 + 1)
        return head[0] & 15, (int.from_bytes(data, "big") ^ int.from_bytes(pad[:n], "big")).to_bytes(n, "big")

    def do_ws(self, path):
        what = path[1]
        if what == "plain":
            self.answer(200, {"no": "upgrade"})
            return
        if what == "wrong":
            self.wfile.write(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm8=\r\n\r\n")
            self.close_connection = True
            return
        if what == "silent":
            time.sleep(3)
            return
        if what == "rubbish":
            self.wfile.write(b"SSH-2.0-x\r\n\r\n")
            self.close_connection = True
            return
        if what == "need" and self.headers.get("Authorization") != f"Bearer {path[2]}":
            self.answer(401, status(401, "Unauthorized", "Unauthorized"))
            return
        self.upgrade()
        getattr(self, "ws_" + what.replace("need", "echo"))()

    def ws_echo(self):
        while True:
            opcode, data = self.read_frame()
            if opcode == 8 or opcode is None:
                self.frame(data, 8)
                return
            if opcode in (0, 1, 2):
                self.frame(data)

    def ws_early(self):
        """Bytes right behind the head; fragments, with a ping between."""
        self.frame(b"hel", 2, False)
        self.frame(b"are you there", 9)
        self.frame(b"lo", 0, True)
        opcode, data = self.read_frame()
        assert (opcode, data) == (10, b"are you there"), (opcode, data)
        self.frame(b" pong")
        self.frame(struct.pack("!H", 1000), 8)
        self.read_frame()

    def ws_away(self):
        self.frame(b"x")
        self.frame(struct.pack("!H", 1011) + b"the manager goes away", 8)

    def ws_cut(self):
        self.frame(b"x")

    def ws_masked(self):
        self.wfile.write(b"\xf2\x01x")  # reserved bits
        time.sleep(0.3)

    def ws_flood(self):
        """More than any buffer holds, as fast as it is taken."""
        block = bytes(range(256)) * 256
        for _ in range(256):
            self.frame(block)
        self.frame(b"", 8)

    def ws_sink(self):
        """Reads only when /go was asked for; answers the sum of 16 MiB."""
        go.wait(20)
        total, digest = 0, hashlib.sha256()
        while True:
            opcode, data = self.read_frame()
            if opcode in (8, None):
                return
            if opcode == 2:
                total += len(data)
                digest.update(data)
                if total == 16 << 20:
                    self.frame(digest.hexdigest().encode())

    def do_api(self, path):
        """/api/v1/namespaces/NS/pods/NAME/portforward?ports=N"""
        name, port = path[5], int(self.path.split("ports=")[1])
        if self.headers.get("Sec-WebSocket-Protocol") != "v4.channel.k8s.io" or name == "gone":
            self.answer(404, status(404, "NotFound", f'pods "{name}" not found'))
            return
        self.upgrade("v4.channel.k8s.io" if name != "other" else "v5.channel.k8s.io")
        for channel in (0, 1):
            self.frame(bytes([channel]) + struct.pack("<H", port))
        if name == "refused":
            self.frame(b"\1error forwarding port: connection refused")
            self.read_frame()
            return
        while True:
            opcode, data = self.read_frame()
            if opcode in (8, None):
                self.frame(data, 8)
                return
            assert data[0] == 0
            self.frame(data[:1] + data[1:].upper())


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        if isinstance(sys.exc_info()[1], AssertionError):
            sys.stderr.write(f"server: {sys.exc_info()[1]!r}\n")


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{here}/tls/server.crt", f"{here}/tls/server.key")
    context.load_verify_locations(f"{here}/tls/ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    secure, plain = Server(("127.0.0.1", 0), Handler), Server(("127.0.0.1", 0), Handler)
    secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
    for server in (secure, plain):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(secure.server_address[1], plain.server_address[1], flush=True)
    sys.stdin.read()


main()
