#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Manager, agent and daemon run as a user without a capability; only the daemon's user may speak to the daemon; ports are on loopback."""
from lab import NOBODY, Failed, Lab, step, story


def status(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def main():
    with Lab() as lab:
        lab.up()
        for name, pid in (("manager", lab.manager.pid), ("agent", lab.agent_web.pid), ("daemon", lab.daemon_pid())):
            s = status(pid)
            step(f"{name}: uid {s['Uid'].split()[0]}, effective capabilities {s['CapEff']}, {s['VmRSS'].strip()} resident")
            if s["Uid"].split()[0] != str(NOBODY) or int(s["CapEff"], 16) or int(s["CapPrm"], 16):
                raise Failed(f"{name} has rights: {s['Uid']} {s['CapEff']}")
        s = status(lab.helper.pid)
        step(f"helper: capabilities {s['CapEff']}, no new privileges: {s['NoNewPrivs']}")
        if s["NoNewPrivs"] != "1" or int(s["CapEff"], 16).bit_count() > 4:
            raise Failed("the helper keeps more than it needs")
        step("another user may not drive the daemon, nor the helper")
        socket = f"{lab.home()}/run/culvert/daemon.sock"
        done = lab.run("laptop", f"{lab.bin}/culvert", "status", user=1234, check=False, env={"CULVERT_SOCKET": socket})
        if "connected" in done.stdout and done.returncode == 0:
            raise Failed("uid 1234 read the daemon's status")
        step("the daemon listens nowhere but on loopback")
        for line in lab.run("laptop", "ss", "-Hltn").stdout.splitlines():
            if not line.split()[3].startswith(("127.", "[::1]")):
                raise Failed(line)
        lab.culvert("quit")


story(main)
