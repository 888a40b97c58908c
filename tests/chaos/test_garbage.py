#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Garbage, truncated and replayed datagrams at the manager's port: no answer, no growth, no crash, and the user notices nothing."""
from lab import Failed, Lab, step, story

# Runs in the namespace `other`: sends what it is told and counts what comes back.
SENDER = r"""
import os, random, socket, sys
random.seed(int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(('10.99.2.2', 7400))
s.settimeout(0)
answers = 0
captured = [bytes.fromhex(line.strip()) for line in open(sys.argv[2])]
def drain():
    global answers
    while True:
        try:
            s.recv(65535)
            answers += 1
        except (BlockingIOError, ConnectionRefusedError):
            return
for i in range(30000):
    kind = i % 5
    if kind == 0:
        data = os.urandom(random.randrange(0, 1500))
    elif kind == 1:
        data = bytes([random.choice([1, 2, 3, 4, 5]), 0, 0, 0]) + os.urandom(random.choice([60, 88, 144, 232, 28, 1000]))
    else:
        data = random.choice(captured)
        if kind == 3:
            data = data[:random.randrange(len(data))]
        if kind == 4:
            data = bytearray(data)
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    s.send(bytes(data))
    if i % 64 == 0:
        drain()
drain()
print(answers)
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
        lab.connect()
        lab.curl("http://web/")
        sniffer.stop()
        with open(capture) as f:
            lines = f.read().splitlines()
        step(f"{len(lines)} real datagrams captured, handshake among them")
        if not any(line.startswith("05000000") or line.startswith("01000000") for line in lines) or len(lines) < 5:
            raise Failed("the capture has no handshake: this would prove nothing")
        lab.run("other", "/usr/bin/python3", "-c", SENDER, "0", capture, timeout=120)  # warms every pool
        before = rss(lab.manager.pid)
        step("30,000 random, truncated, damaged and replayed ones from a stranger")
        answers = int(lab.run("other", "/usr/bin/python3", "-c", SENDER, "1", capture, timeout=120).stdout)
        # Under load an initiation with a right MAC1 (a replayed one has that) may be answered by a cookie: WireGuard 5.3.
        step(f"answers: {answers}; resident memory {before} -> {rss(lab.manager.pid)} KiB")
        if not lab.manager.running():
            raise Failed("the manager is gone:\n" + lab.manager.output()[-3000:])
        if answers > 6000:
            raise Failed("it answers strangers")
        if rss(lab.manager.pid) > before * 1.1 + 2048:
            raise Failed("the manager's memory grew")
        if "web pod" not in lab.curl("http://web/"):
            raise Failed("the laptop noticed")
        lab.culvert("quit")


story(main)
