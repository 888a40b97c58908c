#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""5,000 connections at once through the exit, 2,000 through an intercept: none fails; memory returns to within 10 %."""
import time

from lab import Failed, Lab, step, story, wait_for

ECHO = r"""
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
async def serve(r, w):
    try:
        while data := await r.read(1000):
            w.write(data)
            await w.drain()
    except ConnectionError:
        pass
    w.close()
async def main():
    s = await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2]), backlog=8192)
    await s.serve_forever()
asyncio.run(main())
"""
CLIENTS = r"""
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
failed = []
async def open_one(i):
    try:
        r, w = await asyncio.wait_for(asyncio.open_connection(address, port), 60)
        return r, w
    except Exception as e:
        failed.append(f'connect {i}: {e!r}')
async def talk(i, c):
    try:
        text = f'{i:08}'.encode()
        c[1].write(text)
        if await asyncio.wait_for(c[0].readexactly(8), 60) != text:
            failed.append(f'{i}: wrong bytes')
    except Exception as e:
        failed.append(f'talk {i}: {e!r}')
async def main():
    cs = []
    for at in range(0, count, 250):
        cs += await asyncio.gather(*(open_one(i) for i in range(at, min(at + 250, count))))
    cs = [c for c in cs if c]
    await asyncio.gather(*(talk(i, c) for i, c in enumerate(cs)))
    print(f'{len(cs)} open at once, {len(failed)} failed', *failed[:5], sep='\n', flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(talk(i, c) for i, c in enumerate(cs)))
    for _, w in cs:
        w.close()
    print(f'closed, {len(failed)} failed', *failed[:5], sep='\n', flush=True)
asyncio.run(main())
sys.exit(bool(failed))
"""


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def many(lab, where, address, port, count):
    done = lab.run(where, "/usr/bin/python3", "-c", CLIENTS, address, str(port), str(count), timeout=200, stdin="\n", check=False)
    if done.returncode or "closed, 0 failed" not in done.stdout:
        raise Failed(f"{done.stdout}{done.stderr[-2000:]}")
    step(done.stdout.splitlines()[0])


def settle(pids, before, label, allowance=0):
    """Memory returns to within 10 % of what it was `before`, and an allowance in KiB."""
    def back():
        return all(rss(p) <= before[p] * 1.1 + allowance for p in pids.values())
    try:
        wait_for(f"memory of {label} to return", back, 60)
    finally:
        for name, p in pids.items():
            step(f"{name}: {before[p]} -> {rss(p)} KiB")
    return {p: rss(p) for p in pids.values()}


def main():
    with Lab() as lab:
        lab.up()
        pids = {"daemon": lab.daemon_pid(), "manager": lab.manager.pid, "agent": lab.agent_shop.pid}
        idle = {p: rss(p) for p in pids.values()}
        step("idle: " + ", ".join(f"{n} {idle[p]} KiB" for n, p in pids.items()))
        lab.start("web", "echo", "/usr/bin/python3", "-c", ECHO, "10.244.0.10", "7778")
        lab.wait_listening("web", 7778)
        many(lab, "laptop", "10.244.0.10", 7778, 5000)
        # Tables and buffers that are touched for the first time stay: that is the allowance. After it, none.
        warm = settle(pids, idle, "the first 5,000 connections through the exit", allowance=512)
        many(lab, "laptop", "10.244.0.10", 7778, 5000)
        settle(pids, warm, "5,000 connections through the exit")
        lab.start("laptop", "local", "/usr/bin/python3", "-c", ECHO, "127.0.0.1", "3000")
        lab.wait_listening("laptop", 3000)
        lab.culvert("intercept", "shop", "--port", "3000:http")
        start = time.monotonic()
        many(lab, "client", "10.96.0.21", 80, 2000)
        step(f"{time.monotonic() - start:.0f} s")
        if lab.culvert_json("status")["intercepts"][0]["connections"] < 2000:
            raise Failed("they were not all delivered to the laptop")
        warm = settle(pids, warm, "the first 2,000 connections through an intercept", allowance=512)
        many(lab, "client", "10.96.0.21", 80, 2000)
        settle(pids, warm, "2,000 connections through an intercept")
        lab.culvert("quit")


story(main)
