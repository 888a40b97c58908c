#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The laptop is cut off for longer than its kernel would have gone on: an upload that was under way goes on and arrives whole."""
import hashlib
import os
import re

from lab import Failed, Lab, NOBODY, step, story, wait_for

SINK = "10.244.0.30"
PORT = 9100
# The fourth retransmission, after 15 times this, comes when the manager is known to be away, and before the kernel's patience ends: it counts it
# in time, 51 s for RETRIES. It would give up at the next timer, after 31 times this.
RTO_MIN_MS = 2200
RETRIES = 7


def main():
    with Lab() as lab:
        lab.up()
        data = os.urandom(256 << 10) * 1024
        with open(f"{lab.dir}/www/big", "wb") as f:
            f.write(data)
        out = f"{lab.home()}/arrived"
        device = lab.culvert_json("status")["routes"]["device"]
        lab.sysctl("laptop", "net.ipv4.tcp_retries2", str(RETRIES))
        source = re.search(r" src (\S+)", lab.ip("laptop", "route", "get", SINK).stdout)[1]
        lab.ip("laptop", "route", "add", f"{SINK}/32", "dev", device, "src", source, "rto_min", f"{RTO_MIN_MS}ms")

        step("an upload of 256 MiB begins")
        sink = lab.start("client", "sink", "socat", "-u", f"TCP-LISTEN:{PORT},bind={SINK}", f"CREATE:{out}", user=NOBODY)
        lab.wait_listening("client", PORT)
        upload = lab.start("laptop", "upload", "socat", "-u", f"OPEN:{lab.dir}/www/big,rdonly", f"TCP:{SINK}:{PORT}", user=NOBODY)
        wait_for("the first MiB", lambda: os.path.exists(out) and os.path.getsize(out) > 1 << 20)

        step("the laptop is cut off")
        lab.sysctl("router", "net.ipv4.ip_forward", "0")

        def alive():
            if not upload.running():
                raise Failed(f"the upload ended with {upload.popen.returncode}: {upload.output()}")

        wait_for("the daemon's answer", lambda: not upload.running() or lab.culvert_json("status")["held"]["answered"], 120)
        alive()
        held = lab.culvert_json("status")["held"]
        if held["connections"] < 1 or held["left_out"]:
            raise Failed(f"held: {held}")

        step("it stays so for longer than the kernel goes on by itself")

        def outlived():
            timer = re.search(r"\brto:(\d+)", lab.run("laptop", "ss", "-tinO", "dst", SINK).stdout)
            return not timer or int(timer[1]) >= RTO_MIN_MS * 32

        wait_for("the timer that would have been the last", outlived, 180)
        alive()
        if os.path.getsize(out) >= len(data):
            raise Failed("the upload was over before: this proves nothing")

        step("the laptop is back")
        lab.sysctl("router", "net.ipv4.ip_forward", "1")
        wait_for("the upload's end", lambda: not upload.running() and not sink.running(), 90)
        if upload.popen.returncode or sink.popen.returncode:
            raise Failed(f"socat: {upload.output()} {sink.output()}")
        with open(out, "rb") as f:
            if hashlib.sha256(f.read()).digest() != hashlib.sha256(data).digest():
                raise Failed("the hashes differ")
        held = lab.culvert_json("status")["held"]
        if held["connections"]:
            raise Failed(f"something is still held: {held}")
        lab.culvert("quit")


story(main)
