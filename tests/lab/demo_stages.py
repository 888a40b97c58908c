# SPDX-License-Identifier: Apache-2.0
"""Where ./demo plays: plain Linux namespaces with workloads from a file, or a real Kubernetes. Both have web and shop."""
import os
import re
import subprocess
import sys

import installed
from kube import Kube
from lab import Lab, MANAGER, NOBODY, sh, wait_for
from workloads import apply, client, developer, namespace, ready, service, workload

HERE = os.path.dirname(os.path.abspath(__file__))
BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("",) * 3


def say(text=""):
    print(f"{text}", flush=True)


def title(text):
    say(f"\n{BOLD}{text}{PLAIN}")


class Stage:
    kubernetes = False
    folder = ""

    def run(self, where, *argv, user=None):
        """What a person typed there; stdout and stderr come as one."""
        return self.lab.run(where, *argv, user=user, check=False, terminal=True)

    def on_laptop(self):
        """What puts a shell on the laptop, as its owner."""
        lab, home = self.lab, self.lab.home()
        env = f"env HOME={home} XDG_RUNTIME_DIR={home}/run XDG_STATE_HOME={home}/state CULVERT_HELPER={lab.dir}/helper-laptop.sock"
        drop = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
        return f"ip netns exec {lab.ns('laptop')} {env} {drop} sh -c 'cd / && PATH={lab.bin}:{lab.dir}/bin:$PATH exec bash'"

    def play(self):
        pod = self.pods[-1]
        say(f"""
It stays up. To be on the laptop, or in the cluster:

    {self.on_laptop()}
    {self.in_cluster()} curl http://{self.shop}/

Try on the laptop:

    curl http://web/          dig web.shop.svc.cluster.local          ping {pod}
    culvert status            culvert list
    culvert intercept shop --port 3000:http -- python3 -m http.server 3000
    culvert quit              {' '.join(['culvert', 'connect', *self.how()])}

Logs are in {self.logs()}. When you are done: ./demo --down""")


class Static(Stage):
    """The lab of tests/net."""
    folder = "/run/culvert-demo"
    about = ("In network namespaces: a cluster with a manager, a DNS server and two workloads: web (nginx) and shop",
             "(Python, two ports); a router; and a laptop that can reach the manager's UDP port and nothing else.")
    pods, shop = ("10.244.0.10", "fd10:244::10"), "10.96.0.21"

    def __init__(self):
        self.lab = Lab("culvert-demo", self.folder)

    def up(self):
        self.lab.start_cluster()

    def how(self):
        return "--manager", MANAGER, "--invite", self.lab.invite_laptop()

    def connect(self, demo):
        demo.culvert("connect", *self.how())

    def settled(self):
        pass

    def uninstall(self, demo):
        pass

    def in_cluster(self):
        return f"ip netns exec {self.lab.ns('client')}"

    def logs(self):
        return self.lab.dir


class OnKubernetes(Stage):
    """The cluster of tests/cluster; ana is a developer of the shop."""
    kubernetes = True
    folder = "/tmp/culvert-demo-kubernetes"
    about = ("In network namespaces: a real Kubernetes of one node with two workloads: web and shop (C, two ports);",
             "a router; and a laptop that can reach the API server and the node's ports, and no pod or service.")

    def __init__(self):
        self.lab = Kube(self.folder)

    def up(self):
        kube = self.lab
        kube.up()
        sh("gcc", "-static", "-Os", "-s", "-o", f"{kube.dir}/cart-pod", f"{HERE}/cart.c")
        cart = kube.image("cart", {"/cart": f"{kube.dir}/cart-pod"}, ["/cart"])
        curl = sh("which", "curl").stdout.strip()
        libraries = {x: os.path.realpath(x) for x in re.findall(r"(/\S+) \(0x", sh("ldd", curl).stdout)}
        with_curl = kube.image("client", {"/usr/bin/curl": curl, "/cart": f"{kube.dir}/cart-pod", **libraries}, ["/cart"])
        self.images = [f"--{part}-image={installed.image(kube, part)}" for part in installed.PARTS]
        both = [{"name": name, "image": cart, "args": [str(port), "hello from the shop pod"], "ports": [{"name": called, "containerPort": port}]}
                for name, called, port in (("shop", "http", 9001), ("admin", "admin", 9002))]
        apply(kube, namespace("shop"), client("shop", with_curl, command=["/cart"]), service("shop", "web"),
              workload("shop", "web", cart, container={"args": ["8080", "hello from the web pod"]}),
              service("shop", "shop", [("http", 80, "http"), ("admin", 81, "admin")]), workload("shop", "shop", cart, pod={"containers": both}))
        developer(kube, "ana", "shop")
        ready(kube, "shop", "deployment/web", "deployment/shop", "pod/client")
        self.pods = [kube.get("pods", "-n", "shop", "-l", "app=web")["items"][0]["status"]["podIP"]]
        self.shop = kube.get("service", "shop", "-n", "shop")["spec"]["clusterIP"]

    def run(self, where, *argv, user=None):
        if where == "client":
            return subprocess.run(self.lab.kubectl_argv("-n", "shop", "exec", "client", "--", *argv), stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, env=self.lab.kubectl_environment())
        if where == "administrator":
            config = self.lab.kubectl_environment()["KUBECONFIG"]
            return self.lab.run("laptop", "env", f"KUBECONFIG={config}", *argv, check=False, terminal=True, timeout=200)
        return super().run(where, *argv, user=user)

    def how(self):
        return ()

    def connect(self, demo):
        say("Once, an administrator puts culvert into the cluster:")
        demo.show("administrator", "culvert", "install", "--allow-group", "developers", *self.images)
        say("From then on a developer needs nothing but a kubeconfig:")
        demo.culvert("connect")

    def settled(self):
        """The pods that were replaced are gone; until then the node may still lead there."""
        wait_for("the end of the old pods", lambda: len(self.lab.get("pods", "-n", "shop", "-l", "app=shop")["items"]) == 1, 60)

    def uninstall(self, demo):
        say("And the administrator can take it out of the cluster again:")
        demo.show("administrator", "culvert", "uninstall", "--yes")

    def in_cluster(self):
        return f"{HERE.removesuffix('/lab')}/cluster/kubectl {self.lab.dir} -n shop exec client --"

    def logs(self):
        return f"{self.lab.dir} and {self.lab.dir}/log"
