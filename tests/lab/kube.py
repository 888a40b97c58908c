# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes of one node, and laptops outside it, in network namespaces of their own.

    laptop 10.99.1.2 --- 10.99.1.1 router 10.99.2.1 --- 10.99.2.2 cluster: the node, API server :6443, node ports
    other  10.99.3.2 --- 10.99.3.1 home DNS                       pods 10.244.0.0/24, services 10.96.0.0/16, DNS 10.96.0.10

The router knows no way to the pods and services. All of a run is found by its folder: the namespaces' and the control
group's names are made from its path, so that `down` needs no memory of what `up` had done when it was killed.

A test written for `cluster()` runs against any other cluster too: see docs/cluster-tests.md.
"""
import contextlib
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from lab import NOBODY, ROOT, Failed, Lab, Process, sh, wait_for
from pki import Pki

sys.path.append(os.path.join(ROOT, "deploy/images"))
import image  # noqa: E402

HERE = os.path.join(ROOT, "tests/cluster")
NODE_ADDRESS = "10.99.2.2"
DNS = "10.96.0.10"
BUSYBOX = "culvert-test/busybox:1"


def programs():
    """The folder of Kubernetes' programs, built when they are missing."""
    built = subprocess.run([f"{HERE}/build"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if built.returncode:
        raise Failed("the test cluster's programs could not be built: see the lines above")
    return built.stdout.strip()


class Cluster:
    """What a test asks of any cluster: kubectl, images, and commands in its pods."""

    def kubectl_argv(self, *argv):
        """kubectl on the laptop, as the cluster's administrator."""
        raise NotImplementedError

    def kubectl_environment(self):
        raise NotImplementedError

    def kubectl(self, *argv, check=True, timeout=60, stdin=None):
        # GOGC: it lives for milliseconds, a fifth of which would go into collecting garbage.
        done = subprocess.run(self.kubectl_argv(*argv), input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, env={**self.kubectl_environment(), "GOGC": "off"})
        if check and done.returncode:
            raise Failed(f"kubectl {' '.join(str(a) for a in argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def image(self, name, files, entrypoint, **kw):
        """Makes an image of `files` {path in it: path here} known to the cluster; what a pod calls it."""
        raise NotImplementedError

    def c_image(self, name):
        """An image with one static program, tests/cluster/NAME.c."""
        with tempfile.TemporaryDirectory() as folder:
            sh("gcc", "-static", "-Os", "-s", "-o", f"{folder}/{name}", f"{HERE}/{name}.c")
            return self.image(name, {f"/{name}": f"{folder}/{name}"}, [f"/{name}"])

    def busybox(self):
        """An image with a shell and the usual commands."""
        applets = sh(image.BUSYBOX, "--list").stdout.split()
        return self.image("busybox", {image.BUSYBOX: image.BUSYBOX}, ["/bin/sh"], links=image.busybox_links(applets))

    def apply(self, text, *argv):
        return self.kubectl("apply", "-f", "-", *argv, stdin=text)

    def get(self, *argv):
        return json.loads(self.kubectl("get", *argv, "-o", "json").stdout)

    def rollout(self, what, namespace="default", timeout=120):
        """Waits until all pods of a workload are ready; says what they do when they are not."""
        done = self.kubectl("-n", namespace, "rollout", "status", what, f"--timeout={timeout}s", check=False, timeout=timeout + 10)
        if done.returncode:
            events = self.kubectl("-n", namespace, "get", "events", "--sort-by=.metadata.creationTimestamp", check=False).stdout
            raise Failed(f"{what} in {namespace} is not ready: {done.stderr.strip()}\n{events[-3000:]}")

    def node_address(self):
        addresses = self.get("nodes")["items"][0]["status"]["addresses"]
        return next(a["address"] for a in addresses if a["type"] == "InternalIP")


class Kube(Lab, Cluster):
    """One of our own. `with Kube() as kube: kube.up()`; or `up` and, from another process, `down` of the same folder."""
    NAMES = ("laptop", "other", "router", "cluster")

    def __init__(self, folder=None, binaries=None):
        if not folder:
            folder = f"/tmp/culvert-cluster-{os.getpid()}"
        folder = os.path.realpath(folder)
        super().__init__("cv" + hashlib.sha256(folder.encode()).hexdigest()[:8], folder, binaries)
        self.lib = f"{folder}/var-lib/kubernetes"
        self.admin = f"{folder}/admin.conf"
        self.pki = Pki(f"{self.lib}/pki", f"https://{NODE_ADDRESS}:6443")

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self):
        if os.path.exists(self.dir):
            raise Failed(f"{self.dir} exists: name another folder, or, if it is a cluster's, take that down: tests/cluster/down {self.dir}")
        return super().__enter__()

    @contextlib.contextmanager
    def kept(self):
        """Like `with`, but what is up stays up when nothing failed."""
        self.__enter__()
        try:
            yield self
        except BaseException:
            for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(again, signal.SIG_IGN)  # an impatient second one would leave half of it
            self.__exit__(*sys.exc_info())
            raise

    def close(self):
        """Ends it, in whatever state it is and whoever began it."""
        found = set(os.listdir(self.dir)) if os.path.isdir(self.dir) else set()
        if found and not found & {"home-laptop", "home-other", "var-lib", "node.log"}:
            raise Failed(f"{self.dir} is no cluster's folder: nothing was done")
        self.kill_node()
        super().close()
        self.remove_cgroups()
        if os.path.exists(self.dir):
            raise Failed(f"{self.dir} could not be removed: {os.listdir(self.dir)}")

    def kill_node(self):
        """Process 1 of the node's process namespace takes all in it along: pods, containerd, mounts.

        Its parent, which is outside, then ends by itself; killed as well, it would leave the dead process 1 to others to reap.
        """
        ns = self.ns("cluster")
        begin = time.monotonic()
        while pids := sh("ip", "netns", "pids", ns, check=False).stdout.split():
            waited = time.monotonic() - begin
            for pid in [p for p in pids if len(self.ids(p)) > 1 or waited > 5]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            for p in self.processes:
                p.popen.poll()
            if waited > 30:
                raise Failed(f"processes {' '.join(pids)} in {ns} do not end")
            time.sleep(0.02)

    @staticmethod
    def ids(pid):
        """The ids of a process, from the machine's process namespace to its own."""
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
            return next(line for line in f if line.startswith("NSpid:")).split()[1:]
        return []

    def remove_cgroups(self):
        for top in self.cgroups():
            for folder, _, _ in os.walk(top, topdown=False):
                wait_for(f"the end of the control group {folder}", lambda f=folder: os.rmdir(f) is None)

    def cgroups(self):
        """This run's control group, in each hierarchy."""
        with open("/proc/mounts") as f:
            mounts = [line.split() for line in f]
        return [p for m in mounts if m[2] in ("cgroup", "cgroup2") and os.path.isdir(p := f"{m[1]}/{self.prefix}")]

    def show_logs(self):
        super().show_logs()
        for name in sorted(os.listdir(f"{self.dir}/log")) if os.path.isdir(f"{self.dir}/log") else []:
            if name.endswith(".log"):
                with open(f"{self.dir}/log/{name}", errors="replace") as f:
                    print(f"--- log of {name}\n{f.read()[-800:]}", file=sys.stderr)
        for path in sorted(glob.glob(f"{self.dir}/log/pods/culvert_*/*/*.log")):
            with open(path, errors="replace") as f:
                print(f"--- log of {path}\n{f.read()[-4000:]}", file=sys.stderr)

    # -- the network -----------------------------------------------------------------------------

    def pods(self):
        # Services of pods that share the node's bridge: their answers must pass the node's address translation.
        self.sysctl("cluster", "net.bridge.bridge-nf-call-iptables", "1", check=False)

    # -- Kubernetes ------------------------------------------------------------------------------

    def up(self):
        """Starts Kubernetes and waits until pods can run and names are answered."""
        built = programs()
        os.symlink(built, f"{self.dir}/bin")
        self.certificates()
        self.start_node(built)
        self.start_home_dns()
        self.wait("containerd", lambda: self.ctr("version"), 60)
        self.load_own_images(built)
        self.wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz"), 120)
        with open(f"{HERE}/dns.yaml") as f:
            self.apply(f.read())
        self.wait("the node", lambda: self.get("nodes")["items"], 60)
        self.kubectl("wait", "node/node", "--for=condition=Ready", "--timeout=60s", timeout=70)
        self.rollout("deployment/coredns", "kube-system")
        self.wait("the cluster's DNS", lambda: self.resolve("kubernetes.default.svc.cluster.local"), 60)
        return self

    def wait(self, what, condition, timeout):
        """wait_for, but not longer than the node lives."""
        wait_for(what, lambda: not self.node.running() or condition(), timeout)
        if not self.node.running():
            raise Failed(f"the node ended before {what} was there: {self.node.output()}")

    def start_node(self, built):
        # Not by `ip netns exec`, which would hide the control groups.
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node.py")
        self.node = Process("node", [
            "setsid", "nsenter", f"--net=/run/netns/{self.ns('cluster')}", "unshare", "--mount", "--pid", "--fork", "--mount-proc",
            "--kill-child", "/usr/bin/python3", script, self.dir, built, NODE_ADDRESS, self.prefix],
            f"{self.dir}/node.log", {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"})
        self.processes.append(self.node)

    def certificates(self):
        p = self.pki
        p.authority()
        p.certificate("apiserver", "kube-apiserver", names=f"DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
                      f"DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:{NODE_ADDRESS}")
        p.certificate("kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
        p.certificate("kubelet", "system:node:node", ["system:nodes"], f"DNS:node,IP:{NODE_ADDRESS}")
        p.certificate("admin", "admin", ["system:masters"])
        for part in ("controller-manager", "scheduler", "proxy"):
            p.certificate(part, f"system:kube-{part}")
        for name in ("controller-manager", "scheduler", "proxy", "kubelet"):
            self.write(f"var-lib/kubernetes/pki/{name}.conf", p.kubeconfig(name), 0o600)
        self.write("admin.conf", p.kubeconfig("admin"), 0o600)

    def kubeconfig(self, user, groups=(), on="laptop", namespace="default", called=None):
        """Gives a laptop's owner a kubeconfig, where kubectl and culvert look for it; its path. `called`: the user's name, if not that."""
        self.pki.certificate(user, called or user, groups)
        folder = f"{self.home(on)}/.kube"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = f"{folder}/config"
        self.write(os.path.relpath(path, self.dir), self.pki.kubeconfig(user, namespace), 0o600)
        for p in (folder, path):
            os.chown(p, NOBODY, NOBODY)
        return path

    def env(self, where="laptop"):
        env = super().env(where)
        env["PATH"] += f":{self.dir}/bin"
        return env

    def kubectl_environment(self):
        return {**os.environ, "KUBECONFIG": self.admin, "KUBECACHEDIR": f"{self.dir}/kubectl-cache"}

    def kubectl_argv(self, *argv):
        return ["ip", "netns", "exec", self.ns("laptop"), f"{self.dir}/bin/kubectl", *[str(a) for a in argv]]

    def resolve(self, name):
        return self.run("cluster", "dig", "+short", "+time=1", "+tries=1", f"@{DNS}", name).stdout.strip()

    # -- the node --------------------------------------------------------------------------------

    def process_1(self):
        """The machine's id of the node's first process."""
        for pid in sh("ip", "netns", "pids", self.ns("cluster"), check=False).stdout.split():
            if self.ids(pid)[1:] == ["1"]:
                return pid
        raise Failed(f"no cluster is up in {self.dir}")

    def on_node(self, *argv, **kw):
        """A command on the node: its processes, files and network."""
        return sh("nsenter", "--target", self.process_1(), "--mount", "--pid", "--net", *argv, **kw)

    def ctr(self, *argv, **kw):
        return self.on_node("ctr", "--namespace", "k8s.io", *argv, **kw)

    def stop_part(self, part):
        """Kills a part of Kubernetes (kube-apiserver, kubelet, ...), which stays down until start_part."""
        with open(f"{self.lib}/stopped/{part}", "w"):
            os.kill(int(self.process_1()), signal.SIGHUP)

    def start_part(self, part):
        os.unlink(f"{self.lib}/stopped/{part}")
        os.kill(int(self.process_1()), signal.SIGHUP)

    # -- images ----------------------------------------------------------------------------------

    def load(self, archive):
        """Makes the images of an archive (docker's or OCI's) known to the node."""
        with open(archive, "rb") as f:
            done = subprocess.run(["nsenter", "--target", self.process_1(), "--mount", "--net", "ctr", "--namespace", "k8s.io",
                                   "images", "import", "-"], stdin=f, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Failed(f"{archive} could not be loaded: {done.stderr.strip()}")
        return done.stdout

    def image(self, name, files, entrypoint, **kw):
        archive = f"{self.dir}/{name}.tar"
        image.write(archive, f"docker.io/culvert-test/{name}:1", files, entrypoint, **kw)
        self.load(archive)
        os.unlink(archive)
        return f"culvert-test/{name}:1"

    def load_own_images(self, built):
        self.c_image("pause")
        self.image("coredns", {"/coredns": f"{built}/coredns"}, ["/coredns"])


class OtherCluster(Cluster):
    """A cluster that is there already: CULVERT_TEST_KUBECONFIG, and CULVERT_TEST_REGISTRY for images. The laptop is this machine."""

    def __init__(self, kubeconfig, registry):
        self.config, self.registry = os.path.abspath(kubeconfig), registry.rstrip("/")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def up(self):
        self.kubectl("get", "--raw", "/readyz")
        return self

    def run(self, where, *argv, check=True, timeout=60, **kw):
        if where != "laptop":
            raise Failed(f"this cluster has no '{where}'")
        return sh(*argv, check=check, timeout=timeout, **kw)

    def kubectl_argv(self, *argv):
        return ["kubectl", *[str(a) for a in argv]]

    def kubectl_environment(self):
        return {**os.environ, "KUBECONFIG": self.config}

    def image(self, name, files, entrypoint, **kw):
        if not shutil.which("skopeo"):
            raise Failed("images are pushed to the registry with skopeo: install it")
        reference = f"{self.registry}/culvert-test-{name}:1"
        archive = f"/tmp/culvert-test-{os.getpid()}-{name}.tar"
        try:
            image.write(archive, reference, files, entrypoint, **kw)
            sh("skopeo", "copy", f"docker-archive:{archive}", f"docker://{reference}", timeout=300)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(archive)
        return reference


def cluster():
    """The cluster for a test: the one that the environment names, else a new one of our own."""
    config = os.environ.get("CULVERT_TEST_KUBECONFIG")
    if not config:
        return Kube()
    registry = os.environ.get("CULVERT_TEST_REGISTRY")
    if not registry:
        raise Failed("CULVERT_TEST_KUBECONFIG is set, but CULVERT_TEST_REGISTRY is not: where should the images go?")
    return OtherCluster(config, registry)
