#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""./demo: what culvert does, as a person would do it, in plain words; on which stage, demo_stages.py knows."""
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from demo_stages import OnKubernetes, Static, say, title, DIM, PLAIN  # noqa: E402
from lab import Failed, NOBODY, sh, wait_for  # noqa: E402


class Demo:
    def __init__(self, stage):
        self.stage, self.lab = stage, stage.lab

    def show(self, where, *argv, expect=0, user=None, contains=None):
        """Types a command in a namespace, shows what it printed, and is not content with anything else."""
        said = " ".join(a if " " not in a else f"'{a}'" for a in argv)
        say(f"{DIM}{where}${PLAIN} {said}")
        done = self.stage.run(where, *argv, user=user)
        text = done.stdout.strip()
        if text:
            say("\n".join(f"    {line}" for line in text.splitlines()))
        ok = (done.returncode == expect) if isinstance(expect, int) else done.returncode != 0
        if not ok or (contains and contains not in text):
            raise Failed(f"'{said}' answered with exit code {done.returncode}, which is not what this demo promises")
        return done

    def laptop(self, *argv, **kw):
        return self.show("laptop", *argv, user=NOBODY, **kw)

    def culvert(self, *argv, **kw):
        return self.laptop("culvert", *argv, **kw)

    def before(self):
        title("1. A cluster, and a laptop that is outside")
        for line in self.stage.about:
            say(line)
        self.laptop("curl", "-sS", "--max-time", "2", "http://web.shop.svc.cluster.local/", expect=None)

    def connect(self):
        title("2. The laptop joins the cluster's network")
        say("The helper is the only part with root's rights; the daemon runs as the user 'nobody'.")
        self.stage.connect(self)
        say("Names and addresses of the cluster are now the laptop's, too:")
        self.laptop("curl", "-sS", "http://web/", contains="hello from the web pod")
        self.laptop("curl", "-sS", "http://shop.shop.svc.cluster.local:81/admin", contains="port 9002")
        for pod in self.stage.pods:
            host = f"[{pod}]" if ":" in pod else pod
            self.laptop("curl", "-sS", f"http://{host}:8080/", contains="hello from the web pod")
        self.laptop("dig", "+short", "SRV", "_http._tcp.web.shop.svc.cluster.local", contains="web.shop.svc")
        for pod in self.stage.pods:
            self.laptop("ping", "-c", "2", "-i", "0.2", pod, contains="0% packet loss")
        say("Everything else stays with the laptop's own resolver:")
        self.laptop("getent", "hosts", "printer.home.lan", contains="10.99.1.77")
        say("A closed port is refused, as it should be, and not swallowed:")
        self.laptop("curl", "-sS", f"http://{self.stage.pods[0]}:9/", expect=7)

    def intercept(self):
        title("3. A request for the shop stops in a debugger on the laptop")
        self.culvert("list")
        self.show("client", "curl", "-sS", f"http://{self.stage.shop}/cart", contains="shop pod")
        self.culvert("intercept", "shop", "--port", "3000:http", contains="127.0.0.1:3000")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cart.c")
        shutil.copy(source, self.lab.dir)
        sh("gcc", "-g", "-O0", "-o", f"{self.lab.dir}/cart", f"{self.lab.dir}/cart.c")
        say("The new version runs under gdb on the laptop, with a breakpoint:")
        commands = ["set pagination off", "set confirm off", "set debuginfod enabled off", "break handle_request", "run",
                    "backtrace", "print path", "delete", "continue"]
        gdb = ["gdb", "-q", "-nx", "-batch"] + [x for c in commands for x in ("-ex", c)] + ["--args", f"{self.lab.dir}/cart", "3000"]
        say(f"{DIM}laptop${PLAIN} gdb --args ./cart 3000      (break handle_request, run)")
        debugger = self.lab.start("laptop", "gdb", *gdb, user=NOBODY, cwd=self.lab.dir)
        self.lab.wait_listening("laptop", 3000)
        self.stage.settled()
        say("Somebody in the cluster asks the shop:")
        self.show("client", "curl", "-sS", "--max-time", "20", f"http://{self.stage.shop}/checkout", contains="hello from the laptop")
        stop = debugger.output()
        for line in stop.splitlines():
            if line.startswith(("Breakpoint 1, ", "#0", "#1", "$1 ")):
                say(f"    gdb: {line}")
        if "$1 = " not in stop or "/checkout" not in stop:
            raise Failed("the request did not stop in the debugger:\n" + stop)
        say("It stopped at the breakpoint, with the real request in hand, and then went on.")
        return debugger

    def fall_back(self, debugger):
        title("4. The process on the laptop is killed: the pod takes over")
        server = wait_for("the debugged server", lambda: [p for p in self.pids("laptop") if self.command(p).endswith("/cart")])
        debugger.kill()
        for pid in server:
            if self.command(pid).endswith("/cart"):
                os.kill(pid, 9)
        wait_for("the server's end", lambda: not self.lab.listening("laptop", 3000))
        self.show("client", "curl", "-sS", f"http://{self.stage.shop}/checkout", contains="shop pod")
        self.culvert("status")

    def pids(self, name):
        return [int(p) for p in sh("ip", "netns", "pids", self.lab.ns(name)).stdout.split()]

    @staticmethod
    def command(pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                return f.read().split(b"\0")[0].decode()
        except OSError:
            return ""

    def leave(self, before):
        title("5. Leave, quit, and nothing is left behind")
        self.culvert("leave", "shop")
        self.culvert("quit")
        self.stage.uninstall(self)
        self.lab.helper.stop()
        if self.lab.laptop_state() != before:
            raise Failed(f"the laptop is not as it was:\n{before}\n{self.lab.laptop_state()}")
        say("Links, routes, rules and resolv.conf of the laptop are as they were, byte for byte.")


def main():
    if "--down" in sys.argv:
        for kind in (Static, OnKubernetes):
            kind().lab.close()
        return
    stage = (OnKubernetes if "--kubernetes" in sys.argv else Static)()
    if os.path.exists(stage.folder):
        raise Failed("a demo is already up: ./demo --down takes it down")
    for end in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal is a Ctrl-C, too
        signal.signal(end, signal.default_int_handler)
    start = time.monotonic()
    lab = stage.lab
    try:
        lab.__enter__()
        demo = Demo(stage)
        stage.up()
        before = lab.laptop_state()
        lab.start_helper()
        demo.before()
        demo.connect()
        demo.fall_back(demo.intercept())
        if "--keep" in sys.argv:
            lab.culvert("leave", "shop")
            stage.play()
            return
        demo.leave(before)
    except BaseException as e:
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(again, signal.SIG_IGN)  # an impatient second one would leave half of it
        if not isinstance(e, KeyboardInterrupt):
            lab.show_logs()
        lab.close()
        raise
    lab.close()
    say(f"\nThat was the demo; it took {time.monotonic() - start:.0f} s. ./demo{' --kubernetes' if stage.kubernetes else ''} --keep leaves it up to play with.")


try:
    main()
except Failed as e:
    print(f"demo: {e}", file=sys.stderr)
    sys.exit(1)
except (KeyboardInterrupt, subprocess.TimeoutExpired) as e:
    print(f"demo: interrupted; everything it made is gone {e if isinstance(e, subprocess.TimeoutExpired) else ''}", file=sys.stderr)
    sys.exit(1)
