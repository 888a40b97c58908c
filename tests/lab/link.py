#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A gateway's end of its link to the manager (docs/previews.md), for tests: a WebSocket over TLS with JSON-RPC on it.

    link.py IP:PORT SERVER-NAME CA-FILE TOKEN-FILE

Each line on stdin is METHOD JSON, a call, or "mute {}" and "speak {}": calls to us get no answer, or {} as at first; each line on stdout METHOD
JSON (a notification or a call), "answer JSON" (the whole of it), "mute", "speak", "refused STATUS TEXT" or "closed"."""
import base64
import json
import os
import socket
import ssl
import struct
import sys
import threading

MASK = b"\0\0\0\0"  # a client masks (RFC 6455, 5.3); with zeros the bytes stay as they are


def say(*words):
    print(*words, flush=True)


class Link:
    def __init__(self, where, name, ca, token):
        host, port = where.rsplit(":", 1)
        context = ssl.create_default_context(cafile=ca)
        self.tls = context.wrap_socket(socket.create_connection((host, int(port)), 20), server_hostname=name)
        self.tls.settimeout(None)
        self.bytes, self.data, self.calls, self.mute, self.lock = b"", b"", 0, False, threading.Lock()
        key = base64.b64encode(os.urandom(16)).decode()
        self.tls.sendall(f"GET /gateway HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
                         f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.bytes:
            if not self.more():
                raise EOFError
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])

    def more(self):
        got = self.tls.recv(65536)
        self.bytes += got
        return got

    def take(self, n):
        while len(self.bytes) < n:
            if not self.more():
                raise EOFError
        out, self.bytes = self.bytes[:n], self.bytes[n:]
        return out

    def send_frame(self, opcode, payload):
        n = len(payload)
        size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xfe, n) if n < 65536 else struct.pack(">BQ", 0xff, n)
        with self.lock:
            self.tls.sendall(bytes([0x80 | opcode]) + size + MASK + payload)

    def call(self, method, params):
        self.calls += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params}).encode()
        self.send_frame(2, struct.pack(">I", len(body)) + body)

    def answer(self, n):
        body = json.dumps({"jsonrpc": "2.0", "id": n, "result": {}}).encode()
        self.send_frame(2, struct.pack(">I", len(body)) + body)

    def read_frame(self):
        first, n = self.take(2)
        if n == 126:
            n = struct.unpack(">H", self.take(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.take(8))[0]
        payload = self.take(n)
        if first & 15 == 9:
            self.send_frame(10, payload)
        elif first & 15 == 8:
            raise EOFError
        elif first & 15 in (0, 2):
            self.data += payload

    def run(self):
        while True:
            while len(self.data) >= 4 and len(self.data) >= 4 + (n := struct.unpack(">I", self.data[:4])[0]):
                message, self.data = json.loads(self.data[4:4 + n]), self.data[4 + n:]
                if "method" in message:
                    say(message["method"], json.dumps(message["params"]))
                    if "id" in message and not self.mute:
                        self.answer(message["id"])
                else:
                    say("answer", json.dumps(message))
            self.read_frame()


def main():
    where, name, ca, token = sys.argv[1:]
    with open(token, encoding="ascii") as f:
        link = Link(where, name, ca, f.read().strip())
    if link.status != 101:
        say("refused", link.status, link.bytes.decode(errors="replace").strip())
        return
    say("connected")

    def calls():
        for line in sys.stdin:
            method, params = line.split(" ", 1)
            if method in ("mute", "speak"):
                link.mute = method == "mute"
                say(method)
            else:
                link.call(method, json.loads(params))
        os._exit(0)

    threading.Thread(target=calls, daemon=True).start()
    try:
        link.run()
    except (EOFError, OSError):
        say("closed")


if __name__ == "__main__":
    main()
