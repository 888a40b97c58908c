# SPDX-License-Identifier: Apache-2.0
"""The application of two tiers, tests/cluster/tiers.c: services `front` and `back` in a namespace; the front passes `baggage` on."""
import os

import workloads
from kube import HERE
from lab import NOBODY, sh

BACK_IP = "10.96.7.7"


def build(kube):
    program = f"{kube.dir}/tiers"
    if not os.path.exists(program):
        sh("gcc", "-static", "-Os", "-s", "-w", "-o", program, f"{HERE}/tiers.c", "-lcrypto")
    return program


def install(kube, space, version="cluster", replicas=1):
    image = kube.image("tiers", {"/tiers": build(kube)}, ["/tiers"])

    def tier(name, args):
        return workloads.workload(space, name, image, replicas=replicas, container={"args": args})

    workloads.apply(kube, tier("back", ["back", "8080", version]), workloads.service(space, "back", clusterIP=BACK_IP),
                    tier("front", ["front", "8080", BACK_IP, "80"]), workloads.service(space, "front"))
    workloads.ready(kube, space, "deployment/back", "deployment/front")


def local(kube, port, version, on="laptop"):
    """The developer's own version of the back tier."""
    p = kube.start(on, f"back-{version}", build(kube), "back", port, version, user=NOBODY)
    kube.wait_listening(on, port)
    return p
