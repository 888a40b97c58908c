#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the command line says while things are not as they should be, and several of it at once."""
import os
import signal
import subprocess

from lab import MANAGER, NOBODY, Failed, Lab, step, story, wait_for


def expect(what, *texts, absent=()):
    for text in texts:
        if text not in what:
            raise Failed(f"'{text}' is missing in:\n{what}")
    for text in absent:
        if text in what:
            raise Failed(f"'{text}' is in:\n{what}")


def start(lab, *args, **kw):
    """The user's command, while others run."""
    return subprocess.Popen(lab.argv("laptop", [f"{lab.bin}/culvert", *args], NOBODY), env=lab.env(), text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def interrupted(lab):
    step("quit and status right after a connect that was interrupted: there is none, and that is no failure")
    for command, wants in (("quit", ("Disconnected", "Not connected")), ("status", ("not running", "quitting"))) * 3:
        connect = start(lab, "connect", "--manager", "10.99.2.2:7401", "--invite", lab.invite_laptop())
        wait_for("the call", lambda: "Calling the manager" in (connect.stdout.readline() or "Calling the manager"))
        connect.send_signal(signal.SIGINT)
        connect.wait(10)
        said = lab.culvert(command).stdout
        if not any(w in said for w in wants):
            raise Failed(said)
        wait_for("the daemon's end", lambda: not lab.daemon_pid())


def several(lab):
    step("two connects at once and two quits at once succeed")
    both = [start(lab, "connect", "--manager", MANAGER, "--invite", lab.invite_laptop()) for _ in range(2)]
    out = [p.communicate(timeout=20)[0] for p in both]
    if not any(p.returncode == 0 for p in both) or any(p.returncode and "under way" not in o for p, o in zip(both, out)):
        raise Failed("\n".join(out))
    lab.culvert("intercept", "shop", "--port", "3000:http")
    both = [start(lab, "quit") for _ in range(2)]
    out = [p.communicate(timeout=20)[0] for p in both]
    if any(p.returncode for p in both):
        raise Failed("\n".join(out))
    wait_for("the daemon's end", lambda: not lab.daemon_pid())


def leaks(lab):
    step("the daemon keeps nothing that a script holds open")
    r, w = os.pipe()
    connect = start(lab, "connect", "--manager", MANAGER, "--invite", lab.invite_laptop(), pass_fds=[w])
    os.close(w)
    if connect.wait(20):
        raise Failed(connect.stdout.read())
    os.set_blocking(r, False)
    if os.read(r, 1) != b"":
        raise Failed("somebody wrote")
    os.close(r)


def texts(lab):
    step("DNS is in force, and not when somebody rewrote resolv.conf")
    expect(lab.culvert("status").stdout, "-> 10.96.0.10 (/etc/resolv.conf)", absent=("Warning",))
    path = f"/etc/netns/{lab.ns('laptop')}/resolv.conf"
    ours = open(path).read()
    with open(path, "w") as f:
        f.write("nameserver 10.99.1.1\n")
    expect(lab.culvert("status").stdout, "not in force", "changed by somebody else")
    with open(path, "w") as f:
        f.write(ours)
    expect(lab.culvert("status").stdout, "-> 10.96.0.10 (/etc/resolv.conf)", absent=("Warning",))

    step("routes that are gone are not listed")
    lab.ip("laptop", "route", "del", "10.96.0.0/16")
    expect(lab.culvert("status").stdout, ": 10.244.0.0/16, fd10:244::/64 (culvert", "1 of 3 routes")
    lab.helper.kill()
    wait_for("the daemon to notice", lambda: "culvert-helper" in lab.culvert("status").stdout)
    socket = f"{lab.dir}/helper-laptop.sock"
    expect(lab.culvert("status").stdout, "Routes          : none in force", "10.96.0.10 (not in force)",
           f"with: sudo culvert-helper --allow {NOBODY} --socket {socket}")
    os.unlink(socket)
    lab.start_helper()
    wait_for("the routes", lambda: ": 10.96.0.0/16, 10.244.0.0/16, fd10:244::/64 (culvert" in lab.culvert("status").stdout)
    expect(lab.culvert("status").stdout, "-> 10.96.0.10 (/etc/resolv.conf)", absent=("Warning",))

    step("a workload without an agent can be intercepted: the intercept waits")
    expect(lab.culvert("list").stdout, "shop ready to intercept", "web  no agent is connected: an intercept waits until one is")
    expect(lab.culvert("intercept", "web", "--port", "3001").stdout, "WAITING")
    lab.culvert("leave", "web")

    step("one connection is one connection")
    lab.culvert("intercept", "shop", "--port", "3000:http")
    serve = lab.start("laptop", "serve", "/usr/bin/python3", f"{lab.dir}/shop.py", "127.0.0.1", "3000", user=NOBODY)
    lab.wait_listening("laptop", 3000)
    lab.curl("http://10.96.0.21/", where="client")
    expect(lab.culvert("status").stdout, "ACTIVE, 1 connection\n")
    serve.stop()

    step("a name that cannot be one is wrong usage")
    done = lab.culvert("intercept", "a b", "--port", "3000", check=False)
    if done.returncode != 2:
        raise Failed(f"exit {done.returncode}: {done.stderr}")

    step("a manager that died a moment ago is not called connected")
    lab.manager.popen.send_signal(signal.SIGSTOP)
    try:
        expect(lab.culvert("status").stdout, "does not answer", "Warning", absent=("connected,",))
    finally:
        lab.manager.popen.send_signal(signal.SIGCONT)
    wait_for("the manager", lambda: "connected," in lab.culvert("status").stdout)


def main():
    with Lab() as lab:
        lab.start_dns()
        lab.start_apps()
        lab.start_manager()
        lab.start_agent("shop")  # and none for web
        lab.start_helper()
        interrupted(lab)
        several(lab)
        leaks(lab)
        texts(lab)
        lab.culvert("quit")


story(main)
