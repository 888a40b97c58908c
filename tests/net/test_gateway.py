#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway between visitors and a real ingress (nginx): who gets in, what gets through, what does not."""
import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time

from issuer import Issuer
from lab import ROOT, Failed, Process, sh, step, story, wait_for
from pki import Pki
from visitors import ADDRESS, Application, Manager, Raw, Visitor, application, frame, nginx, private_network, read_frame

ID, OTHER, PLAIN, REFUSED, NOWHERE, LOOP, RAW, SECURE, UNTRUSTED = (c * 32 for c in "123456789")
DOMAIN = "preview.test:8443"
SECRET = "S" * 43
NAMES = {f"{i}.preview.test": ADDRESS for i in (ID, OTHER, PLAIN, REFUSED, NOWHERE, LOOP, RAW, SECURE, UNTRUSTED, "0" * 32, "x")}
NAMES |= {"dashboard.preview.test": ADDRESS, "ingress.test": ADDRESS, "inside.test": "127.0.0.1", "metadata.test": "169.254.169.254",
          "shop.example.com": ADDRESS, "preview.test": ADDRESS}


# What a sanitizer keeps of freed memory is not the program's.
ENVIRONMENT = dict(os.environ, KUBERNETES_SERVICE_HOST=ADDRESS, KUBERNETES_SERVICE_PORT="6443",
                   ASAN_OPTIONS="quarantine_size_mb=1:thread_local_quarantine_size_kb=64:verify_asan_link_order=0")


def share_of(secret):
    return hashlib.blake2b(secret.encode(), digest_size=32).hexdigest()


def expect(what, have, want):
    if have != want:
        raise Failed(f"{what}: {have!r} in place of {want!r}")


class Story:
    def __init__(self, folder):
        self.dir = folder
        self.bin = os.environ.get("CULVERT_BIN") or os.path.join(ROOT, "build/release")
        self.gateway = self.issuer = None

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def begin(self):
        self.pki = Pki(self.path("pki"), "")
        self.pki.authority()
        self.ca = self.pki.path("ca.crt")
        self.pki.certificate("manager", "manager", names="DNS:culvert.culvert.svc")
        self.pki.certificate("gateway", "gateway", names="DNS:*.preview.test,DNS:preview.test")
        self.pki.certificate("ingress", "ingress", names="DNS:shop.example.com")
        self.manager = Manager(self.pki.path("manager.crt"), self.pki.path("manager.key"), "token-of-the-gateway")
        self.write("keys/cookie.key", base64.b64encode(os.urandom(32)).decode() + "\n")
        for end in ("crt", "key"):
            shutil.copy(self.pki.path(f"gateway.{end}"), self.path(f"keys/tls.{end}"))
        self.write("token", "token-of-the-gateway\n")
        sh("cc", "-O1", "-fPIC", "-shared", "-o", self.path("shift_clock.so"), os.path.join(ROOT, "tests/lab/shift_clock.c"))
        self.later(0)
        application()
        self.nginx = Process("nginx", nginx(self.dir, self.pki.path("ingress")), self.path("nginx.log"), dict(os.environ))
        self.tell()
        self.start()

    def later(self, seconds):
        """It is so much later, for the gateway."""
        with open(self.path("clock"), "r+b" if os.path.exists(self.path("clock")) else "wb") as f:
            f.write(struct.pack("=q", seconds))

    def tell(self, without=(), **changes):
        def preview(i, host="ingress.test", port=8080, tls=False, l5="shop.example.com", verify=True):
            return {"id": i, "uid": f"uid-{i[0]}", "name": "shop", "namespace": "dev", "workload": "shop", "user": "ana", "login": "",
                    "header": f"{i}:shop", "online": True, "ingress": {"host": host, "port": port, "tls": tls, "l5": l5, "verify": verify},
                    "shares": [{"hash": share_of(i[0] + SECRET[1:]), "expires": int(time.time()) + 3600}]}
        all_of_them = {p["id"]: p for p in (
            preview(ID), preview(OTHER), preview(PLAIN, ADDRESS, l5=""), preview(REFUSED, "inside.test"), preview(NOWHERE, port=1),
            preview(LOOP, "ingress.test", 8443, True, f"{ID}.preview.test"), preview(RAW, port=9999),
            preview(SECURE, port=8444, tls=True), preview(UNTRUSTED, port=8444, tls=True, l5="bad.example.com"))}
        for i, change in changes.items():
            all_of_them[i[1:]].update(change)
        self.manager.tell("previews", epoch=1, previews=[p for p in all_of_them.values() if p["id"] not in without])
        self.manager.tell("intercepts", epoch=1, intercepts=[
            {"uid": "uid-1", "name": "shop", "user": "ana", "login": "", "requests": 3},
            {"uid": "uid-2", "name": "cart", "user": "bob", "login": "", "requests": 0}])

    def start(self, **more):
        config = {"listen": f"{ADDRESS}:8443", "preview-domain": DOMAIN, "manager": f"{ADDRESS}:7443",
                  "manager-name": "culvert.culvert.svc", "ca": self.ca, "token": self.path("token"), "keys": self.path("keys"),
                  "tls": self.path("tls"), "ingress-ca": self.ca, **more}
        path = self.write("gateway.yaml", json.dumps(config))
        self.gateway = Process("gateway", [f"{self.bin}/culvert-gateway", "--config", path], self.path("gateway.log"),
                               {**ENVIRONMENT, "LD_PRELOAD": self.path("shift_clock.so"), "SHIFT_CLOCK": self.path("clock")})
        wait_for("the gateway to know its previews", lambda: self.visit(f"{ID}.{DOMAIN}").get("/").status != 503)

    def visit(self, host, **kw):
        return Visitor(self.ca, host, **kw)

    def enter(self, i=ID):
        """The cookie of who has opened the share link of a preview."""
        answer = self.visit(f"{i}.{DOMAIN}").get(f"/.culvert/share/{i[0]}{SECRET[1:]}")
        expect(f"the share link of {i[0]}", (answer.status, answer.header("location")), (303, "/"))
        return "Cookie: __Host-culvert=" + answer.cookies()["__Host-culvert"]

    def end(self):
        expect("the gateway's exit code", self.gateway.stop(), 0)
        self.nginx.stop()
        if "ERROR: " in self.gateway.output() or SECRET[1:] in self.gateway.output():
            raise Failed(self.gateway.output())


# --- what gets through ----------------------------------------------------------------------------------------

def first_page(s):
    step("a share link sets a cookie; with it the page comes through the ingress, by curl too")
    cookie = s.enter()
    answer = s.visit(f"{ID}.{DOMAIN}").get("/", cookie)
    expect("the page", (answer.status, answer.body), (200, b"hello from the shop\n"))
    jar = s.path("jar")
    done = sh("curl", "-sS", "-L", "--cacert", s.ca, "-c", jar, "-b", jar, f"https://{ID}.{DOMAIN}/.culvert/share/1{SECRET[1:]}")
    expect("by curl", done.stdout, "hello from the shop\n")


def doors(s):
    step("who has no cookie of this preview stays outside: none, another's, a forged one, a link that is wrong or has expired")
    cookie, other = s.enter(), s.enter(OTHER)
    host = f"{ID}.{DOMAIN}"
    expect("no cookie", s.visit(host).get("/").status, 401)
    expect("another preview's cookie", s.visit(host).get("/", other).status, 401)
    value = cookie.split("=", 1)[1]
    for forged in (value[:-1] + ("A" if value[-1] != "A" else "B"), ("A" if value[0] != "A" else "B") + value[1:], value[:60], "", value + "A"):
        expect("a forged cookie", s.visit(host).get("/", f"Cookie: __Host-culvert={forged}").status, 401)
    expect("the cookie twice", s.visit(host).get("/", f"{cookie}; __Host-culvert={value}").status, 401)
    expect("the cookie under another name", s.visit(host).get("/", f"Cookie: __Host-culvert-dashboard={value}").status, 401)
    expect("a link of another preview", s.visit(host).get(f"/.culvert/share/2{SECRET[1:]}").status, 403)
    expect("half a link", s.visit(host).get("/.culvert/share/1SSS").status, 403)
    expect("a preview that is none", s.visit(f"{'0' * 32}.{DOMAIN}").get("/", cookie).status, 404)
    answer = s.visit(host).get("/", "Accept: text/html")
    for name, want in (("cache-control", "no-store"), ("referrer-policy", "same-origin"), ("x-content-type-options", "nosniff")):
        expect(name, answer.header(name), want)
    if "default-src 'none'" not in answer.header("content-security-policy") or b"<script" in answer.body or b"style=" in answer.body:
        raise Failed(f"the page: {answer}")
    expect("its style", s.visit(host).get("/.culvert/page.css").header("content-type"), "text/css; charset=utf-8")
    set_cookie = s.visit(host).get(f"/.culvert/share/1{SECRET[1:]}").all("set-cookie")[0]
    for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        if f"; {attribute}" not in set_cookie or "domain" in set_cookie.lower():
            raise Failed(f"the cookie: {set_cookie}")


def hosts(s):
    step("hosts that are none of the gateway's, and requests that two readers could read differently")
    cookie = s.enter()
    with s.visit(f"{ID}.{DOMAIN}") as v:
        for host, status in (("evil.example.com", 421), (DOMAIN, 421), (f"{ADDRESS}:8443", 421), (f"x.{ID}.{DOMAIN}", 421),
                             (f"{ID}.{DOMAIN.replace('test', 'test.evil')}", 421), (f"{ID.upper()}.{DOMAIN}", 200), (f"{ID}.preview.test", 200),
                             (f"{ID}.preview.test.:8443", 200), (f"{ID}.preview.test:80@evil", 400), ("a b", 400), ("", 400)):
            v.host = host
            answer = v.get("/", cookie)
            expect(f"Host: {host}", answer.status, status)
            if answer.header("connection") == "close":
                v.close()
                v.__init__(s.ca, f"{ID}.{DOMAIN}")
    host = f"{ID}.{DOMAIN}"
    for request, status in ((f"GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n", 400), ("GET / HTTP/1.1\r\n", 400),
                            (f"GET https://{host}/headers HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n", 200),
                            (f"GET https://evil.org/ HTTP/1.1\r\nHost: {host}\r\n", 400),
                            (f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n", 405), (f"TRACE / HTTP/1.1\r\nHost: {host}\r\n", 405),
                            (f"POST / HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
                            (f"POST / HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nTransfer-Encoding: gzip, chunked\r\n", 400),
                            (f"GET / HTTP/1.1\r\nHost: {host}\r\nA: b\r\n c\r\n", 400), ("rubbish\r\n", 400),
                            (f"GET / HTTP/1.1\r\nHost: {host}\r\nA: {'x' * 70000}\r\n", 431)):
        with s.visit(host) as v:
            v.send(request + "\r\n")
            expect(request[:60], v.answer(request.split()[0]).status, status)
    with s.visit(host) as v:
        v.send(f"GET /headers HTTP/1.0\r\nHost: {host}\r\n{cookie}\r\nConnection: keep-alive\r\n\r\n")
        expect("HTTP/1.0", (v.answer().status, v.ended()), (200, True))
    with socket.create_connection((ADDRESS, 8443)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while plain.recv(4096):
                pass


def heads(s):
    step("heads: the intercept's marks are set, the visitor's taken away, names of one side become the other's")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"
    answer = s.visit(host).get("/headers?q=/.culvert/", cookie + "; theme=dark; __Host-culvert-dashboard=x", "Cookie: lang=de",
                               f"Origin: https://{host}", f"Referer: https://{host}/a?b", "X-Culvert-Intercept-Id: 1:evil",
                               "x-culvert-preview: evil", "x-culvert-gateway: 00", "Baggage: a=1,culvert=evil;x=y, b=2", "baggage: c=3",
                               "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Client-Cert: By=me", "Forwarded: for=1.2.3.4", "Connection: keep-alive, X-Secret, Cookie", "X-Secret: 1",
                               "X-Kept: 1", "TE: trailers", "Upgrade: h2c")
    seen = [(n.lower(), v) for n, v in answer.json()["headers"]]
    have = dict(seen)
    for name, want in (("x-culvert-intercept-id", f"{ID}:shop"), ("x-culvert-preview", ID), ("baggage", f"culvert={ID},a=1,b=2,c=3"),
                       ("cookie", "theme=dark; lang=de"), ("host", "shop.example.com"), ("origin", "http://shop.example.com"),
                       ("referer", "http://shop.example.com/a?b"), ("x-forwarded-for", ADDRESS), ("x-forwarded-proto", "https"),
                       ("x-forwarded-host", host), ("x-forwarded-client-cert", None), ("x-kept", "1"), ("x-secret", None), ("te", None), ("forwarded", None), ("upgrade", None)):
        expect(name, have.get(name), want)
    expect("fields that stand twice", [n for n in have if sum(n == m for m, _ in seen) > 1], [])
    expect("the target", answer.json()["path"], "/headers?q=/.culvert/")
    foreign = dict(s.visit(host).get("/headers", cookie, f"Origin: https://{host}.evil.org", f"Referer: https://{host}@evil/").json()["headers"])
    expect("another origin", (foreign["Origin"], foreign["Referer"]), (f"https://{host}.evil.org", f"https://{host}@evil/"))
    expect("Location", s.visit(host).get("/moved", cookie).header("location"), f"https://{host}/next?x=1")
    expect("Location elsewhere", s.visit(host).get("/elsewhere", cookie).header("location"), "https://other.example.org/shop.example.com")
    expect("cookies back", s.visit(host).get("/cookies", cookie).all("set-cookie"),
           [f"a=1; Domain={ID}.preview.test; Path=/", f"b=2; Domain={ID}.preview.test", "c=3; Domain=evil.org"])


def bodies(s):
    step("bodies of any size both ways, chunked and counted, with trailers, after 100-continue; one ingress connection for a visitor's")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"
    data = os.urandom(1 << 20) * 40
    digest = hashlib.sha256(data).hexdigest()
    path = s.path("upload")
    with open(path, "wb") as f:
        f.write(data)
    for more in ((), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")):
        done = sh("curl", "-sS", "--http1.1", "--cacert", s.ca, "-H", cookie, "--data-binary", f"@{path}", *more, f"https://{host}/upload")
        expect(f"upload {more}", (json.loads(done.stdout)["bytes"], json.loads(done.stdout)["sha256"]), (len(data), digest))
    with s.visit(host) as v:
        v.send(f"POST /upload HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
               "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
        expect("trailers", v.answer().json()["bytes"], 5)
        v.send(f"POST /upload HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        expect("interim answer", v.head()[0], 100)
        v.send(b"abc")
        expect("after it", v.answer().json()["bytes"], 3)
        for _ in range(20):
            v.send(f"GET /headers HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n\r\n" * 3)
            for _ in range(3):
                expect("pipelined", v.answer().status, 200)
        answer = v.get("/headers", cookie, method="HEAD")
        expect("HEAD", (answer.status, int(answer.header("content-length")) > 10), (200, True))
        expect("still open", v.get("/?the-last", cookie).body, b"hello from the shop\n")
    with open(s.path("access.log")) as f:
        last = wait_for("the ingress's log", lambda: re.findall(r"(\d+) (\d+) GET /\?the-last", f.read()))[0]
    expect("requests on the connection to the ingress", int(last[1]) > 60, True)
    done = sh("curl", "-sS", "--cacert", s.ca, "-H", cookie, "-o", "/dev/null", "-w", "%{size_download}", f"https://{host}/large")
    expect("download", done.stdout, str(64 << 20))


def memory(s):
    step("a visitor that does not read holds little: the gateway reads no more than it can pass on")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"

    def resident():
        with open(f"/proc/{s.gateway.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])
    before, visitors = resident(), []
    for _ in range(30):
        v = s.visit(host)
        v.send(f"GET /large HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n\r\n")
        expect("its head", v.head()[0], 200)
        visitors.append(v)
    grown = resident() - before
    if grown > 30 * 400:
        raise Failed(f"30 visitors that do not read cost {grown} KiB")
    for v in visitors:
        v.close()


def events(s):
    step("server-sent events come one by one, and their end is passed on")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"
    Application.gone.clear()
    v = s.visit(host)
    v.send(f"GET /events HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nAccept: text/event-stream\r\n\r\n")
    expect("the head", v.head()[0], 200)
    for n in range(3):
        while True:
            text = v.chunk()
            if text != b":\n":
                break
        expect("an event", text, f"data: {n}\n\n".encode())
        Application.go.release()
    v.close()
    wait_for("the application to see that its visitor has gone", Application.gone.is_set)


def upgrade(v, cookie, *lines):
    v.send(f"GET /ws HTTP/1.1\r\nHost: {v.host}\r\n{cookie}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n")
    return v.head()


def websockets(s):
    step("a WebSocket is a tunnel, both ways; a page of another origin gets none")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"
    v = s.visit(host)
    status, headers = upgrade(v, cookie, f"Origin: https://{host}")
    expect("the upgrade", (status, dict(headers)["sec-websocket-accept"]), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    for size in (0, 1, 125, 126, 65535, 65536, 3 << 20):
        data = os.urandom(size)
        v.send(frame(data, 2, os.urandom(4)))
        expect(f"an echo of {size} bytes", read_frame(v.f) == (2, data), True)
    v.send(frame(b"\x03\xe8", 8, b"mask"))
    expect("the close frame", read_frame(v.f), (8, b"\x03\xe8"))
    expect("the end", v.ended(), True)
    expect("of another origin", upgrade(s.visit(host), cookie, "Origin: https://evil.example.com")[0], 403)
    expect("of another preview", upgrade(s.visit(host), cookie, f"Origin: https://{OTHER}.{DOMAIN}")[0], 403)
    expect("without a cookie", upgrade(s.visit(host), "X: y")[0], 401)


def versions(s):
    step("the laptop is away: a page, with a way to the cluster's version and back")
    cookie, host = s.enter(), f"{ID}.{DOMAIN}"
    answer = s.visit(host).get("/away", cookie, "Accept: text/html,*/*")
    expect("the page", (answer.status, b'action="/.culvert/cluster"' in answer.body), (503, True))
    answer = s.visit(host).get("/away", cookie)
    expect("for a program", (answer.status, answer.body, answer.header("x-culvert-away")), (503, b"nobody", "shop"))
    for origin in ("X: y", "Origin: https://evil.example.com", f"Origin: http://{host}", f"Origin: https://{OTHER}.{DOMAIN}", "Origin: null"):
        expect(f"POST with {origin}", s.visit(host).get("/.culvert/cluster", cookie, origin, "Content-Length: 0", method="POST").status, 403)
    expect("GET", s.visit(host).get("/.culvert/cluster", cookie).status, 404)

    def choose(which, old):
        answer = s.visit(host).get(f"/.culvert/{which}", old, f"Origin: https://{host}", "Content-Length: 0", method="POST")
        expect(which, (answer.status, answer.header("location")), (303, "/"))
        return "Cookie: __Host-culvert=" + answer.cookies()["__Host-culvert"]
    cluster = choose("cluster", cookie)
    seen = dict(s.visit(host).get("/headers", cluster, "x-culvert-intercept-id: mine", "baggage: culvert=1,a=2").json()["headers"])
    expect("no mark", [seen.get(n) for n in ("x-culvert-intercept-id", "x-culvert-preview", "baggage")], [None, None, "a=2"])
    expect("what it says", b"cluster" in s.visit(host).get("/.culvert/", cluster).body, True)
    seen = dict(s.visit(host).get("/headers", choose("laptop", cluster)).json()["headers"])
    expect("the mark again", seen["x-culvert-preview"], ID)
    s.tell(**{f"_{ID}": {"online": False}})
    wait_for("what the manager says of the laptop", lambda: s.visit(host).get("/", cookie).status == 503)
    expect("the cluster's version, then", s.visit(host).get("/", cluster).status, 200)
    s.tell()
    wait_for("the laptop", lambda: s.visit(host).get("/", cookie).status == 200)


def kept(s):
    step("a connection that the ingress closed while nobody asked is made anew, unseen; a POST is never sent twice")
    heads = []

    def serve(c):
        with contextlib.suppress(OSError), c:
            heads.append(c.recv(65536))
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            heads.append(c.recv(65536))  # a connection's second request is left without an answer

    def server():
        with socket.create_server((ADDRESS, 9998)) as listener:
            while True:
                serve(listener.accept()[0])
    threading.Thread(target=server, daemon=True).start()
    s.tell(**{f"_{RAW}": {"ingress": {"host": ADDRESS, "port": 9998, "tls": False, "l5": "", "verify": True}}})
    cookie = s.enter(RAW)
    wait_for("the preview's new ingress", lambda: s.visit(f"{RAW}.{DOMAIN}").get("/", cookie).body == b"ok")
    with s.visit(f"{RAW}.{DOMAIN}") as v:
        expect("the first", v.get("/1", cookie).status, 200)
        expect("the second", v.get("/2", cookie).status, 200)
        v.get("/3", cookie, "Content-Length: 0", method="POST")  # 502, or on a connection of its own if this took a second
    expect("what the ingress saw of the POST", sum(b"POST /3" in h for h in heads), 1)
    expect("and of the second", sum(b"GET /2" in h for h in heads), 2)
    s.tell()


def ingresses(s):
    step("ingresses: refused, dead, looping, speaking rubbish; TLS is verified")
    raw = Raw(9999, b"rubbish\r\n\r\n")
    for i, status, words in ((REFUSED, 502, "loopback"), (NOWHERE, 502, "Connection refused"), (LOOP, 508, "itself"),
                             (RAW, 502, "no answer"), (SECURE, 200, "hello"), (UNTRUSTED, 502, "mismatch")):
        answer = s.visit(f"{i}.{DOMAIN}").get("/", s.enter(i) if i != LOOP else s.enter(LOOP))
        if answer.status != status or words not in answer.body.decode():
            raise Failed(f"preview {i[0]}: {answer}, wanted {status} and {words!r}")
    seen = dict(s.visit(f"{SECURE}.{DOMAIN}").get("/headers", s.enter(SECURE), f"Origin: https://{SECURE}.{DOMAIN}").json()["headers"])
    expect("over TLS", (seen["X-Ingress-Scheme"], seen["Origin"]), ("https", "https://shop.example.com"))
    for name, port, words in (("ingress.test", 7443, "the manager"), ("ingress.test", 6443, "the API server"), (f"::ffff:{ADDRESS}", 7443, "the manager")):
        s.tell(**{f"_{REFUSED}": {"ingress": {"host": name, "port": port, "tls": False, "l5": "", "verify": True}}})
        wait_for(f"{words} to be refused", lambda words=words: words.encode() in s.visit(f"{REFUSED}.{DOMAIN}").get("/", s.enter(REFUSED)).body)
    for name, words in (("metadata.test", "link-local"), ("127.0.0.1", "loopback"), ("169.254.169.254", "link-local"), ("::1", "loopback"),
                        ("[::ffff:127.0.0.1]", "loopback"), ("0.0.0.0", "loopback"), ("no.such.name.test", "not found")):
        s.tell(**{f"_{REFUSED}": {"ingress": {"host": name, "port": 9000, "tls": False, "l5": "", "verify": True}}})
        cookie = s.enter(REFUSED)

        def refused():
            answer = s.visit(f"{REFUSED}.{DOMAIN}").get("/", cookie)
            return answer.status == 502 and words in answer.body.decode()
        wait_for(f"{name} to be refused", refused)
    untrusted = {"ingress": {"host": "ingress.test", "port": 8444, "tls": True, "l5": "shop.example.com", "verify": False}}
    s.tell(**{f"_{UNTRUSTED}": untrusted})
    wait_for("TLS without verification", lambda: s.visit(f"{UNTRUSTED}.{DOMAIN}").get("/", s.enter(UNTRUSTED)).status == 200)
    for answer, status in ((b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502),
                           (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502), (b"", 502),
                           (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 200)):
        raw.answer = answer
        expect(f"an answer {answer[:40]}", s.visit(f"{RAW}.{DOMAIN}").get("/", s.enter(RAW)).status, status)
    raw.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut"
    with s.visit(f"{RAW}.{DOMAIN}") as v:
        v.send(f"GET / HTTP/1.1\r\nHost: {v.host}\r\n{s.enter(RAW)}\r\n\r\n")
        expect("the head of an answer that is cut", v.head()[0], 200)
        try:
            if len(v.f.read(50)) == 50:
                raise Failed("an answer that was cut came whole")
        except (ConnectionError, ssl.SSLError):
            pass


def revoked(s):
    step("a link taken back ends its cookies at once, and what they hold open; a preview that ends, likewise")
    cookie, host = s.enter(OTHER), f"{OTHER}.{DOMAIN}"
    v = s.visit(host)
    expect("a WebSocket", upgrade(v, cookie)[0], 101)
    s.tell(**{f"_{OTHER}": {"shares": []}})
    expect("it ends", v.ended(), True)
    expect("the cookie", s.visit(host).get("/", cookie).status, 401)
    s.tell(**{f"_{OTHER}": {"shares": [{"hash": share_of("2" + SECRET[1:]), "expires": int(time.time()) - 1}]}})
    expect("an expired link", s.visit(host).get(f"/.culvert/share/2{SECRET[1:]}").status, 403)
    s.tell()
    wait_for("the link to be good again", lambda: s.visit(host).get("/", cookie).status == 200)
    s.tell(without=[OTHER])
    wait_for("the preview's end", lambda: s.visit(host).get("/", cookie).status == 404)
    s.tell()


def next_event(f):
    name, data = None, None
    while True:
        line = f.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and name:
            return name, json.loads(data)


def button(answer):
    """Where the page's button leads to."""
    return re.search(rb'<form method="post" action="([^"]+)"', answer.body)[1].decode()


def by_ticket(visit, host, ours, user, *lines, **kw):
    """What the ticket `good` gives: a page that asks; and the cookie of who presses its button."""
    answer = visit(host, **kw).get("/.culvert/enter?ticket=good", "Accept: text/html", *lines)
    expect("the ticket", (answer.status, list(answer.cookies()), f"dashboard of {user}?".encode() in answer.body), (200, ["__Host-culvert-confirm"], True))
    asked = "Cookie: __Host-culvert-confirm=" + answer.cookies()["__Host-culvert-confirm"]
    said = visit(host, **kw).get(button(answer), asked, ours, "Content-Length: 0", method="POST")
    expect("the button", (said.status, said.header("location"), said.cookies()["__Host-culvert-confirm"]), (303, "/", ""))
    return answer, "Cookie: __Host-culvert-dashboard=" + said.cookies()["__Host-culvert-dashboard"]


def dashboard(s):
    step("the dashboard: a ticket, once; its state and live list; own requests in full, others' as counts; nothing for previews' visitors")
    host = f"dashboard.{DOMAIN}"
    expect("without a cookie", [s.visit(host).get(p).status for p in ("/", "/login", "/api/state", "/api/events")], [303, 401, 401, 401])
    s.manager.tickets["good"] = {"user": "ana", "login": ""}
    ours = f"Origin: https://{host}"
    answer, cookie = by_ticket(s.visit, host, ours, "ana")
    expect("the ticket again", s.visit(host).get("/.culvert/enter?ticket=good").status, 403)
    step("a ticket that somebody else has sent lets nobody in unasked, nor does it change who is in")
    asked = "Cookie: __Host-culvert-confirm=" + answer.cookies()["__Host-culvert-confirm"]
    for what, lines in (("without an origin", [asked]), ("from a preview", [asked, f"Origin: https://{ID}.{DOMAIN}"]), ("who was not asked", [ours]),
                        ("a dashboard's cookie in its place", [cookie.replace("-dashboard", "-confirm"), ours])):
        said = s.visit(host).get(button(answer), *lines, "Content-Length: 0", method="POST")
        expect(what, (said.status, said.cookies()), (403, {}))
    expect("the question as an answer", s.visit(host).get("/api/state", asked.replace("-confirm", "-dashboard")).status, 401)
    s.manager.tickets["bobs"] = {"user": "bob", "login": ""}
    said = s.visit(host).get("/.culvert/enter?ticket=bobs", cookie)
    theirs = "Cookie: __Host-culvert-confirm=" + said.cookies()["__Host-culvert-confirm"]
    for what, path in (("the first page's button, after the second question", button(answer)), ("no page's button", "/.culvert/enter")):
        pressed = s.visit(host).get(path, theirs, ours, "Content-Length: 0", method="POST")
        expect(what, (pressed.status, pressed.cookies()), (403, {}))
    expect("another's ticket", (said.status, "__Host-culvert-dashboard" in said.cookies(), b"dashboard of bob?" in said.body), (200, False, True))
    s.manager.tickets["again"] = {"user": "ana", "login": ""}
    said = s.visit(host).get("/.culvert/enter?ticket=again", cookie)
    expect("one's own, of who is in", (said.status, said.header("location"), bool(said.cookies()["__Host-culvert-dashboard"])), (303, "/", True))
    page = s.visit(host).get("/", cookie)
    expect("the page", (page.status, b"/app.js" in page.body, page.header("cache-control")), (200, True, "no-store"))
    if "script-src 'self'" not in page.header("content-security-policy") or "unsafe" in page.header("content-security-policy"):
        raise Failed(page.header("content-security-policy"))
    expect("its parts", [s.visit(host).get(p).status for p in ("/app.js", "/app.css")], [200, 200])
    state = s.visit(host).get("/api/state", cookie).json()
    expect("state", (state["user"], len(state["intercepts"]), len(state["previews"]), state["manager"]), ("ana", 2, 9, {"connected": True}))
    expect("another site's page", s.visit(host).get("/api/state", cookie, "Sec-Fetch-Site: same-site").status, 403)
    expect("a preview's cookie", s.visit(host).get("/api/state", s.enter()).status, 401)
    expect("a preview's cookie by name", s.visit(host).get("/api/state", s.enter().replace("culvert=", "culvert-dashboard=")).status, 401)
    expect("the dashboard's at a preview", s.visit(f"{ID}.{DOMAIN}").get("/", cookie.replace("-dashboard", "")).status, 401)
    v = s.visit(host)
    v.send(f"GET /api/events HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n\r\n")
    expect("events", v.head()[0], 200)
    expect("the first", next_event(v.f)[0], "state")
    expect("the manager is told", s.manager.wait_call("watch"), {"on": True})
    s.manager.tell("requests", requests=[["uid-1", 1700000000000, "GET", "/a", 200, 5, "laptop"], ["uid-2", 1700000000001, "GET", "/b", 200, 5, "laptop"]],
                   dropped=2, agent="shop-1")
    name, event = next_event(v.f)
    expect("requests", (name, event), ("requests", {"requests": [{"uid": "uid-1", "t": 1700000000000, "method": "GET", "path": "/a", "status": 200, "ms": 5,
                                                                 "by": "laptop", "agent": "shop-1", "name": "shop"}], "dropped": 2, "others": {"uid-2": 1}}))
    s.tell(without=[OTHER])
    while len(event.get("previews", "x" * 9)) != 8:
        name, event = next_event(v.f)
    s.tell()
    for origin in ("X: y", f"Origin: https://{ID}.{DOMAIN}", "Origin: null"):
        expect(f"logout with {origin}", s.visit(host).get("/logout", cookie, origin, "Content-Length: 0", method="POST").status, 403)
    out = s.visit(host).get("/logout", cookie, f"Origin: https://{host}", "Content-Length: 0", method="POST")
    expect("logout", (out.status, out.cookies()["__Host-culvert-dashboard"]), (200, ""))
    v.close()
    expect("nobody looks any more", s.manager.wait_call("watch"), {"on": False})


def managers_end(s):
    step("without the manager what is known goes on; it is sought again")
    cookie, host, ours = s.enter(), f"{ID}.{DOMAIN}", f"dashboard.{DOMAIN}"
    s.manager.tickets["good"] = {"user": "ana", "login": ""}
    _, owner = by_ticket(s.visit, ours, f"Origin: https://{ours}", "ana")
    s.manager.hang_up()
    s.manager.calls.queue.clear()
    wait_for("the end to be noticed", lambda: not s.visit(ours).get("/api/state", owner).json()["manager"]["connected"])
    expect("a visitor", s.visit(host).get("/", cookie).status, 200)
    s.later(45)
    expect("a visitor, 45 s on", s.visit(host).get("/", cookie).status, 200)
    step("after 60 s nothing that it knew counts: a page says so; with the manager all is as it was")
    s.later(61)
    lost = s.visit(host).get("/", cookie, "Accept: text/html")
    expect("a visitor, 61 s on", (lost.status, b"has lost the cluster" in lost.body), (503, True))
    expect("a share link, 61 s on", s.visit(host).get(f"/.culvert/share/{ID[0]}{SECRET[1:]}").status, 503)
    s.manager.refuse = False
    s.manager.wait_call("hello")
    wait_for("a visitor after that", lambda: s.visit(host).get("/", cookie).status == 200)


def certificates(s):
    step("a certificate that changes is used without a restart, and one that is broken is not")
    def subject():
        with s.visit(f"{ID}.{DOMAIN}") as v:
            return dict(x[0] for x in v.s.getpeercert()["subject"])["commonName"]
    expect("before", subject(), "gateway")
    s.pki.certificate("another", "another", names="DNS:*.preview.test")
    os.makedirs(s.path("tls"))
    for end in ("key", "crt"):
        shutil.copy(s.pki.path(f"another.{end}"), s.path(f"tls/tls.{end}"))
    wait_for("the new certificate", lambda: subject() == "another")
    s.write("tls/tls.crt", "no certificate")
    wait_for("the complaint", lambda: "the old one stays" in s.gateway.output())
    expect("after a broken one", subject(), "another")
    shutil.rmtree(s.path("tls"))
    wait_for("the first certificate again", lambda: subject() == "gateway")


def refused(browser, url, status, ask=None):
    try:
        page = ask() if ask else browser.request(url)
    except Failed as e:
        if re.search(f"answered ({status}):", str(e)):
            return
        raise
    raise Failed(f"{page.url}: let in, in place of {status}")


def logins(s):
    step("logins at a real issuer: to the preview and the path that were asked for; who may not enter; tickets and states of others")
    s.pki.certificate("issuer", "issuer", names=f"IP:{ADDRESS}")
    callback = f"https://dashboard.{DOMAIN}/.culvert/callback"
    issuer = s.issuer = Issuer(s.dir, ADDRESS, clients=[
        {"client_id": "gateway", "client_secret": "a secret+with/odd=signs", "redirect_uris": [callback],
         "grant_types": ["authorization_code"], "scope": "openid profile email groups"}])
    issuer.start()
    s.write("keys/oidc-secret", "a secret+with/odd=signs\n")
    expect("the first gateway's exit", s.gateway.stop(), 0)
    s.start(oidc={"issuer": issuer.url, "client-id": "gateway", "scopes": "openid profile email groups", "ca": s.ca, "allow": ["groups=dev"]})
    url = f"https://{ID}.{DOMAIN}/deep/path?x=1"
    dora = issuer.browser()
    page = dora.answer(dora.request(url), "dev")
    expect("the page after the login", (page.text, page.url), ("hello from the shop\n", url))
    expect("the next, without questions", dora.request(f"https://{OTHER}.{DOMAIN}/x").url, f"https://{OTHER}.{DOMAIN}/x")
    if "/app.js" not in dora.request(f"https://dashboard.{DOMAIN}/").text:
        raise Failed("the dashboard is not open to who is logged in")
    state = json.loads(dora.request(f"https://dashboard.{DOMAIN}/api/state").text)
    expect("who it is", (state["user"], state["login"]), ("dev", "dev"))

    step("tickets, states and targets of others lead nowhere")
    enter = f"https://{SECURE}.{DOMAIN}/.culvert/enter"
    ticket = dora.request(f"https://{SECURE}.{DOMAIN}/", until=enter)
    path = ticket[len(f"https://{SECURE}.{DOMAIN}"):]
    with s.visit(f"{SECURE}.{DOMAIN}") as v:
        expect("a ticket in another browser", v.get(path).status, 401)
        begun = "Cookie: __Host-culvert-enter=" + v.get("/").cookies()["__Host-culvert-enter"]
        expect("a ticket in another browser that has begun", v.get(path, begun).status, 401)
    expect("a ticket at another preview", s.visit(f"{ID}.{DOMAIN}").get(path).status, 401)
    expect("the ticket", dora.request(ticket).text, "hello from the shop\n")
    refused(dora, ticket, "401")
    for to in ("evil.example.com", "0" * 32, f"{ID}.evil", f"//evil.example.com/{ID}", "https:evil"):
        expect(f"on to {to}", dora.request(f"https://dashboard.{DOMAIN}/login?to={to}&bind={'B' * 43}").url, f"https://dashboard.{DOMAIN}/")
    with s.visit(f"{ID}.{DOMAIN}") as v:
        for target in ("//evil.example.com/", "/\\evil.example.com/"):
            answer = v.get(target)
            expect(f"a path {target}", (answer.status, answer.header("location").startswith(f"https://dashboard.{DOMAIN}/login?to={ID}&bind=")), (303, True))
        for field in ("Sec-Fetch-Mode: cors", "Sec-Fetch-Mode: websocket"):
            expect(field, v.get("/", field).status, 401)
        expect("POST", v.get("/", "Content-Length: 0", method="POST").status, 401)
    evil = issuer.browser()
    page = evil.answer(evil.request(f"https://{ID}.{DOMAIN}//evil.example.com/"), "dev")
    expect("a path that would lead elsewhere", page.url, f"https://{ID}.{DOMAIN}/")

    step("who may not enter; codes and states of another browser; no issuer")
    guest, stranger, mallory = issuer.browser(), issuer.browser(), issuer.browser()
    refused(guest, None, "403", lambda: guest.answer(guest.request(url), "guest"))
    refused(stranger, None, "403", lambda: stranger.answer(stranger.request(url), None))
    code = mallory.login(f"https://dashboard.{DOMAIN}/login", "dev", callback)
    refused(issuer.browser(), f"{callback}?code={code['code']}&state={code['state']}", "403")
    refused(mallory, f"{callback}?code={code['code']}&state={'A' * 43}", "403")
    refused(mallory, f"{callback}?code=wrong&state={code['state']}", "403")
    issuer.stop()
    s.issuer = None
    refused(mallory, f"{callback}?code={code['code']}&state={code['state']}", "502")
    os.unlink(s.path("keys/oidc-secret"))


def by_path(s):
    step("without a wildcard name: /p/ID/ is the door, the root is the preview, the dashboard has another port")
    expect("the first gateway's exit", s.gateway.stop(), 0)
    config = {"listen": f"{ADDRESS}:8443", "dashboard": f"{ADDRESS}:8445", "preview-host": "preview.test:8443",
              "dashboard-host": "preview.test:8445", "manager": f"{ADDRESS}:7443", "manager-name": "culvert.culvert.svc", "ca": s.ca,
              "token": s.path("token"), "keys": s.path("keys"), "ingress-ca": s.ca,
              "oidc": {"issuer": "https://127.0.0.1:9", "client-id": "gateway", "allow": ["groups=dev"]}}  # nobody has to ask it
    s.manager.told.clear()
    s.manager.calls.queue.clear()
    s.gateway = Process("gateway", [f"{s.bin}/culvert-gateway", "--config", s.write("gateway.yaml", json.dumps(config))],
                        s.path("gateway2.log"), ENVIRONMENT)
    host, port = "preview.test:8443", "preview.test:8445"
    s.manager.wait_call("hello")
    expect("before the manager has told", s.visit(host).get("/").status, 503)
    s.tell()
    wait_for("previews", lambda: s.visit(host).get("/").status == 401)
    answer = s.visit(host).get(f"/p/{ID}/share/1{SECRET[1:]}")
    expect("the share link", (answer.status, answer.header("location")), (303, "/"))
    cookie = "Cookie: __Host-culvert=" + answer.cookies()["__Host-culvert"]
    expect("the page", s.visit(host).get("/any/path", cookie).body, b"hello from the shop\n")
    expect("the door, with a cookie", s.visit(host).get(f"/p/{ID}/", cookie).status, 303)
    expect("another door", s.visit(host).get(f"/p/{OTHER}/", cookie, "Sec-Fetch-Mode: cors").status, 401)
    expect("a door to nothing", s.visit(host).get(f"/p/{'0' * 32}/", cookie).status, 404)
    expect("a path that is no door", s.visit(host).get("/p/shop/", cookie).status, 200)
    s.manager.tickets["good"] = {"user": "ana", "login": ""}
    kw = {"port": 8445}
    expect("HEAD, of who only looks at the link", s.visit(port, **kw).get("/.culvert/enter?ticket=good", cookie, method="HEAD").status, 404)
    _, dash = by_ticket(s.visit, port, f"Origin: https://{port}", "ana", cookie, **kw)
    both = cookie + "; " + dash.split(": ")[1]
    expect("the dashboard", s.visit(port, **kw).get("/api/state", both).status, 200)
    expect("the dashboard, at the previews' port", s.visit(host).get("/api/state", both).body, b"hello from the shop\n")
    for i in (ID, OTHER):  # with the cookie of the one before
        asked = s.visit(host).get(f"/p/{i}/", cookie if i != ID else "Accept: */*")
        begun = "__Host-culvert-enter=" + asked.cookies()["__Host-culvert-enter"]
        ticket = s.visit(port, **kw).get(asked.header("location").split(port)[1], both).header("location")
        answer = s.visit(host).get(ticket.split(host)[1], (cookie + "; " if i != ID else "Cookie: ") + begun)
        expect(f"the ticket for {i[0]}", (answer.status, answer.header("location")), (303, "/"))
        cookie = "Cookie: __Host-culvert=" + answer.cookies()["__Host-culvert"]
        expect(f"the preview {i[0]}", dict(s.visit(host).get("/headers", cookie).json()["headers"])["x-culvert-preview"], i)
    expect("a service worker", s.visit(host).get("/worker.js", cookie, "Service-Worker: script").status, 403)
    seen = dict(s.visit(host).get("/headers", both).json()["headers"])
    expect("no cookie of ours goes out", seen.get("Cookie"), None)
    expect("a preview, at the dashboard's port", s.visit(port, **kw).get(f"/p/{ID}/", both).status, 404)
    urls = [p["url"] for p in s.visit(port, **kw).get("/api/state", both).json()["previews"]]
    expect("the preview's URL", f"https://{host}/p/{ID}/" in urls, True)


def run():
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        sh(os.path.join(ROOT, "tests/oidc/build"), timeout=300)  # while there is a network
        private_network(folder, NAMES)
        s = Story(folder)
        try:
            s.begin()
            for part in PARTS:
                part(s)
            s.end()
        except BaseException:
            for p in (s.gateway, getattr(s, "nginx", None), s.issuer and s.issuer.process):
                if p:
                    print(f"--- log of {p.name}\n{p.output()[-4000:]}")
                    p.popen.kill()
            raise


PARTS = [first_page, doors, hosts, heads, bodies, memory, events, websockets, versions, kept, ingresses, revoked, dashboard, managers_end, certificates, logins, by_path]

if __name__ == "__main__":
    story(run)
