#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shop: an application with several ports. 9001 the shop, 9002 its administration.

shop.py ADDRESS [PORT...]; says who it is by GREETING. POST echoes the body; /env gives the environment.
"""
import http.server
import json
import os
import socketserver
import sys
import threading


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/env":
            return self.answer(json.dumps(dict(os.environ)).encode())
        greeting = os.environ.get("GREETING", "hello from nowhere")
        return self.answer(f"{greeting} port {self.server.server_port} path {self.path}\n".encode())

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

    def server_bind(self):
        # Not HTTPServer's, which looks its own name up in the DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


address = sys.argv[1]
ports = [int(p) for p in sys.argv[2:]] or [9001, 9002]
servers = [Server((address, p), Shop) for p in ports]
for s in servers[1:]:
    threading.Thread(target=s.serve_forever, daemon=True).start()
servers[0].serve_forever()
