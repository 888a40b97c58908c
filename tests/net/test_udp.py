#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Taking over a UDP port: a name server beside the shop, and one on the laptop that answers in its place."""
import os
import signal

from lab import Failed, Lab, step, story, wait_for

SERVICE = "10.96.0.21"

# Answers each datagram with its own name before it.
ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind((sys.argv[1], int(sys.argv[2])))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(sys.argv[3].encode() + data, peer)
"""

# Many flows at once from one program: each socket asks by its own number, then all answers are read. Prints who answered each.
ASK = """
import socket, sys
flows = []
for i in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(3)
    s.connect((sys.argv[1], int(sys.argv[2])))  # an answer from another address is not taken
    flows.append((s, b"|%d|" % i + bytes(b % 251 for b in range(int(sys.argv[4])))))
for s, question in flows:
    s.send(question)
for s, question in flows:
    try:
        answer = s.recv(65536)
    except OSError as e:
        print("nothing", e)
        continue
    who = answer[:answer.index(b"|")]
    print(who.decode() if answer[len(who):] == question else "damaged")
"""


class UdpLab(Lab):
    AGENTS = {**Lab.AGENTS, "shop": Lab.AGENTS["shop"] + [("0.0.0.0:53", "10.244.0.11:5300", "udp"),
                                                          ("0.0.0.0:7", "10.244.0.11:7000", "udp")]}

    def manager_config(self, extra=""):
        path = super().manager_config(extra)
        with open(path) as f:
            text = f.read()
        admin = "          - {name: admin, port: 81, target: 81}\n"
        if admin not in text:
            raise Failed(text)
        return self.write("manager.yaml", text.replace(admin, admin + """\
          - {name: dns, port: 53, target: 53, protocol: udp}
          - {name: echo, port: 7, target: 7, protocol: udp}
"""))

    def nameserver(self, where, address, port, answer):
        text = ",".join(f"{answer}{'x' * 240}{i}" for i in range(12))
        p = self.start(where, f"dns-{where}", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                       f"--listen-address={address}", f"--port={port}", "--bind-interfaces", f"--address=/who.test/{answer}",
                       f"--txt-record=big.test,{text}", "--edns-packet-max=4096", "--user=nobody", "--pid-file")
        self.wait_listening(where, port, udp=True)
        return p

    def echo(self, where, address, port, label):
        p = self.start(where, label, "/usr/bin/python3", "-c", ECHO, address, str(port), label)
        self.wait_listening(where, port, udp=True)
        return p

    def dig(self, *args):
        return self.run("client", "dig", "+short", "+tries=1", "+timeout=3", "+notcp", "+ignore", "+bufsize=4096", f"@{SERVICE}", *args,
                        check=False).stdout

    def ask(self, flows=1, size=0):
        return self.run("client", "/usr/bin/python3", "-c", ASK, SERVICE, "7", str(flows), str(size)).stdout.split()


def expect(what, got, want):
    if got != want:
        raise Failed(f"{what}: {got!r} in place of {want!r}")


def main():
    with UdpLab() as lab:
        lab.nameserver("shop", "10.244.0.11", 5300, "192.0.2.1")
        lab.echo("shop", "10.244.0.11", 7000, "pod")
        lab.up()
        lab.wait_listening("shop", 53, udp=True)

        step("no intercept: the pod answers, from the address that was asked")
        expect("dig", lab.dig("who.test"), "192.0.2.1\n")
        expect("a large answer", len(lab.dig("big.test", "TXT")) > 2800, True)
        expect("50 flows", lab.ask(50, 10), ["pod"] * 50)

        step("by number and protocol; two flows and more at once")
        dns = lab.nameserver("laptop", "127.0.0.1", 5353, "192.0.2.2")
        echo = lab.echo("laptop", "127.0.0.1", 7001, "laptop")
        out = lab.culvert("intercept", "shop", "--port", "5353:53/udp", "--port", "7001:echo").stdout
        if "all UDP datagrams" not in out or "all UDP datagrams" not in lab.culvert("status").stdout:
            raise Failed(out)
        wait_for("the laptop's answer", lambda: lab.dig("who.test") == "192.0.2.2\n")
        expect("2 flows", lab.ask(2, 10), ["laptop"] * 2)
        expect("200 flows", lab.ask(200, 100), ["laptop"] * 200)

        step("larger than the MTU: inner fragments, and whole datagrams at both ends")
        expect("a large answer", "192.0.2.2" in lab.dig("big.test", "TXT"), True)
        for size in (1300, 1400, 4000, 20000, 60000):
            expect(f"{size} bytes", lab.ask(1, size), ["laptop"])
        expect("several large ones", lab.ask(5, 9000), ["laptop"] * 5)

        step("nobody listens on the laptop: the pod, and not one question is lost; then the laptop again")
        dns.stop()
        echo.stop()
        expect("dig", lab.dig("who.test"), "192.0.2.1\n")
        expect("5 flows", lab.ask(5, 10), ["pod"] * 5)
        echo = lab.echo("laptop", "127.0.0.1", 7001, "laptop")
        wait_for("the laptop's answer", lambda: lab.ask(1, 10) == ["laptop"])

        step("the laptop dies: the pod")
        pid = lab.daemon_pid()
        os.kill(pid, signal.SIGSTOP)  # asleep: silent, and nobody is told
        wait_for("the pod's answer", lambda: lab.ask(1, 10) == ["pod"])
        expect("3 flows", lab.ask(3, 10), ["pod"] * 3)
        os.kill(pid, signal.SIGCONT)
        wait_for("the laptop's answer", lambda: lab.ask(1, 10) == ["laptop"], 60)
        os.kill(pid, signal.SIGKILL)
        wait_for("the pod's answer", lambda: lab.ask(1, 10) == ["pod"])
        lab.connect()
        wait_for("the laptop's answer", lambda: lab.ask(1, 10) == ["laptop"])

        step("--on-down=fail: nobody answers in its place")
        lab.culvert("intercept", "shop", "--port", "7001:7", "--on-down", "fail")
        echo.stop()
        wait_for("no answer", lambda: lab.ask(1, 10)[0] == "nothing")
        expect("the port that was given back", lab.dig("who.test"), "192.0.2.1\n")

        step("leave: the pod serves again")
        lab.culvert("leave", "shop")
        wait_for("the pod's answer", lambda: lab.ask(1, 10) == ["pod"])
        lab.culvert("quit")


story(main)
