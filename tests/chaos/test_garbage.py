#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Garbage, truncated and replayed datagrams at the manager's port: no answer, no growth, no crash, and the user notices nothing."""
import os

from lab import Failed, Lab, step, story, wait_for

# Runs in the namespace `other`: sends what it is told, and prints how many answers came and how many of them are cookies.
SENDER = r"""
import os, random, socket, sys
random.seed(1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.99.2.2', 7400))
s.settimeout(0)
answers = cookies = 0
captured = [bytes.fromhex(line.strip()) for line in open(sys.argv[2])]
def drain():
    global answers, cookies
    while True:
        try:
            data = s.recv(65535)
        except (BlockingIOError, ConnectionRefusedError):
            return
        answers += 1
        cookies += len(data) == 64 and data[:4] == b'\x03\0\0\0'
def noise():
    return os.urandom(random.randrange(0, 1500))
def typed():
    return bytes([random.choice([1, 2, 3, 4, 5]), 0, 0, 0]) + os.urandom(random.choice([60, 88, 144, 232, 28, 1000]))
def truncated():
    data = random.choice(captured)
    return data[:random.randrange(len(data))]
def damaged():
    data = bytearray(random.choice(captured))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)
def replayed():
    return random.choice(captured)
kinds = {'false': [noise, typed, truncated], 'replayed': [replayed, damaged]}[sys.argv[1]]
for i in range(15000):
    s.send(kinds[i % len(kinds)]())
    if i % 64 == 0:
        drain()
drain()
print(answers, cookies)
"""
# Takes every UDP datagram to the manager's port off the router's interface.
SNIFFER = r"""
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(('home', 0))
out = open(sys.argv[1], 'w')
while True:
    p = s.recv(65535)
    if p[12:14] == b'\x08\x00' and p[23] == 17 and p[36:38] == (7400).to_bytes(2, 'big'):
        out.write(p[42:].hex() + '\n')
        out.flush()
"""


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def main():
    with Lab() as lab:
        lab.start_cluster()
        lab.start_helper()
        capture = f"{lab.dir}/captured"
        sniffer = lab.start("router", "sniffer", "/usr/bin/python3", "-c", SNIFFER, capture)
        wait_for("the sniffer", lambda: os.path.exists(capture))  # made once it listens
        lab.connect()
        lab.curl("http://web/")
        sniffer.stop()
        with open(capture) as f:
            lines = f.read().splitlines()
        step(f"{len(lines)} real datagrams captured, handshake among them")
        if not any(line.startswith("05000000") or line.startswith("01000000") for line in lines) or len(lines) < 5:
            raise Failed("the capture has no handshake: this would prove nothing")
        def send(what):
            return [int(x) for x in lab.run("other", "/usr/bin/python3", "-c", SENDER, what, capture, timeout=120).stdout.split()]
        send("replayed")  # warms every pool
        before = rss(lab.manager.pid)
        step("15,000 random and truncated ones from a stranger")
        answers, _ = send("false")
        if answers:
            raise Failed(f"it answered strangers {answers} times")
        step("15,000 replayed and damaged ones")
        # A replayed initiation has a right MAC1: under load, and only then, it is answered by a cookie (WireGuard 5.3).
        answers, cookies = send("replayed")
        step(f"answers: {answers}, all cookies; resident memory {before} -> {rss(lab.manager.pid)} KiB")
        if answers != cookies:
            raise Failed(f"{answers - cookies} answers were no cookies")
        if not lab.manager.running():
            raise Failed("the manager is gone:\n" + lab.manager.output()[-3000:])
        if rss(lab.manager.pid) > before * 1.1 + 2048:
            raise Failed("the manager's memory grew")
        if "web pod" not in lab.curl("http://web/"):
            raise Failed("the laptop noticed")
        lab.culvert("quit")


story(main)
