#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The first process of a test cluster's node: node.py FOLDER PROGRAMS ADDRESS CGROUP

It is started as process 1 of a process namespace, in a mount namespace and in the node's network namespace (kube.py does
that). It sees the machine read-only, apart from FOLDER/var-lib as /var/lib, FOLDER/log as /var/log, and a /run and a /tmp
of its own; its control group CGROUP is the root of all it sees of those. It starts etcd, Kubernetes and containerd in their order and starts again what ends, unless
/var/lib/kubernetes/stopped/NAME exists (SIGHUP makes it look). When it is killed, the kernel ends everything in
the namespaces and takes the mounts away: nothing has to be remembered to be cleaned, except CGROUP.
"""
import ctypes
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.request

FOLDER, PROGRAMS, ADDRESS, CGROUP = sys.argv[1:5]
CLONE_NEWCGROUP = 0x02000000
HOME = "/var/lib/kubernetes"
PKI = f"{HOME}/pki"
STOPPED = f"{HOME}/stopped"
SERVICES, PODS, DNS = "10.96.0.0/16", "10.244.0.0/24", "10.96.0.10"

# What the kubelet wants of the machine's kernel and would write there; it gets files instead.
TUNABLES = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
            "kernel/keys/root_maxbytes")

CNI = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": True}}]}

# restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE cannot lower a score, and runc would die of it.
CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/culvert-test/pause:1"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/var/lib/kubernetes/cni"
"""

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{PKI}/ca.crt"}},
    "authorization": {"mode": "Webhook"},
    "tlsCertFile": f"{PKI}/kubelet.crt", "tlsPrivateKeyFile": f"{PKI}/kubelet.key",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "clusterDomain": "cluster.local", "clusterDNS": [DNS], "resolvConf": f"{HOME}/resolv.conf",
    "volumePluginDir": f"{HOME}/volume-plugins",
    # The machine may have either version of control groups and may be short of disk: neither is this test's matter.
    "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [],
    "failCgroupV1": False, "failSwapOn": False, "localStorageCapacityIsolation": False, "imageGCHighThresholdPercent": 100,
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"}}

PARTS = {  # in the order of their start
    "etcd": ["etcd", "--data-dir=/var/lib/etcd", "--listen-client-urls=http://127.0.0.1:2379",
             "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync"],
    "containerd": ["containerd", f"--config={HOME}/containerd.toml"],
    "kube-apiserver": [
        "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--service-cluster-ip-range={SERVICES}",
        f"--advertise-address={ADDRESS}", f"--client-ca-file={PKI}/ca.crt", f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key", "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={PKI}/sa.pub", f"--service-account-signing-key-file={PKI}/sa.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt", f"--kubelet-client-certificate={PKI}/kubelet-client.crt",
        f"--kubelet-client-key={PKI}/kubelet-client.key", "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"],
    "kube-controller-manager": [
        "kube-controller-manager", f"--kubeconfig={PKI}/controller-manager.conf", "--use-service-account-credentials",
        f"--root-ca-file={PKI}/ca.crt", f"--service-account-private-key-file={PKI}/sa.key",
        f"--cluster-signing-cert-file={PKI}/ca.crt", f"--cluster-signing-key-file={PKI}/ca.key", "--allocate-node-cidrs",
        f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}", "--leader-elect=false",
        # Its own limit of 20 requests a second would make it take 5 s to begin.
        "--kube-api-qps=1000", "--kube-api-burst=1000", f"--flex-volume-plugin-dir={HOME}/volume-plugins"],
    "kube-scheduler": ["kube-scheduler", f"--kubeconfig={PKI}/scheduler.conf", "--leader-elect=false"],
    "kubelet": ["kubelet", f"--config={HOME}/kubelet.yaml", f"--kubeconfig={PKI}/kubelet.conf", "--hostname-override=node",
                f"--node-ip={ADDRESS}"],
    "kube-proxy": ["kube-proxy", f"--kubeconfig={PKI}/proxy.conf", "--proxy-mode=nftables", f"--cluster-cidr={PODS}",
                   "--hostname-override=node", "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
                   "--conntrack-tcp-timeout-close-wait=0"]}
AT_ONCE = ("etcd", "containerd", "kube-apiserver")  # the others wait for the API server


def mount(*argv):
    subprocess.run(["mount", *argv], check=True)


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def hierarchies():
    """The control group hierarchies that are mounted: (folder, type, controllers)."""
    with open("/proc/self/cgroup") as f:
        names = {line.split(":")[1] for line in f}
    with open("/proc/mounts") as f:
        mounts = [line.split() for line in f]
    for _, folder, kind, options, *_ in mounts:
        own = [n for n in names if n and set(n.split(",")) <= set(options.split(","))]
        if kind == "cgroup2" or (kind == "cgroup" and own):
            yield folder, kind, own[0] if kind == "cgroup" else ""


def own_control_groups():
    """Moves this process into a group of its own and makes that the root for it and all that it starts."""
    found = list(hierarchies())
    for folder, _, _ in found:
        group = f"{folder}/{CGROUP}"
        os.makedirs(group, exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # empty at first in version 1, and then no process can be in it
            if os.path.exists(f"{folder}/cpuset.sched_load_balance"):
                with open(f"{folder}/{name}") as f:
                    write(f"{group}/{name}", f.read())
        write(f"{group}/cgroup.procs", "0")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWCGROUP):
        raise OSError(ctypes.get_errno(), "no control group namespace")
    for folder, kind, controllers in found:
        subprocess.run(["umount", folder], check=True)
        mount("-t", kind, *(["-o", controllers] if controllers else []), "node", folder)
        if kind == "cgroup2":  # where a group with processes cannot have groups with controllers
            os.makedirs(f"{folder}/node", exist_ok=True)
            write(f"{folder}/node/cgroup.procs", "0")


def own_view_of_the_machine():
    lib = f"{FOLDER}/var-lib"
    kubernetes = f"{lib}/kubernetes"
    os.makedirs(f"{FOLDER}/log", exist_ok=True)
    for d in (f"{lib}/kubelet", f"{lib}/cni", *(f"{kubernetes}/{d}" for d in ("bin", "cni", "stopped", "sysctl", "volume-plugins"))):
        os.makedirs(d, exist_ok=True)
    mount("--bind", PROGRAMS, f"{kubernetes}/bin")
    mount("--bind", f"{FOLDER}/log", "/var/log")
    for name in TUNABLES:
        with open(f"/proc/sys/{name}") as f:
            own = f"{kubernetes}/sysctl/{name.replace('/', '.')}"
            write(own, f.read())
        mount("--bind", own, f"/proc/sys/{name}")
    mount("--rbind", lib, "/var/lib")
    for d in ("/run", "/tmp"):
        mount("-t", "tmpfs", "-o", "mode=755" if d == "/run" else "mode=1777", "node", d)
    mount("-o", "remount,bind,ro", "/")


def configure():
    write(f"{HOME}/cni/10-pods.conflist", json.dumps(CNI, indent=1))
    write(f"{HOME}/containerd.toml", CONTAINERD)
    write(f"{HOME}/kubelet.yaml", json.dumps(KUBELET, indent=1))
    write(f"{HOME}/resolv.conf", "# nothing beyond the cluster\n")


class Node:
    def __init__(self):
        self.running = {}  # process id: part
        self.ready = False
        self.authority = ssl.create_default_context(cafile=f"{PKI}/ca.crt")

    def start(self, part):
        with open(f"/var/log/{part}.log", "ab") as log:
            p = subprocess.Popen(PARTS[part], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                 env={"PATH": f"{HOME}/bin:{os.environ['PATH']}", "HOME": "/tmp"}, preexec_fn=unblock)
        self.running[p.pid] = part

    def api_server_ready(self):
        try:
            return urllib.request.urlopen(f"https://{ADDRESS}:6443/readyz", timeout=2, context=self.authority).status == 200
        except OSError:
            return False

    def start_what_is_missing(self):
        self.ready = self.ready or self.api_server_ready()
        for part in PARTS:
            wanted = not os.path.exists(f"{STOPPED}/{part}")
            if wanted and part not in self.running.values() and (self.ready or part in AT_ONCE):
                self.start(part)

    def stop_what_is_unwanted(self):
        for pid, part in self.running.items():
            if os.path.exists(f"{STOPPED}/{part}"):
                os.kill(pid, signal.SIGKILL)

    def reap(self):
        """True when one of the parts ended; orphans of containers are nobody's loss."""
        lost = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return lost
            if not pid:
                return lost
            if pid in self.running:
                part = self.running.pop(pid)
                print(f"{part} ended with {os.waitstatus_to_exitcode(status)}", flush=True)
                lost = True

    def run(self):
        self.start_what_is_missing()
        while True:
            # Until the API server answers, ask it often; then only look when something happened.
            got = signal.sigtimedwait(SIGNALS, 0.05 if not self.ready else 3600)
            if got and got.si_signo == signal.SIGTERM:
                return
            if got and got.si_signo == signal.SIGHUP:
                self.stop_what_is_unwanted()
            # What dies at once shall not be started in a circle.
            if self.reap() and signal.sigtimedwait({signal.SIGTERM}, 0.2):
                return
            self.start_what_is_missing()


SIGNALS = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}


def unblock():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    own_control_groups()
    own_view_of_the_machine()
    configure()
    Node().run()
