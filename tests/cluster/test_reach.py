#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A developer's morning, in a shell on the laptop: install, connect, and everything in the cluster is within reach, a database with 1 GiB each way too."""
import installed
import postgres
from kube import DNS, Kube
from lab import NOBODY, Failed, step, story
from workloads import apply, namespace, page, ready, service, workload

SPACE, ROWS, WIDTH = "shop", 1 << 20, 1023  # 1 GiB with the line ends

# As namespaces of the level "restricted" want it.
POD = {"securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}}
CONTAINER = page("hostname") | {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}


class Shell:
    """The laptop's, of its owner."""

    def __init__(self, kube):
        self.kube = kube

    def __call__(self, text, user=NOBODY, timeout=60):
        print(f"    $ {text}", flush=True)
        return self.kube.run("laptop", "sh", "-ec", text, user=user, timeout=timeout).stdout.strip()

    def says(self, text, *wanted, **kw):
        said = self(text, **kw)
        if said not in wanted:
            raise Failed(f"{text}\nsaid {said!r}, and not {' or '.join(repr(w) for w in wanted)}")


def names_and_addresses(kube, shell):
    step("by name, ClusterIP and pod IP")
    pods = {p["metadata"]["name"]: p["status"]["podIP"] for p in kube.get("-n", SPACE, "pods", "-l", "app=cart")["items"]}
    ip = kube.get("-n", SPACE, "service", "cart")["spec"]["clusterIP"]
    for host in ("cart", "cart.shop", "cart.shop.svc", "cart.shop.svc.cluster.local", ip):
        shell.says(f"curl -sS -m 10 http://{host}", *pods)
    for name, address in pods.items():
        shell.says(f"curl -sS -m 10 http://{address}:8080", name)
    step("headless names: all pods behind one, each pod by its own")
    for name in ("carts", "carts.shop.svc.cluster.local"):
        shell.says(f"getent ahostsv4 {name} | cut -d' ' -f1 | sort -u | xargs", " ".join(sorted(pods.values())))
    for name, address in pods.items():
        shell.says(f"dig +short {name}.carts.shop.svc.cluster.local", address)
        shell.says(f"curl -sS -m 10 http://{name}.carts:8080", name)
    step("SRV, PTR, TCP, and names that are not there")
    shell.says("dig +short SRV _http._tcp.cart.shop.svc.cluster.local", "0 100 80 cart.shop.svc.cluster.local.")
    shell.says("dig +short SRV _http._tcp.carts.shop.svc.cluster.local | cut -d' ' -f3,4 | sort | xargs",
               " ".join(f"8080 {name}.carts.shop.svc.cluster.local." for name in sorted(pods)))
    shell.says("dig +tcp +short cart.shop.svc.cluster.local", ip)
    shell.says(f"dig +short @{DNS} cart.shop.svc.cluster.local", ip)
    shell.says("dig nobody.shop.svc.cluster.local | grep -o NXDOMAIN", "NXDOMAIN")
    step("the home's names stay the home's")
    shell.says("dig +short printer.home.lan", "10.99.1.77")
    shell.says("getent hosts printer | cut -d' ' -f1", "10.99.1.77")
    step("ping a pod")
    for address in pods.values():
        shell.says(f"ping -n -c 3 -i 0.2 -W 5 {address} | grep -o '3 received'", "3 received")


def database(kube, shell):
    step("psql into PostgreSQL: 1 GiB there and back, its checksum taken before, in the pod, and after")
    psql = " ".join(postgres.psql() + ["-h", "db", "-U", "shop", "-d", "postgres"])

    def sql(text):
        return shell(f'{psql} -c "{text}"', user=None, timeout=300)

    if "PostgreSQL 15" not in (said := sql("SELECT version()")):
        raise Failed(f"psql said {said}")
    sql("CREATE UNLOGGED TABLE box (line text)")
    # Lines that no part of the way could shorten, the same in every run.
    made = (f"openssl enc -aes-128-ctr -K 00 -iv 00 -nosalt -in /dev/zero 2>/dev/null | base64 -w {WIDTH} | head -n {ROWS}")
    sums = [shell(f"mkfifo {kube.dir}/sum; sha256sum <{kube.dir}/sum >{kube.dir}/before & {made} | tee {kube.dir}/sum | "
                  f"{psql} -c 'COPY box FROM STDIN'; wait; cat {kube.dir}/before", user=None, timeout=300)]
    sql("COPY box TO PROGRAM 'sha256sum >/data/sum'")
    sums.append(kube.kubectl("-n", SPACE, "exec", "db", "--", "cat", "/data/sum").stdout.strip())
    sums.append(shell(f"{psql} -c 'COPY box TO STDOUT' | tee {kube.dir}/after | sha256sum; test $(stat -c %s {kube.dir}/after) = {1 << 30}", user=None,
                      timeout=300))
    if len(set(sums)) != 1 or len(sums[0].split()[0]) != 64:
        raise Failed(f"checksums: {sums}")
    step(f"all three: {sums[0].split()[0]}")


def main():
    with Kube() as kube:
        kube.up()
        shell = Shell(kube)
        apply(kube, namespace(SPACE, **{"pod-security.kubernetes.io/enforce": "restricted"}), service(SPACE, "cart"),
              service(SPACE, "carts", [("http", 8080, "http")], {"app": "cart"}, clusterIP="None"),
              workload(SPACE, "cart", kube.busybox(), "StatefulSet", replicas=2, container=CONTAINER, pod=POD,
                       more={"serviceName": "carts", "podManagementPolicy": "Parallel"}))
        kube.apply(postgres.POD.format(name="db", space=SPACE, image=postgres.postgres_image(kube)))
        step("culvert install, by the administrator; culvert connect, by a developer")
        installed.install(kube)
        kube.kubeconfig("ana", ["developers"], namespace=SPACE)
        kube.start_helper()
        ready(kube, SPACE, "statefulset/cart", "pod/db")
        before = kube.laptop_state()
        shell("culvert connect")
        names_and_addresses(kube, shell)
        database(kube, shell)
        shell("culvert quit")
        if kube.laptop_state() != before:
            raise Failed("quit left something on the laptop")


story(main)
