#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""DNS on a laptop with systemd-resolved: the cluster's names by the TUN's link, short ones too; all else stays at home."""
import os
import signal

from lab import Failed, step, story, wait_for
from resolved import HelperClient, ResolvedLab

FULL = "web.shop.svc.cluster.local"


def dig(lab, *args):
    return lab.run("laptop", "dig", "+time=3", "+tries=2", *args, check=False).stdout


def expect(lab, name, *want, kind="A"):
    got = dig(lab, "+short", kind, name)
    if not all(w in got.split("\n") for w in want):
        raise Failed(f"dig {kind} {name} gave {got!r}, not {want}\n{dig(lab, kind, name)}")


def getent(lab, name):
    return lab.run("laptop", "getent", "ahostsv4", name, check=False).stdout


def names(lab):
    step("NAME, NAME.NAMESPACE, NAME.NAMESPACE.svc and the full name: by dig, getent and resolvectl")
    for name in ("web", "web.shop", "web.shop.svc", FULL):
        if name != "web": # dig asks for it as it is, and resolved sends no single label anywhere
            expect(lab, name, "10.96.0.20")
        if "10.96.0.20" not in getent(lab, name):
            raise Failed(f"getent {name}: {getent(lab, name)!r}")
        if "10.96.0.20" not in lab.resolvectl("query", "-4", name, check=False).stdout:
            raise Failed(f"resolvectl query {name}: {lab.resolvectl('query', '-4', name, check=False)}")
    step("other types, headless services, another namespace, a large answer")
    expect(lab, "web6.shop", "fd10:244::10", kind="AAAA")
    expect(lab, "_http._tcp.web.shop", f"0 0 80 {FULL}.", kind="SRV")
    expect(lab, "db.shop", "10.244.0.41", "10.244.0.42")
    expect(lab, "db-1.db.shop", "10.244.0.42")
    expect(lab, "api.dev", "10.96.0.99")
    if dig(lab, "TXT", "big.shop").count("xxxx") < 12:
        raise Failed(f"a large answer did not come whole:\n{dig(lab, 'TXT', 'big.shop')}")


def home(lab):
    step("a namespace `dev` does not take go.dev away; names of home and of the world stay")
    expect(lab, "go.dev", "192.0.2.81")
    if "192.0.2.81" not in getent(lab, "go.dev"):
        raise Failed("getent go.dev")
    if "NXDOMAIN" not in dig(lab, "nothing.dev"):
        raise Failed(dig(lab, "nothing.dev"))
    expect(lab, "example.org", "192.0.2.80")
    if "10.99.1.77" not in getent(lab, "printer"):
        raise Failed("printer.home.lan is gone")


def as_before(lab, before):
    try:
        wait_for("resolved to be as before", lambda: lab.resolver_state() == before)
    except Failed as e:
        raise Failed(f"{e}\nbefore: {before}\nnow: {lab.resolver_state()}") from None


def main():
    with ResolvedLab() as lab:
        lab.start_cluster()
        lab.start_helper()
        before = lab.resolver_state()
        lab.connect()
        dns = lab.culvert_json("status")["dns"]
        step(f"connected: {dns}")
        if dns["way"] != "resolved" or dns["link"] != "culvert0" or not dns["in_force"]:
            raise Failed("systemd-resolved was not used")
        if "(systemd-resolved, link culvert0)" not in lab.culvert("status").stdout:
            raise Failed(lab.culvert("status").stdout)
        if lab.resolver_state()[2] != before[2]:
            raise Failed("/etc/resolv.conf is another file")
        names(lab)
        home(lab)
        if "web" not in lab.curl("http://web.shop/"):
            raise Failed("http://web.shop/")

        step("the laptop gets other resolvers: they are asked for what is no service")
        lab.ip("router", "addr", "add", "10.99.1.54/24", "dev", "home")
        lab.start("router", "new-dns", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                  "--listen-address=10.99.1.54", "--bind-interfaces", "--address=/go.dev/192.0.2.82", "--user=nobody", "--pid-file")
        lab.resolvectl("dns", "eth0", "10.99.1.54")
        wait_for("the new resolver", lambda: "192.0.2.82" in dig(lab, "+short", "go.dev"))

        step("systemd-resolved is started anew and has forgotten all")
        lab.resolved.kill()
        lab.start_resolved()
        wait_for("the link's domains", lambda: "10.96.0.20" in dig(lab, "+short", "web.shop"))
        names(lab)
        home(lab)

        step("somebody takes the link's settings away: status says so")
        lab.resolvectl("revert", "culvert0")
        if lab.culvert_json("status")["dns"]["in_force"]:
            raise Failed("status tells what it did, not what is")

        step("quit leaves it as it was")
        lab.culvert("quit")
        as_before(lab, before)

        step("SIGKILL of helper and daemon leaves it as it was")
        lab.connect()
        expect(lab, "web.shop", "10.96.0.20")
        os.kill(lab.daemon_pid(), signal.SIGKILL)
        lab.helper.kill()
        as_before(lab, before)

        step("other domains for the same link, in place")
        os.unlink(f"{lab.dir}/helper-laptop.sock") # the killed one's
        lab.start_helper()
        daemon = HelperClient(lab)
        daemon.hello()
        daemon.tun()
        for domains in (["cluster.local", "svc", "shop"], ["cluster.local", "svc", "dev"], [f"team-{i}" for i in range(512)]):
            daemon.dns(["shop.svc.cluster.local", "cluster.local"], domains)
            got = lab.resolvectl("domain", "culvert0").stdout.split(":", 1)[1].split()
            want = ["shop.svc.cluster.local", "cluster.local"] + [f"~{d}" for d in domains if d != "cluster.local"]
            want = want[:256] # what Debian 12's takes
            if sorted(got) != sorted(want):
                raise Failed(f"the link has {got}, not {want}")
        daemon.socket.close()

        step("systemd-resolved does not answer: connected all the same, and told as soon as it does")
        lab.resolved.popen.send_signal(signal.SIGSTOP)
        lab.connect()
        if lab.culvert_json("status")["dns"]["in_force"]:
            raise Failed("in force, with a resolver that is stopped")
        lab.resolved.popen.send_signal(signal.SIGCONT)
        wait_for("the link's settings", lambda: lab.culvert_json("status")["dns"]["in_force"])
        expect(lab, "web.shop", "10.96.0.20")
        lab.culvert("quit")
        as_before(lab, before)


story(main)
