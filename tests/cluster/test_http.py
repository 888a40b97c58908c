#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three laptops at one service of three pods, each by its header, while somebody without one uses it: with curl, h2load and gRPC,
3 x 1,000 requests at their laptop and 1,000 at the pods, none anywhere else."""
import collections
import os
import signal
import subprocess

import grpcapp
import ingress
import installed
import workloads
from kube import Kube
from lab import Failed, step, story, wait_for

SPACE, NAME, EACH = "shop", "web", 1000
PEOPLE = {"laptop": "ana", "other": "ben", "third": "cem"}
# Each answers with a status of its own, since h2load tells no bodies.
STATUS = {"pod": 200, "ana": 201, "ben": 202, "cem": 203}
PORTS = (("http", 8080), ("http2", 8081), ("grpc", 8082))

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/stderr;
events {{ worker_connections 2048; }}
http {{
    access_log off; keepalive_requests 100000; client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen {address}8080; listen {address}8081 http2; location / {{ return {status} "{who}\\n"; }} }}
}}
"""


class Kube3(Kube):
    """A third laptop, in a hotel."""
    NAMES = (*Kube.NAMES, "third")
    LAPTOPS = (*Kube.LAPTOPS, "third")

    def network(self):
        super().network()
        self.veth("third", "eth0", "router", "hotel")
        self.ip("third", "addr", "add", "10.99.4.2/24", "dev", "eth0")
        self.ip("third", "route", "add", "default", "via", "10.99.4.1")
        self.ip("router", "addr", "add", "10.99.4.1/24", "dev", "hotel")


def service_up(kube):
    """nginx and a gRPC server in each of three pods."""
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": SPACE}, "data": {
        "nginx.conf": NGINX.format(folder="/tmp", address="", status=STATUS["pod"], who="pod")}}
    grpc = {"name": "grpc", "image": grpcapp.image(kube), "args": grpcapp.serve("0.0.0.0:8082", "pod"), "ports": [{"name": "grpc", "containerPort": 8082}]}
    made = workloads.workload(SPACE, NAME, ingress.nginx_image(kube), replicas=3, ports=PORTS[:2], container={
        "args": [], "volumeMounts": [{"name": "config", "mountPath": "/etc/nginx"}]}, pod={"volumes": [{"name": "config", "configMap": {"name": NAME}}]})
    made["spec"]["template"]["spec"]["containers"].append(grpc)
    workloads.apply(kube, config, made, workloads.service(SPACE, NAME, ports=[(n, number, n) for n, number in PORTS]))
    workloads.ready(kube, SPACE, f"deployment/{NAME}")


def laptop_up(kube, on):
    """The developer's versions, connected, with the intercept."""
    who = PEOPLE[on]
    folder = f"{kube.dir}/nginx-{who}"
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)
    conf = kube.write(f"nginx-{who}.conf", NGINX.format(folder=folder, address="127.0.0.1:", status=STATUS[who], who=who))
    kube.start(on, f"nginx-{who}", "nginx", "-e", "stderr", "-c", conf)
    grpc = kube.start(on, f"grpc-{who}", grpcapp.program(), *grpcapp.serve("127.0.0.1:8082", who))
    for _, port in PORTS:
        kube.wait_listening(on, port)
    workloads.developer(kube, who, SPACE, on=on)
    workloads.connected(kube, on)
    ports = [f for name, number in PORTS for f in ("--port", f"{number}:{name}")]
    # hold: to an agent, a laptop on a machine that stands still for 1.5 s is one that is silent, and pods would answer.
    kube.culvert("intercept", NAME, *ports, "--http-match", f"x-user={who}", "--on-down", "hold", on=on, timeout=120)
    return grpc


def settle(kube, ip):
    """The first intercept held a rollout; the node follows up to a second later."""
    workloads.settled_pods(kube, SPACE, NAME)
    for who in PEOPLE.values():
        wait_for(f"{who}'s requests at the laptop", lambda w=who: set(run_all({w: curl(kube, ip, w, 30)}, curl_said)[w]) == {w})


# --- the clients: argv for somebody's requests, and who answered them --------------------------------------------


def field(who, option="-H", form="x-user: {}"):
    return [option, form.format(who)] if who != "pod" else []


def on_node(kube, *argv):
    return kube.argv("cluster", argv, None)


def curl(kube, ip, who, count=EACH):
    return on_node(kube, "curl", "-sS", "-m", "60", "--parallel", "--parallel-immediate", "--parallel-max", "8", *field(who), "-o", "/dev/null", "-w", "%{http_code}\\n",
                   f"http://{ip}:8080/[1-{count}]")


def curl_said(out, _):
    return collections.Counter(name_of(int(line)) for line in out.split())


def h2load(kube, ip, who):
    log = f"{kube.dir}/h2load-{who}"
    if os.path.exists(log):
        os.unlink(log)
    return on_node(kube, "h2load", "-n", str(EACH), "-c", "6", "-m", "8", "-t", "1", *field(who), f"--log-file={log}", f"http://{ip}:8081/")


def h2load_said(kube):
    def said(_, who):
        with open(f"{kube.dir}/h2load-{who}") as f:
            return collections.Counter(name_of(int(line.split()[1])) for line in f)
    return said


def grpc_client(kube, ip, who, kind, count=EACH):
    return on_node(kube, *grpcapp.ask(f"{ip}:8082", kind, count, *field(who, None, "x-user={}")[1:]))


def grpc_said(out, _):
    return grpcapp.said(out)


def name_of(status):
    return next((who for who, s in STATUS.items() if s == status), f"status {status}")


def run_all(clients, said):
    """All at once; {who: {who answered: how often}}."""
    running = {who: subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for who, argv in clients.items()}
    found = {}
    for who, p in running.items():
        out, err = p.communicate(timeout=120)
        if p.returncode:
            raise Failed(f"{who}'s client ended with {p.returncode}: {err[-800:]}{out[-800:]}")
        found[who] = said(out, who)
    return found


def everybody(kube, what, client, said):
    step(f"{what}: {len(PEOPLE)} x {EACH} requests with a header, {EACH} without")
    found = run_all({who: client(who) for who in STATUS}, said)
    wrong = {who: dict(got) for who, got in found.items() if dict(got) != {who: EACH}}
    if wrong:
        raise Failed(f"{what}: answered by others, or not at all (who asked: who answered): {wrong}")


def grpc_streams(kube, ip, stopped):
    step("gRPC streams that match wait for a laptop that stands still; those that do not match never do")
    stopped.popen.send_signal(signal.SIGSTOP)
    try:
        held = subprocess.Popen(grpc_client(kube, ip, "ana", "bidi", 1), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for kind in grpcapp.KINDS:
            got = run_all({"pod": grpc_client(kube, ip, "pod", kind, 100)}, grpc_said)["pod"]
            if dict(got) != {"pod": 100}:
                raise Failed(f"{kind}, while a laptop stands still: {dict(got)}")
        if held.poll() is not None:
            raise Failed(f"the stream to the laptop that stands still has ended: {held.communicate()}")
    finally:
        stopped.popen.send_signal(signal.SIGCONT)
    out, err = held.communicate(timeout=60)
    if dict(grpcapp.said(out.decode())) != {"ana": 1}:
        raise Failed(f"after the laptop went on: {out} {err}")


def counted(kube):
    step("status says how many requests arrived")
    for on, who in PEOPLE.items():
        def enough(on=on):
            i = kube.culvert_json("status", on=on)["intercepts"][0]
            return i.get("requests", 0) >= EACH * (2 + len(grpcapp.KINDS))
        wait_for(f"{who}'s count", enough)


def main():
    with Kube3() as kube:
        step(f"a service of three pods; {', '.join(PEOPLE.values())} intercept it by a header each")
        kube.up()
        installed.install(kube, group=workloads.GROUP)
        workloads.apply(kube, workloads.namespace(SPACE))
        service_up(kube)
        grpc = {PEOPLE[on]: laptop_up(kube, on) for on in PEOPLE}
        ip = workloads.cluster_ip(kube, SPACE, NAME)
        settle(kube, ip)
        everybody(kube, "curl", lambda who: curl(kube, ip, who), curl_said)
        everybody(kube, "h2load", lambda who: h2load(kube, ip, who), h2load_said(kube))
        for kind in grpcapp.KINDS:
            everybody(kube, f"gRPC, {kind}", lambda who, k=kind: grpc_client(kube, ip, who, k), grpc_said)
        grpc_streams(kube, ip, grpc["ana"])
        counted(kube)
        step("who leaves gives back his own alone")
        kube.culvert("leave", NAME, on="other")
        wait_for("ben's requests at the pods", lambda: set(run_all({"ben": curl(kube, ip, "ben", 30)}, curl_said)["ben"]) == {"pod"})
        found = run_all({"ana": curl(kube, ip, "ana", 100), "cem": curl(kube, ip, "cem", 100)}, curl_said)
        if any(set(got) != {who} for who, got in found.items()):
            raise Failed(f"after ben left: {found}")


if __name__ == "__main__":
    story(main)
