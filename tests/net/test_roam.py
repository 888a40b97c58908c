#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The laptop's address changes in the middle of a rate-limited download: it ends with the right hash."""
import hashlib
import os

from lab import Failed, Lab, NOBODY, step, story, wait_for


def main():
    with Lab() as lab:
        lab.up()
        data = os.urandom(24 << 20)
        with open(f"{lab.dir}/www/big", "wb") as f:
            f.write(data)
        out = f"{lab.home()}/big"
        step("a download of 24 MiB at 6 MiB/s begins")
        curl = lab.start("laptop", "download", "curl", "-sS", "--limit-rate", "6M", "-o", out, "http://web/big", user=NOBODY)
        wait_for("the first MiB", lambda: os.path.exists(out) and os.path.getsize(out) > 1 << 20)
        step("the laptop moves to another network")
        lab.ip("router", "addr", "add", "10.99.4.1/24", "dev", "home")
        lab.ip("laptop", "addr", "flush", "dev", "eth0")
        lab.ip("laptop", "addr", "add", "10.99.4.2/24", "dev", "eth0")
        lab.ip("laptop", "route", "add", "default", "via", "10.99.4.1")
        moved = os.path.getsize(out)
        wait_for("the download's end", lambda: not curl.running(), 60)
        if curl.popen.returncode:
            raise Failed(f"curl ended with {curl.popen.returncode}: {curl.output()}")
        got = open(out, "rb").read()
        if hashlib.sha256(got).digest() != hashlib.sha256(data).digest():
            raise Failed("the hashes differ")
        if moved >= len(data):
            raise Failed("the download was over before the move: this proves nothing")
        step("new connections go, too")
        if "web pod" not in lab.curl("http://web/"):
            raise Failed("no new connection")
        lab.culvert("quit")


story(main)
