#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server for what HTTP/1 is used for beside question and answer: talk.py ADDRESS PORT.

/ws       101, then every byte comes back         /events  an event for each line that arrives at /tell
/digest   SHA-256 of the body                     /large   8 MiB
"""
import hashlib
import http.server
import queue
import sys

lines = queue.Queue()


class Talk(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def upgraded(self):
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        self.close_connection = True
        while data := self.rfile.read1(65536):
            self.wfile.write(data)

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while line := lines.get():
            self.wfile.write(b"data: " + line + b"\n\n")

    def do_GET(self):
        if self.path == "/ws":
            self.upgraded()
        elif self.path == "/events":
            self.events()
        else:
            self.answer(b"talk" * (2 << 20) if self.path == "/large" else b"talk\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.body()
        if self.path == "/tell":
            lines.put(body)
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Talk).serve_forever()
