#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Names and addresses of the cluster from the laptop: TCP, UDP, ping, IPv4, IPv6, and errors that are true."""
import hashlib
import os

from lab import Failed, Lab, step, story


def tcp(lab):
    step("TCP by short name, full name, service address and pod address, IPv4 and IPv6")
    for url in ("http://web/", "http://web.shop/", "http://web.shop.svc.cluster.local/", "http://10.96.0.20/",
                "http://10.244.0.10:8080/", "http://[fd10:244::10]:8080/", "http://web6.shop.svc.cluster.local:8080/"):
        if "web pod" not in lab.curl(url):
            raise Failed(f"{url} gave something else")


def ping(lab):
    step("ping, small and larger than the MTU")
    for address in ("10.244.0.10", "fd10:244::10"):
        for size in (56, 4000):
            lab.run("laptop", "ping", "-c", "1", "-W", "5", "-s", str(size), address)


UDP_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 9999))
while True:
    data, peer = s.recvfrom(65535)
    s.sendto(data[::-1], peer)
"""
UDP_ASK = """
import os, socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 9999))
for size in (1, 100, 1392, 1393, 5000, 20000):
    data = os.urandom(size)
    s.send(data)
    got = s.recv(65535)
    assert got == data[::-1], (size, len(got))
s.close()
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((sys.argv[1], 9998))
s.send(b'nobody')
try:
    s.recv(10)
except ConnectionRefusedError:
    print('refused')
"""


def udp(lab):
    step("UDP, datagrams from 1 byte to 20,000; nobody there is told as such")
    for i, address in enumerate(("10.244.0.10", "fd10:244::10")):
        lab.start("web", f"udp-echo-{i}", "/usr/bin/python3", "-c", UDP_ECHO, address)
        lab.wait_listening("web", 9999, udp=True, address=address)
        if "refused" not in lab.run("laptop", "/usr/bin/python3", "-c", UDP_ASK, address).stdout:
            raise Failed(f"a closed UDP port of {address} was not refused")


def errors(lab):
    step("a closed port is refused; an address nobody has is unreachable; a filtered one times out; a forbidden one is said")
    done = lab.run("laptop", "curl", "-sS", "--max-time", "10", "http://10.244.0.10:9/", check=False)
    if done.returncode != 7 or "after" not in done.stderr:
        raise Failed(f"closed port: curl ended with {done.returncode}: {done.stderr}")
    done = lab.run("laptop", "curl", "-sS", "--max-time", "20", "http://10.244.0.99/", check=False)
    if done.returncode != 7:
        raise Failed(f"dead address: curl ended with {done.returncode}: {done.stderr}")
    lab.run("cluster", "ip", "route", "add", "blackhole", "10.244.7.0/24")
    done = lab.run("laptop", "curl", "-sS", "--connect-timeout", "3", "http://10.244.7.1/", check=False)
    if done.returncode not in (7, 28):
        raise Failed(f"black hole: curl ended with {done.returncode}: {done.stderr}")


HALF_CLOSE = """
import hashlib, socket, sys
s = socket.create_connection((sys.argv[1], 9997))
data = b'question' * 100000
s.sendall(data)
s.shutdown(socket.SHUT_WR)
got = b''
while True:
    more = s.recv(65536)
    if not more:
        break
    got += more
assert got == hashlib.sha256(data).hexdigest().encode(), got
"""
HALF_SERVER = """
import hashlib, socket, sys
s = socket.create_server((sys.argv[1], 9997))
while True:
    c, _ = s.accept()
    h = hashlib.sha256()
    while True:
        more = c.recv(65536)
        if not more:
            break
        h.update(more)
    c.sendall(h.hexdigest().encode())
    c.close()
"""


def half_close(lab):
    step("half-close: the answer comes after the question's end")
    lab.start("web", "half", "/usr/bin/python3", "-c", HALF_SERVER, "10.244.0.10")
    lab.wait_listening("web", 9997)
    lab.run("laptop", "/usr/bin/python3", "-c", HALF_CLOSE, "10.244.0.10")


def transfer(lab):
    step("64 MiB down and up, equal hashes")
    data = os.urandom(64 << 20)
    with open(f"{lab.dir}/www/big", "wb") as f:
        f.write(data)
    want = hashlib.sha256(data).hexdigest()
    got = lab.run("laptop", "sh", "-c", "curl -sS http://web/big | sha256sum").stdout.split()[0]
    if got != want:
        raise Failed("the download differs")
    got = lab.run("laptop", "sh", "-c", f"curl -sS --data-binary @{lab.dir}/www/big http://shop/echo | sha256sum").stdout.split()[0]
    if got != want:
        raise Failed("the upload, echoed, differs")


def main():
    with Lab() as lab:
        before = lab.laptop_state()
        lab.up()
        for part in (tcp, ping, udp, errors, half_close, transfer):
            part(lab)
        step("quit: the laptop is as it was")
        lab.culvert("quit")
        if lab.laptop_state() != before:
            raise Failed(f"left behind:\n{before}\n{lab.laptop_state()}")


story(main)
