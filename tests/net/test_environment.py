#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The workload's environment: for a command, in a file, as JSON; the command's exit code; leave afterwards."""
import json
import signal

from lab import NOBODY, Failed, Lab, step, story, wait_for


def main():
    with Lab() as lab:
        lab.up()
        step("a command gets the pod's environment and its exit code comes back; the intercept is gone afterwards")
        done = lab.culvert("intercept", "shop", "--port", "3000:http", "--", "sh", "-c", "echo $DATABASE_URL; exit 7", check=False)
        if done.returncode != 7 or "postgres://db.shop.svc.cluster.local/shop" not in done.stdout:
            raise Failed(f"exit {done.returncode}: {done.stdout}{done.stderr}")
        if lab.culvert_json("status")["intercepts"]:
            raise Failed("the intercept stayed")

        step("a command ended by a signal: 128 + its number")
        done = lab.culvert("intercept", "shop", "--port", "3000:http", "--", "sh", "-c", "kill -TERM $$", check=False)
        if done.returncode != 128 + signal.SIGTERM:
            raise Failed(f"exit {done.returncode}")

        step("a command that does not exist: 127, and no intercept is left")
        done = lab.culvert("intercept", "shop", "--port", "3000:http", "--", "/no/such/program", check=False)
        if done.returncode != 127 or "/no/such/program" not in done.stderr or lab.culvert_json("status")["intercepts"]:
            raise Failed(f"exit {done.returncode}: {done.stderr}")

        step("while it runs it serves; Ctrl-C ends it and leaves")
        run = lab.start("laptop", "run", f"{lab.bin}/culvert", "intercept", "shop", "--port", "3000:http", "--",
                        "/usr/bin/python3", f"{lab.dir}/shop.py", "127.0.0.1", "3000", user=NOBODY)
        wait_for("the laptop's answer", lambda: "hello from the shop pod port 3000" in lab.curl("http://10.96.0.21/", where="client"))
        run.popen.send_signal(signal.SIGINT)
        wait_for("the command's end", lambda: not run.running())
        wait_for("the pod's answer", lambda: "port 9001" in lab.curl("http://10.96.0.21/", where="client"))
        if lab.culvert_json("status")["intercepts"]:
            raise Failed("the intercept stayed after Ctrl-C")

        step("--env-file and --env-json")
        files = f"{lab.home()}/env", f"{lab.home()}/env.json"
        lab.culvert("intercept", "shop", "--port", "3000:http", "--env-file", files[0], "--env-json", files[1])
        if "DATABASE_URL=postgres://db.shop.svc.cluster.local/shop" not in open(files[0]).read().splitlines():
            raise Failed(open(files[0]).read())
        if json.load(open(files[1]))["GREETING"] != "hello from the shop pod":
            raise Failed(open(files[1]).read())
        lab.culvert("quit")


story(main)
