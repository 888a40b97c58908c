#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What HTTP/1 is used for goes through an intercept of requests: kept connections, uploads, upgrades, events."""
import os

from lab import ROOT, Failed, Lab, step, story, wait_for

# Runs where the cluster's clients are: one connection, requests that go now here, now there.
CLIENT = r"""
import hashlib, http.client, socket, sys
HOST, MINE = "10.96.0.21", {"x-u": "ana"}
big = bytes(range(256)) * 8192

def check(what, ok):
    if not ok:
        sys.exit(what)

def ask(c, method, path, body=None, headers={}, **kw):
    c.request(method, path, body=body, headers=headers, **kw)
    answer = c.getresponse()
    return answer.read()

c = http.client.HTTPConnection(HOST, timeout=20)
c.connect()
port = c.sock.getsockname()
for round in range(200):
    check("the laptop's", ask(c, "GET", "/", headers=MINE) == b"talk\n")
    check("the pod's", b"shop pod" in ask(c, "GET", "/"))
check("an upload", ask(c, "POST", "/digest", big, MINE) == hashlib.sha256(big).hexdigest().encode())
chunks = (big[i:i + 10000] for i in range(0, len(big), 10000))
check("a chunked upload", ask(c, "POST", "/digest", chunks, MINE, encode_chunked=True) == hashlib.sha256(big).hexdigest().encode())
check("an upload to the pod", ask(c, "POST", "/", big) == big)
check("HEAD", ask(c, "HEAD", "/large", headers=MINE) == b"")
check("a large answer", ask(c, "GET", "/large", headers=MINE) == b"talk" * (2 << 20))
check("one connection", c.sock.getsockname() == port)

c.request("GET", "/events", headers=MINE)
events = c.getresponse()
other = http.client.HTTPConnection(HOST, timeout=20)
for word in (b"one", b"two"):
    ask(other, "POST", "/tell", word, MINE)
    check("an event", events.readline() == b"data: " + word + b"\n" and events.readline() == b"\n")
ask(other, "POST", "/tell", b"", MINE)
check("the last event", events.read() == b"")

s = socket.create_connection((HOST, 80), timeout=20)
s.sendall(b"GET /ws HTTP/1.1\r\nHost: shop\r\nx-u: ana\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
f = s.makefile("rb")
check("101", f.readline().startswith(b"HTTP/1.1 101"))
while f.readline().strip():
    pass
for i in range(50):
    s.sendall(b"\x00\xff" * i + b"end\n")
    check("an echo", f.readline().endswith(b"end\n"))
s.shutdown(socket.SHUT_WR)
check("the end", f.read() == b"")
print("all")
"""


def main():
    with Lab() as lab:
        lab.up()
        talk = os.path.join(ROOT, "tests/lab/talk.py")
        lab.start("laptop", "talk", "/usr/bin/python3", talk, "127.0.0.1", "3000", user=0)
        lab.wait_listening("laptop", 3000)
        lab.culvert("intercept", "shop", "--port", "3000:http", "--http-match", "x-u=ana")
        wait_for("the laptop's answer", lambda: "talk" in lab.curl("http://10.96.0.21/", "-H", "x-u: ana", where="client"))

        step("one connection, four hundred requests in turn; uploads, events, an upgrade")
        lab.write("client.py", CLIENT)
        out = lab.run("client", "/usr/bin/python3", f"{lab.dir}/client.py", check=False, timeout=120)
        if out.stdout != "all\n":
            raise Failed(f"{out.stdout}{out.stderr}")

        step("curl waits for 100 Continue")
        out = lab.run("client", "sh", "-c", "head -c 3000000 /dev/zero | curl -sS -v --data-binary @- -H 'Expect: 100-continue' "
                                            "-H 'x-u: ana' http://10.96.0.21/digest")
        if "100 Continue" not in out.stderr or len(out.stdout) != 64:
            raise Failed(out.stdout + out.stderr)
        lab.culvert("quit")


story(main)
