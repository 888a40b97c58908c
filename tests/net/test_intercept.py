#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Taking over a service: by name and number, moved, clashing, falling back to the pod, after a restart of anything."""
from lab import Failed, Lab, step, story, wait_for


def expect(lab, want, url="http://10.96.0.21/"):
    """The answer of the service as the cluster sees it; a change may take a moment to reach the agent."""
    wait_for(f"{url} to answer with '{want}'", lambda: want in lab.curl(url, where="client"))


def local_server(lab, port, label, on="laptop"):
    p = lab.start(on, label, "/usr/bin/python3", f"{lab.dir}/shop.py", "127.0.0.1", str(port), env={"GREETING": f"hello from {label}"})
    lab.wait_listening(on, port)
    return p


def main():
    with Lab() as lab:
        lab.up()
        local = local_server(lab, 3000, "laptop")

        step("by port name; the report names it")
        out = lab.culvert("intercept", "shop", "--port", "3000:http").stdout
        for want in ("Using Deployment shop", "Intercept name         : shop", "State                  : ACTIVE", "127.0.0.1:3000",
                     "Service Port Identifier: http", "all TCP connections"):
            if want not in out:
                raise Failed(f"'{want}' is missing in:\n{out}")
        expect(lab, "hello from laptop")
        expect(lab, "shop pod port 9002", "http://10.96.0.21:81/")

        step("list and status tell it")
        if "intercepted by ana" not in lab.culvert("list").stdout:
            raise Failed(lab.culvert("list").stdout)
        status = lab.culvert("status").stdout
        if "shop: deployment/shop port http -> 127.0.0.1:3000" not in status:
            raise Failed(status)

        step("intercepting again with another port moves it")
        lab.culvert("intercept", "shop", "--port", "3000:81")
        expect(lab, "hello from laptop", "http://10.96.0.21:81/")
        expect(lab, "shop pod port 9001")
        if len(lab.culvert_json("status")["intercepts"]) != 1:
            raise Failed("there are two intercepts now")

        step("a second laptop meets the holder's name, and may take the other port")
        lab.start_helper(on="other")
        lab.connect(on="other")
        local_server(lab, 3000, "ben", on="other")
        done = lab.culvert("intercept", "shop", "--port", "3000:admin", on="other", check=False)
        if done.returncode != 1 or "ana" not in done.stderr:
            raise Failed(f"exit {done.returncode}: {done.stderr}")
        lab.culvert("intercept", "shop", "--port", "3000:http", on="other")
        expect(lab, "hello from ben")
        expect(lab, "hello from laptop", "http://10.96.0.21:81/")
        lab.culvert("quit", on="other")
        expect(lab, "shop pod port 9001")

        step("nothing listens on the laptop: the pod serves; it listens again: the laptop serves")
        local.stop()
        expect(lab, "shop pod", "http://10.96.0.21:81/")
        local = local_server(lab, 3000, "laptop")
        expect(lab, "hello from laptop", "http://10.96.0.21:81/")

        step("--on-down=fail: no pod behind it")
        lab.culvert("intercept", "shop", "--port", "3000:81", "--on-down", "fail")
        local.stop()
        wait_for("a failing request", lambda: lab.run("client", "curl", "-sS", "--max-time", "5", "http://10.96.0.21:81/",
                                                      check=False).returncode != 0)
        step("--namespace without --workload names it NAME-NAMESPACE; with --workload the name stays")
        lab.culvert("leave", "shop")
        local_server(lab, 3001, "laptop")
        out = lab.culvert("intercept", "shop", "-n", "shop", "--port", "3001:http").stdout
        if "Intercept name         : shop-shop" not in out:
            raise Failed(out)
        lab.culvert("leave", "shop-shop")
        out = lab.culvert("intercept", "mine", "--workload", "shop", "-n", "shop", "--port", "3001:http").stdout
        if "Intercept name         : mine" not in out:
            raise Failed(out)
        expect(lab, "hello from laptop")

        step("leave: the pod serves again")
        lab.culvert("leave", "mine")
        expect(lab, "shop pod port 9001")
        lab.culvert("quit")


story(main)
