#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input: a clear sentence with the remedy, the right exit code, and nothing changed."""
import os
import time

from lab import MANAGER, NOBODY, Failed, Lab, step, story, wait_for


def refused(lab, code, wants, *args, on="laptop"):
    """The command fails with this code, says each of `wants` on stderr, and does so without a stack of noise."""
    done = lab.culvert(*args, on=on, check=False)
    said = done.stderr.strip()
    missing = [w for w in wants if w.lower() not in said.lower()]
    if done.returncode != code or missing or not said:
        raise Failed(f"culvert {' '.join(args)}: exit {done.returncode}, missing {missing} in: {said or '(nothing)'}")
    if len(said.splitlines()) > 6:
        raise Failed(f"culvert {' '.join(args)}: that is no sentence:\n{said}")


def usage(lab):
    step("usage: unknown verb, flag, wrong values; each suggests or explains, exit 2")
    refused(lab, 2, ["conect", "connect"], "conect")
    refused(lab, 2, ["--prot", "--port"], "intercept", "shop", "--prot", "3000")
    refused(lab, 2, ["70000"], "intercept", "shop", "--port", "70000")
    refused(lab, 2, ["http:80"], "intercept", "shop", "--port", "http:80")
    refused(lab, 2, ["invite"], "connect", "--manager", MANAGER)
    refused(lab, 2, ["yes"], "status", "-o", "yes")
    refused(lab, 2, ["on-down"], "intercept", "shop", "--port", "3000", "--on-down", "maybe")
    refused(lab, 2, ["NAME"], "intercept")
    for args in (["--help"], ["connect", "--help"], ["intercept", "--help"], ["--version"], ["completion", "bash"]):
        lab.culvert(*args)


def not_connected(lab):
    step("without a daemon: status says so, the others say the remedy")
    lab.culvert("status")
    refused(lab, 1, ["culvert connect"], "list")
    refused(lab, 1, ["culvert connect"], "intercept", "shop", "--port", "3000:http")
    lab.culvert("quit")


def invites(lab):
    step("invites: none, truncated, damaged, of another role, expired, of another manager, used twice")
    good = open(lab.invite_laptop()).read().strip()
    cases = {"empty": ("", ["invite"]), "truncated": (good[:len(good) // 2], ["truncated"]),
             "damaged": (good[:40] + ("A" if good[40] != "A" else "B") + good[41:], ["damaged"]), "text": ("hello", ["invite"])}
    for name, (text, wants) in cases.items():
        path = lab.write(f"{name}.invite", text)
        refused(lab, 1, wants, "connect", "--manager", MANAGER, "--invite", path)
    refused(lab, 1, ["/no/such"], "connect", "--manager", MANAGER, "--invite", "/no/such")
    refused(lab, 1, ["agent"], "connect", "--manager", MANAGER, "--invite", lab.invite("agent", "web-1"))
    late, made = lab.invite("laptop", "late", "--expires", "1s"), time.time()
    wait_for("the invite's expiry", lambda: time.time() > made + 2.2)  # whole seconds on both sides
    refused(lab, 1, ["expired"], "connect", "--manager", MANAGER, "--invite", late)
    lab.connect()
    lab.culvert("quit")
    lab.start_helper(on="other")
    refused(lab, 1, ["used"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop("ana"), on="other")
    lab.connect()
    lab.culvert("quit")


def silence(lab):
    step("a manager that does not answer: what silence can mean")
    refused(lab, 1, ["10.99.2.2:7401", "no answer"], "connect", "--manager", "10.99.2.2:7401", "--invite", lab.invite_laptop())


def no_helper(lab):
    step("no helper: one sentence and the command that starts it; nothing stays")
    before = lab.laptop_state()
    lab.helper.stop()
    refused(lab, 1, ["culvert-helper"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop())
    if lab.laptop_state() != before:
        raise Failed("something was left")
    lab.start_helper()


def no_tun(lab):
    step("no TUN device on this machine: said, with the remedy")
    lab.helper.stop()
    before = lab.laptop_state()
    socket = f"{lab.dir}/helper-laptop.sock"
    helper = lab.start("laptop", "helper-no-tun", "unshare", "-m", "sh", "-c",
                       f"mount -t tmpfs none /dev/net && exec {lab.bin}/culvert-helper --socket {socket} "
                       f"--state {lab.dir}/helper-state-laptop --allow {NOBODY}")
    wait_for("the helper's socket", lambda: os.path.exists(socket))
    refused(lab, 1, ["/dev/net/tun"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop())
    helper.stop()
    if lab.laptop_state() != before:
        raise Failed("something was left")
    lab.start_helper()


def conflict(lab):
    step("a route conflict is named and refused")
    lab.ip("laptop", "link", "add", "vpn0", "type", "bridge")
    lab.ip("laptop", "addr", "add", "10.244.9.1/24", "dev", "vpn0")
    lab.ip("laptop", "link", "set", "vpn0", "up")
    before = lab.laptop_state()
    refused(lab, 1, ["10.244.0.0/16", "vpn0"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop())
    if lab.laptop_state() != before:
        raise Failed("something was left")
    step("--never-proxy takes the conflicting prefix out")
    lab.connect("--never-proxy", "10.244.0.0/16")
    if "web pod" not in lab.curl("http://web/"):
        raise Failed("the services are not reached")
    lab.culvert("quit")
    lab.ip("laptop", "link", "del", "vpn0")
    step("--also-proxy of the default route and of loopback are refused")
    refused(lab, 1, ["0.0.0.0/0"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop(), "--also-proxy", "0.0.0.0/0")
    refused(lab, 1, ["127.0.0.0/8"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop(), "--also-proxy", "127.0.0.0/8")
    refused(lab, 2, ["10.1.2.3/8"], "connect", "--manager", MANAGER, "--invite", lab.invite_laptop(), "--also-proxy", "10.1.2.3/8")


def intercepts(lab):
    step("intercepts: unknown workload, port, service; several ports need a choice; leave of nothing")
    lab.connect()
    refused(lab, 1, ["shpo", "shop"], "intercept", "shpo", "--port", "3000:http")
    refused(lab, 1, ["htpt", "http", "admin"], "intercept", "shop", "--port", "3000:htpt")
    refused(lab, 1, ["http", "admin"], "intercept", "shop", "--port", "3000")
    refused(lab, 1, ["nothing"], "intercept", "shop", "--service", "nothing", "--port", "3000:http")
    refused(lab, 1, ["elsewhere"], "intercept", "shop", "-n", "elsewhere", "--port", "3000:http")
    refused(lab, 1, ["nothing"], "leave", "nothing")
    if lab.culvert_json("status")["intercepts"]:
        raise Failed("a refused intercept is there")
    lab.culvert("quit")


def configs(lab):
    step("configuration: line and column of a wrong type and an unknown key, of the manager's and an agent's file")
    good = open(lab.manager_config()).read()
    for name, text, wants in (("key.yaml", good + "prefxes: []\n", ["key.yaml:", "prefxes", "prefixes"]),
                              ("type.yaml", good.replace("namespace: shop\ndns", "namespace: [shop]\ndns"), ["type.yaml:6:", "list"]),
                              ("prefix.yaml", good.replace("10.96.0.0/16", "10.96.0.1/16"), ["prefix.yaml:", "10.96.0.1/16"]),
                              ("broken.yaml", good + "a: [\n", ["broken.yaml:"]),
                              ("empty.yaml", "", ["empty.yaml"])):
        done = lab.run("cluster", f"{lab.bin}/culvert-manager", "--config", lab.write(name, text), check=False)
        if done.returncode not in (1, 2) or any(w not in done.stderr for w in wants):
            raise Failed(f"{name}: exit {done.returncode}: {done.stderr}")
    done = lab.run("web", f"{lab.bin}/culvert-agent", "--config", lab.write("agent.yaml", "invite: [1]\n"), check=False)
    if done.returncode not in (1, 2) or "agent.yaml:1:" not in done.stderr:
        raise Failed(f"agent: exit {done.returncode}: {done.stderr}")
    for program in ("culvert-manager", "culvert-agent", "culvert-helper"):
        for args in (["--help"], ["--version"]):
            lab.run("cluster", f"{lab.bin}/{program}", *args)
        if lab.run("cluster", f"{lab.bin}/{program}", "--nonsense", check=False).returncode != 2:
            raise Failed(f"{program} --nonsense is no usage error")
    if os.path.exists("/run/culvert"):
        raise Failed("a program of the lab used the machine's own /run/culvert")


def main():
    with Lab() as lab:
        lab.start_cluster()
        lab.start_helper()
        for part in (usage, not_connected, invites, silence, no_helper, no_tun, conflict, intercepts, configs):
            part(lab)


story(main)
