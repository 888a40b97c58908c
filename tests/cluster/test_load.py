#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Five replicas under load: no request is lost in the rolling restart, all come to the laptop then, none after leave."""
import workloads as w
from kube import Kube
from lab import Failed, step, story

SPACE, RATE, MANY = "shop", 200, 500
PRESTOP = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}}


def by_whom(stream):
    """{who: how many} of a stream that lost nothing."""
    found = {}
    for answer, n in stream.items():
        if answer.startswith("failed") and n:
            raise Failed(f"{n} of {sum(stream.values())} requests {answer}")
        found[answer.split()[0]] = found.get(answer.split()[0], 0) + n
    found.pop("failed")
    return found


def main():
    with Kube() as kube:
        image = w.prepared(kube, SPACE)
        w.apply(kube, w.service(SPACE, "cart"), w.workload(SPACE, "cart", image, replicas=5, container=PRESTOP, pod={"terminationGracePeriodSeconds": 10}),
                w.client(SPACE, image))
        w.developer(kube, "ana", SPACE)
        w.ready(kube, SPACE, "deployment/cart", "pod/client")
        w.connected(kube)
        w.local(kube, 3000)
        w.settled(kube, SPACE, "cart", "cart")  # until the node's proxy knows the pods it refuses, whoever asks
        step(f"{RATE} requests per second while the first intercept brings the agents: none fails")
        stream = w.Stream(kube, SPACE, "cart", RATE)
        kube.culvert("intercept", "cart", "--port", "3000", timeout=130)
        w.settled(kube, SPACE, "cart", "laptop")
        found = by_whom(stream.stop())
        step(f"of {sum(found.values())} requests during the rollout 0 failed: {found}")
        if set(found) != {"cart", "laptop"} or found["cart"] < RATE:
            raise Failed("that was no rollout under load")
        pods = kube.get("-n", SPACE, "intercepts.culvert.dev")["items"][0]["status"]
        if (pods["agents"], pods["endpoints"]) != (5, 5):
            raise Failed(f"the intercept's status is {pods}")
        step(f"{w.all_at(kube, SPACE, 'cart', 'laptop', count=MANY, rate=RATE)}, of five pods")
        step(f"{RATE} requests per second while it is left: none fails, and afterwards none comes to the laptop")
        stream = w.Stream(kube, SPACE, "cart", RATE)
        kube.culvert("leave", "cart")
        found = w.ask(kube, SPACE, "cart", count=MANY, rate=RATE)
        if found != {"cart": MANY}:
            raise Failed(f"after leave they were answered by {found}")
        step(f"{MANY} requests, {MANY} answered by the pods; meanwhile: {by_whom(stream.stop())}")
        step("the second intercept, under load, needs no restart")
        before = {p["metadata"]["uid"] for p in kube.get("-n", SPACE, "pods", "-l", "app=cart")["items"]}
        stream = w.Stream(kube, SPACE, "cart", RATE)
        kube.culvert("intercept", "cart", "--port", "3000")
        found = w.ask(kube, SPACE, "cart", count=MANY, rate=RATE)
        if found != {"laptop": MANY}:
            raise Failed(f"after the second intercept they were answered by {found}")
        by_whom(stream.stop())
        if before != {p["metadata"]["uid"] for p in kube.get("-n", SPACE, "pods", "-l", "app=cart")["items"]}:
            raise Failed("pods were replaced")
        step("a rollout while intercepted, under load: none fails, all at the laptop again")
        stream = w.Stream(kube, SPACE, "cart", RATE)
        kube.kubectl("-n", SPACE, "rollout", "restart", "deployment/cart")
        kube.rollout("deployment/cart", SPACE)
        w.settled(kube, SPACE, "cart", "laptop")
        step(f"meanwhile: {by_whom(stream.stop())}")
        step(w.all_at(kube, SPACE, "cart", "laptop", count=MANY, rate=RATE))
        step("agents go with uninstall --agents, under load: none fails")
        kube.culvert("leave", "cart")
        stream = w.Stream(kube, SPACE, "cart", RATE)
        kube.culvert("uninstall", "--agents", "cart", "-n", SPACE, timeout=130)
        kube.rollout("deployment/cart", SPACE)
        step(f"meanwhile: {by_whom(stream.stop())}")
        kube.culvert("quit")
        w.left_nothing(kube, SPACE)


story(main)
