#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of daemon, helper, manager, agent, each alone: the laptop is as it was within 2 s, the rest recovers within 5 s of the restart."""
import os
import signal

from lab import NOBODY, Failed, Lab, step, story, wait_for

CLEAN, BACK = 2.0, 5.0
SLACK = 3.0  # for a machine that builds something else meanwhile
# A server that says one word, and a client that waits for the next.
SILENT = """
import socket, time
s = socket.create_server(("10.244.0.10", 7000))
c, _ = s.accept()
c.sendall(b"open")
time.sleep(600)
"""
WAITING = """
import socket
s = socket.create_connection(("10.244.0.10", 7000))
print(s.recv(9).decode(), flush=True)
s.recv(9)
"""


def answers(lab, want, within=BACK + SLACK):
    wait_for(f"the shop to answer '{want}'", lambda: want in lab.curl("http://10.96.0.21/", where="client", timeout=8), within)


def reaches(lab, within=BACK + SLACK):
    wait_for("the laptop to reach the cluster", lambda: "web pod" in lab.curl("http://web/", timeout=8), within)


def main():
    with Lab() as lab:
        lab.start_cluster()
        before = lab.laptop_state()
        lab.start_helper()
        lab.connect()
        lab.start("laptop", "local", "/usr/bin/python3", f"{lab.dir}/shop.py", "127.0.0.1", "3000", env={"GREETING": "hello from laptop"})
        lab.wait_listening("laptop", 3000)
        lab.culvert("intercept", "shop", "--port", "3000:http")
        answers(lab, "hello from laptop")

        step("agent: killed, its connections end; restarted, the intercept is there")
        lab.agent_shop.kill()
        lab.start_agent("shop")
        answers(lab, "hello from laptop")

        step("manager: killed and restarted; a connection that only receives hears of it")
        lab.start("web", "silent", "/usr/bin/python3", "-c", SILENT)
        lab.wait_listening("web", 7000)
        waiting = lab.start("laptop", "waiting", "/usr/bin/python3", "-c", WAITING)
        wait_for("the connection", lambda: "open" in waiting.output())
        lab.manager.kill()
        lab.start_manager()
        wait_for("its reset", lambda: "ConnectionResetError" in waiting.output(), BACK + SLACK)

        step("manager: killed; the agent serves the pod or the laptop; restarted, exit and intercept are there")
        lab.manager.kill()
        answers(lab, "hello from", 10)
        step("manager: what is typed before the laptop has heard of the new one waits for it")
        typed = lab.start("laptop", "typed", f"{lab.bin}/culvert", "intercept", "shop", "--port", "3000:http", user=NOBODY)
        lab.start_manager()
        lab.culvert("intercept", "shop", "--port", "3000:http")
        if typed.popen.wait(30):
            raise Failed(f"intercept said: {typed.output()}")
        reaches(lab)
        answers(lab, "hello from laptop")

        step("helper: killed; interfaces, routes and DNS are as before; restarted, all is there again")
        lab.helper.kill()
        wait_for("a clean laptop", lambda: lab.laptop_state() == before, CLEAN + SLACK)
        lab.start_helper()
        reaches(lab)
        answers(lab, "hello from laptop")

        step("daemon: killed; the laptop is clean, the pod serves; connected again, the intercept is there")
        os.kill(lab.daemon_pid(), signal.SIGKILL)
        wait_for("a clean laptop", lambda: lab.laptop_state() == before, CLEAN + SLACK)
        answers(lab, "shop pod")
        lab.connect()
        reaches(lab)
        answers(lab, "hello from laptop")

        step("Ctrl-C in connect: nothing stays")
        lab.culvert("quit")
        for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
            argv = ["timeout", "-s", "INT", str(delay or 0.001), f"{lab.bin}/culvert", "connect", "--manager", "10.99.2.2:7400",
                    "--invite", lab.invite_laptop()]
            lab.run("laptop", *argv, user=65534, check=False)
            lab.culvert("quit")
            wait_for("a clean laptop", lambda: lab.laptop_state() == before, CLEAN + SLACK)
            wait_for("the daemon's end", lambda: not lab.daemon_pid(), CLEAN + SLACK)
        if lab.laptop_state() != before:
            raise Failed("something is left")


story(main)
