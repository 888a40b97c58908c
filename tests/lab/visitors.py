# SPDX-License-Identifier: Apache-2.0
"""What is around a gateway: a network of its own, the manager's end of rpc, an application, WebSockets, visitors.

A single namespace with 10.77.0.1 on an interface: loopback is no address that a gateway would speak to.
"""
import base64
import contextlib
import ctypes
import hashlib
import http.server
import json
import os
import queue
import re
import socket
import ssl
import struct
import threading
import time

from lab import Failed, sh, wait_for

ADDRESS = "10.77.0.1"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000


def private_network(folder, names):
    """This process and its children leave for a network and an /etc/hosts of their own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET):
        raise Failed(f"unshare: {os.strerror(ctypes.get_errno())}; run this as root")
    sh("mount", "--make-rprivate", "/")
    hosts = os.path.join(folder, "hosts")
    with open(hosts, "w") as f:
        f.write("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in names.items()))
    sh("mount", "--bind", hosts, "/etc/hosts")
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "ext", "type", "veth", "peer", "name", "outside")
    sh("ip", "addr", "add", f"{ADDRESS}/24", "dev", "ext")
    sh("ip", "link", "set", "ext", "up")


# --- WebSockets (RFC 6455), enough of them ----------------------------------------------------------------

def accept_key(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def read_exactly(f, n):
    data = f.read(n)
    if len(data) < n:
        raise EOFError
    return data


def read_frame(f):
    head = read_exactly(f, 2)
    opcode, n = head[0] & 15, head[1] & 127
    if n == 126:
        n, = struct.unpack(">H", read_exactly(f, 2))
    elif n == 127:
        n, = struct.unpack(">Q", read_exactly(f, 8))
    mask = read_exactly(f, 4) if head[1] & 128 else b""
    data = read_exactly(f, n)
    return opcode, bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if mask else data


def frame(data, opcode=2, mask=b""):
    n, masked = len(data), 128 if mask else 0
    head = bytes([128 | opcode])
    if n < 126:
        head += bytes([masked | n])
    elif n < 65536:
        head += bytes([masked | 126]) + struct.pack(">H", n)
    else:
        head += bytes([masked | 127]) + struct.pack(">Q", n)
    return head + mask + (bytes(b ^ mask[i % 4] for i, b in enumerate(data)) if mask else data)


# --- the manager's end of rpc -----------------------------------------------------------------------------

class Manager:
    """`GET /gateway` over TLS: tells previews and intercepts, redeems tickets, notes what it is told."""

    def __init__(self, cert, key, token):
        self.token, self.calls, self.told, self.tickets = token, queue.Queue(), {}, {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.listener = socket.create_server((ADDRESS, 7443))
        self.peer, self.lock, self.refuse = None, threading.Lock(), False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with contextlib.suppress(EOFError, OSError, ssl.SSLError):
            tls = self.context.wrap_socket(s, server_side=True)
            f = tls.makefile("rb")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += read_exactly(f, 1)
            text = head.decode()
            if self.refuse or f"Authorization: Bearer {self.token}\r\n" not in text or not text.startswith("GET /gateway "):
                tls.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\nno token\n")
                return
            key = re.search(r"Sec-WebSocket-Key: (\S+)", text)[1]
            tls.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                        f"{accept_key(key)}\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n".encode())
            self.messages(tls, f)

    def messages(self, tls, f):
        data = b""
        while True:
            opcode, piece = read_frame(f)
            if opcode == 9:
                with self.lock:
                    tls.sendall(frame(piece, 10))
            if opcode != 2:
                if opcode == 8:
                    return
                continue
            data += piece
            while len(data) >= 4 and len(data) >= 4 + struct.unpack(">I", data[:4])[0]:
                n, = struct.unpack(">I", data[:4])
                self.message(tls, json.loads(data[4:4 + n]))
                data = data[4 + n:]

    def send(self, tls, message):
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        with self.lock:
            tls.sendall(frame(struct.pack(">I", len(text)) + text))

    def message(self, tls, m):
        method, params = m.get("method"), m.get("params", {})
        if method == "hello":
            self.peer = tls
            self.send(tls, {"id": m["id"], "result": {"version": "test"}})
            for name, value in self.told.items():
                self.send(tls, {"method": name, "params": value})
        elif method == "redeem":
            who = self.tickets.pop(params["ticket"], None)
            self.send(tls, {"id": m["id"], **({"result": who} if who else {"error": {"code": 4, "message": "no such ticket"}})})
        if method:
            self.calls.put((method, params))

    def tell(self, method, **params):
        if method != "requests":
            self.told[method] = params
        if self.peer:
            self.send(self.peer, {"method": method, "params": params})

    def hang_up(self):
        self.refuse = True
        peer, self.peer = self.peer, None
        peer.shutdown(socket.SHUT_RDWR)

    def wait_call(self, name):
        while True:
            try:
                method, params = self.calls.get(timeout=20)
            except queue.Empty:
                raise Failed(f"the gateway did not call {name}") from None
            if method == name:
                return params


# --- the application ----------------------------------------------------------------------------------------

class Application(http.server.BaseHTTPRequestHandler):
    """Behind the ingress. It says what it saw; /events waits for `go` between its events."""
    protocol_version = "HTTP/1.1"
    go = threading.Semaphore(0)
    gone = threading.Event()
    seen = []

    def log_message(self, *args):
        pass

    def say(self, body, status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/headers":
            self.say(json.dumps({"path": self.path, "headers": self.headers.items(), "method": self.command}).encode())
        elif path == "/away":
            self.say(b"nobody", 503, [("x-culvert-away", "shop")])
        elif path == "/moved":
            self.say(b"", 302, [("Location", "http://shop.example.com/next?x=1"), ("Location-Not", "http://shop.example.com/")])
        elif path == "/elsewhere":
            self.say(b"", 302, [("Location", "https://other.example.org/shop.example.com")])
        elif path == "/cookies":
            self.say(b"", 200, [("Set-Cookie", "a=1; Domain=.Shop.example.com; Path=/"), ("Set-Cookie", "b=2; domain=example.com"),
                                ("Set-Cookie", "c=3; Domain=evil.org"), ("Set-Cookie", "__Host-culvert=stolen; Path=/; Secure")])
        elif path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(64 << 20))
            self.end_headers()
            for _ in range(64):
                self.wfile.write(b"x" * (1 << 20))
        elif path == "/events":
            self.events()
        elif path == "/ws":
            self.websocket()
        else:
            self.say(b"hello from the shop\n")

    do_HEAD = do_GET

    def do_POST(self):
        h, n = hashlib.sha256(), 0
        for piece in self.body():
            h.update(piece)
            n += len(piece)
        self.say(json.dumps({"bytes": n, "sha256": h.hexdigest(), "headers": self.headers.items()}).encode())

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while n := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(n)
                self.rfile.readline()
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                piece = self.rfile.read(min(left, 1 << 16))
                if not piece:
                    return
                left -= len(piece)
                yield piece

    def events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Accel-Buffering", "no")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        n = 0
        try:
            while True:
                text = f"data: {n}\n\n".encode()
                self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                self.wfile.flush()
                n += 1
                while not Application.go.acquire(timeout=0.2):
                    self.wfile.write(b"2\r\n:\n\r\n")
                    self.wfile.flush()
        except OSError:
            Application.gone.set()
            self.close_connection = True

    def websocket(self):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(EOFError, OSError):
            while True:
                opcode, data = read_frame(self.rfile)
                self.wfile.write(frame(data, opcode))
                if opcode == 8:
                    return


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Visitors that go in the middle are the tests' own."""


def application(port=9000):
    server = Server(("127.0.0.1", port), Application)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Raw:
    """A server that says `answer` to whatever comes, and what came."""

    def __init__(self, port, answer):
        self.answer, self.heads = answer, queue.Queue()
        self.listener = socket.create_server((ADDRESS, port))
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = s.recv(65536)
                if not piece:
                    return
                data += piece
            self.heads.put(data)
            s.sendall(self.answer)
            s.close()


# --- visitors ------------------------------------------------------------------------------------------------

class Visitor:
    """A connection to the gateway, for what curl will not send."""

    def __init__(self, ca, host, port=8443, address=ADDRESS):
        context = ssl.create_default_context(cafile=ca)
        self.host = host
        self.s = context.wrap_socket(socket.create_connection((address, port), timeout=20), server_hostname=host.split(":")[0])
        self.f = self.s.makefile("rb")

    def send(self, text):
        self.s.sendall(text.encode() if isinstance(text, str) else text)

    def get(self, path="/", *lines, method="GET", body=b""):
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n")
        if body:
            self.send(body)
        return self.answer(method)

    def head(self):
        line = self.f.readline().decode()
        if not line:
            raise EOFError
        headers = []
        while (field := self.f.readline().decode().rstrip("\r\n")):
            name, _, value = field.partition(":")
            headers.append((name.lower(), value.strip()))
        return int(line.split()[1]), headers

    def answer(self, method="GET"):
        status, headers = self.head()
        have = dict(headers)
        if method == "HEAD" or status in (101, 204, 304):
            body = b""
        elif have.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        elif "content-length" in have:
            body = self.f.read(int(have["content-length"]))
        else:
            body = self.f.read()
        return Answer(status, headers, body)

    def chunk(self):
        n = int(self.f.readline(), 16)
        data = self.f.read(n)
        self.f.readline()
        return data

    def ended(self):
        """Is the connection over, without a byte more?"""
        try:
            return self.f.read(1) == b""
        except (ssl.SSLError, ConnectionError):
            return True

    def close(self):
        self.f.close()
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        return next((v for n, v in self.headers if n == name), None)

    def all(self, name):
        return [v for n, v in self.headers if n == name]

    def cookies(self):
        """name -> value of what it sets, "" where it takes one away."""
        return {v.split("=", 1)[0]: v.split("=", 1)[1].split(";")[0] for v in self.all("set-cookie")}

    def json(self):
        return json.loads(self.body)

    def __str__(self):
        return f"{self.status} {self.headers} {self.body[:400]!r}"


def nginx(folder, certificate):
    """A real ingress: 8080 plain, 8444 TLS, both for shop.example.com alone."""
    conf = os.path.join(folder, "nginx.conf")
    with open(conf, "w") as f:
        f.write(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr notice; master_process off;
events {{ worker_connections 256; }}
http {{
	log_format connections '$connection $connection_requests $request'; access_log {folder}/access.log connections;
	client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
	client_max_body_size 0; keepalive_timeout 60;
	map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
	server {{ listen {ADDRESS}:8080 default_server; listen {ADDRESS}:8444 ssl default_server; ssl_certificate {certificate}.crt; ssl_certificate_key {certificate}.key; return 444; }}
	server {{
		listen {ADDRESS}:8080; listen {ADDRESS}:8444 ssl; server_name shop.example.com;
		ssl_certificate {certificate}.crt; ssl_certificate_key {certificate}.key;
		location / {{
			proxy_pass http://127.0.0.1:9000; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
			proxy_set_header Host $host; proxy_set_header X-Ingress-Scheme $scheme;
			proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
		}}
	}}
}}
""")
    return ["nginx", "-c", conf, "-p", folder]
