#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""2 GiB each way through the exit and through an intercept, 8 streams at once, checksums equal, no error."""
from lab import Failed, Lab, step, story

STREAMS, SIZE = 8, (2 << 30) // 8

# An echo of hashes: reads SIZE bytes and answers their hash, then sends SIZE bytes of its own and their hash.
SERVER = r"""
import hashlib, os, socket, sys, threading
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = os.urandom(1 << 20)
def serve(c):
    h, left, buf = hashlib.blake2b(), size, bytearray(1 << 20)
    while left:
        n = c.recv_into(buf, min(left, len(buf)))
        if not n:
            return
        h.update(memoryview(buf)[:n])
        left -= n
    c.sendall(h.digest())
    h, left = hashlib.blake2b(), size
    while left:
        part = block[:min(left, len(block))]
        c.sendall(part)
        h.update(part)
        left -= len(part)
    c.sendall(h.digest())
    c.close()
l = socket.create_server((address, port), backlog=64)
while True:
    c, _ = l.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"""
CLIENT = r"""
import hashlib, os, socket, sys, threading, time
address, port, streams, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
block, bad = os.urandom(1 << 20), []
def exactly(c, n):
    got = b''
    while len(got) < n:
        more = c.recv(n - len(got))
        if not more:
            raise EOFError
        got += more
    return got
def one(i):
    try:
        c = socket.create_connection((address, port))
        h, left = hashlib.blake2b(), size
        while left:
            part = block[:min(left, len(block))]
            c.sendall(part)
            h.update(part)
            left -= len(part)
        if exactly(c, 64) != h.digest():
            bad.append(f'stream {i}: sent bytes arrived wrong')
        h, left, buf = hashlib.blake2b(), size, bytearray(1 << 20)
        while left:
            n = c.recv_into(buf, min(left, len(buf)))
            if not n:
                raise EOFError
            h.update(memoryview(buf)[:n])
            left -= n
        if exactly(c, 64) != h.digest():
            bad.append(f'stream {i}: received bytes are wrong')
    except Exception as e:
        bad.append(f'stream {i}: {e!r}')
start = time.monotonic()
threads = [threading.Thread(target=one, args=(i,)) for i in range(streams)]
[t.start() for t in threads]
[t.join() for t in threads]
print(f'{2 * streams * size / 2**30:.1f} GiB in {time.monotonic() - start:.1f} s', *bad, sep='\n')
sys.exit(bool(bad))
"""


def run(lab, where, address, port):
    step(lab.run(where, "/usr/bin/python3", "-c", CLIENT, address, str(port), str(STREAMS), str(SIZE), timeout=500).stdout.strip())


def main():
    with Lab() as lab:
        lab.up()
        step("through the exit")
        lab.start("web", "sink", "/usr/bin/python3", "-c", SERVER, "10.244.0.10", "7777", str(SIZE))
        lab.wait_listening("web", 7777)
        run(lab, "laptop", "10.244.0.10", 7777)
        step("through an intercept")
        lab.start("laptop", "local", "/usr/bin/python3", "-c", SERVER, "127.0.0.1", "3000", str(SIZE))
        lab.wait_listening("laptop", 3000)
        lab.culvert("intercept", "shop", "--port", "3000:http")
        run(lab, "client", "10.96.0.21", 80)
        connections = lab.culvert_json("status")["intercepts"][0]["connections"]
        if connections != STREAMS:
            raise Failed(f"{connections} connections are counted on the laptop, {STREAMS} were made")
        lab.culvert("quit")


story(main)
