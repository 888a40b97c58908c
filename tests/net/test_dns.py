#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The laptop's DNS while connected: the cluster's names of any type, over UDP and TCP; everything else stays at home."""
from lab import Failed, Lab, step, story, wait_for


def dig(lab, *args, check=True):
    return lab.run("laptop", "dig", "+time=2", "+tries=2", *args, check=check).stdout


def main():
    with Lab() as lab:
        lab.up()
        step("A, AAAA, SRV, TXT of the cluster")
        full = "web.shop.svc.cluster.local"
        for want, args in (("10.96.0.20", ("+short", full)), ("fd10:244::10", ("+short", "AAAA", "web6.shop.svc.cluster.local")),
                           (full, ("+short", "SRV", f"_http._tcp.{full}")), ("10.96.0.20", ("+short", "+search", "web"))):
            if want not in dig(lab, *args):
                raise Failed(f"dig {args} did not give {want}")
        step("a large answer: truncated over UDP, whole over TCP")
        if "tc" not in dig(lab, "+ignore", "+noedns", "TXT", "big.shop.svc.cluster.local").split("flags:")[1].split(";")[0].split():
            raise Failed("no truncation bit")
        if dig(lab, "+short", "TXT", "big.shop.svc.cluster.local").count("xxxx11") != 1 and \
           dig(lab, "+tcp", "+short", "TXT", "big.shop.svc.cluster.local").count("11\"") < 1:
            raise Failed("the large answer did not come whole")
        step("a name that is not there is NXDOMAIN, at once")
        if "NXDOMAIN" not in dig(lab, "nothing.shop.svc.cluster.local"):
            raise Failed("no NXDOMAIN")
        step("other names stay with the laptop's own resolver, by its own search list too")
        if "10.99.1.77" not in lab.run("laptop", "getent", "hosts", "printer").stdout:
            raise Failed("printer.home.lan is gone")
        if "192.0.2.80" not in dig(lab, "+short", "example.org"):
            raise Failed("example.org is gone")
        step("without the cluster's DNS a query is not answered with SERVFAIL, and the laptop's own names go on")
        dns = next(p for p in lab.processes if p.name == "dns")
        dns.stop()
        out = dig(lab, full, check=False)
        if "SERVFAIL" in out:
            raise Failed("SERVFAIL for a cluster's name")
        if "10.99.1.77" not in lab.run("laptop", "getent", "hosts", "printer.home.lan").stdout:
            raise Failed("printer.home.lan is gone")
        step("somebody else rewrites resolv.conf while connected: theirs is kept at quit")
        path = f"/etc/netns/{lab.ns('laptop')}/resolv.conf"
        with open(path, "w") as f:
            f.write("nameserver 10.99.1.1\n# a DHCP client was here\n")
        lab.culvert("quit")
        wait_for("the daemon's end", lambda: not lab.daemon_pid())
        if "DHCP client" not in open(path).read():
            raise Failed("another writer's resolv.conf was overwritten")


story(main)
