# SPDX-License-Identifier: Apache-2.0
"""A laptop, a router and a cluster, in network namespaces of their own, with real programs in them.

    laptop 10.99.1.2 --- 10.99.1.1 router 10.99.2.1 --- 10.99.2.2 cluster --- bridge pods 10.244.0.1/24, fd10:244::1/64
    other  10.99.3.2 --- 10.99.3.1 home DNS             manager :7400         +- web    10.244.0.10 ::10  service 10.96.0.20
                                                        DNS 10.96.0.10:53     +- shop   10.244.0.11 ::11  service 10.96.0.21
                                                                              +- client 10.244.0.30 ::30

The router knows no way to 10.244/16, 10.96/16 and fd10:244::/64: only the overlay leads there. A service's address is
routed to its pod. Everything is found and ended by the names and process ids made here.
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOBODY = 65534
PREFIXES = ["10.96.0.0/16", "10.244.0.0/16", "fd10:244::/64"]
MANAGER = "10.99.2.2:7400"


class Failed(Exception):
    """A sentence for whoever runs the lab."""


def sh(*argv, check=True, timeout=60, **kw):
    """Runs a command to its end; its output as text."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, **kw)
    if check and done.returncode:
        raise Failed(f"{' '.join(str(a) for a in argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_for(what, condition, timeout=60):
    """Polls until `condition` gives something true and returns it; names `what` when it never comes.

    The bound is only there so that a run ends: how fast anything is, is measured in bench/, and machines of CI stand still for seconds.
    A look that costs (a kubectl) comes less often, since others have the cores too.
    """
    end = time.monotonic() + timeout
    while True:
        begin = time.monotonic()
        try:
            value = condition()
        except (OSError, Failed, subprocess.TimeoutExpired):
            value = None
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise Failed(f"waited {timeout:g} s in vain for: {what}")
        time.sleep(min(max(0.02, 2 * (now - begin)), 0.5))


class Process:
    """A program in a namespace; its output goes to a file."""

    def __init__(self, name, argv, log, env, cwd=None):
        self.name, self.log = name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd)

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def output(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def kill(self):
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)

    def stop(self, timeout=20):
        """Asks it to end; its exit code."""
        if self.running():
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Failed(f"{self.name} did not end within {timeout} s of SIGTERM; its log:\n{self.output()[-3000:]}") from None
        return self.popen.returncode


class Lab:
    NAMES = ("laptop", "other", "router", "cluster", "web", "shop", "client")
    LAPTOPS = ("laptop", "other")

    def __init__(self, prefix=None, folder=None, binaries=None):
        self.prefix = prefix or f"cv{os.getpid()}"
        self.bin = binaries or os.environ.get("CULVERT_BIN") or os.path.join(ROOT, "build/release")
        self.dir = folder
        self.processes = []

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self):
        if os.getuid():
            raise Failed("network namespaces need root: run this as root")
        if self.dir:
            os.mkdir(self.dir)
        else:
            self.dir = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        os.chmod(self.dir, 0o755)
        for d in ("", "/run", "/state"):
            for name in self.LAPTOPS:
                os.mkdir(self.home(name) + d, 0o700)
                os.chown(self.home(name) + d, NOBODY, NOBODY)
        try:
            self.network()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind and not issubclass(kind, KeyboardInterrupt):
            # Here as well as at the end, since what shows long outputs may cut them anywhere.
            print(f"FAILED: {value or kind.__name__}", file=sys.stderr)
            self.show_logs()
        self.close()

    def show_logs(self):
        for p in self.processes:
            text = p.output()
            if text.strip():
                print(f"--- log of {p.name}\n{text[-4000:]}", file=sys.stderr)
        for name in self.LAPTOPS:
            with contextlib.suppress(OSError):
                with open(f"{self.home(name)}/state/culvert/daemon.log", errors="replace") as f:
                    print(f"--- log of the daemon on {name}\n{f.read()[-4000:]}", file=sys.stderr)

    def close(self):
        for p in reversed(self.processes):
            if p.running():
                p.popen.send_signal(signal.SIGTERM)
        for p in reversed(self.processes):
            try:
                p.popen.wait(5)
            except subprocess.TimeoutExpired:
                p.kill()
        for name in self.NAMES:
            self.end_namespace(self.ns(name))
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def end_namespace(ns):
        """What somebody left running in it (a daemon that the cli started) is ended by its id."""
        pids = sh("ip", "netns", "pids", ns, check=False).stdout.split()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
        end = time.monotonic() + 3
        while pids and time.monotonic() < end and sh("ip", "netns", "pids", ns, check=False).stdout.split():
            time.sleep(0.02)
        for pid in sh("ip", "netns", "pids", ns, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        sh("ip", "netns", "del", ns, check=False)
        shutil.rmtree(f"/etc/netns/{ns}", ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir("/etc/netns")

    def home(self, laptop="laptop"):
        return os.path.join(self.dir, f"home-{laptop}")

    # -- the network -----------------------------------------------------------------------------

    def ns(self, name):
        return f"{self.prefix}-{name}"

    def ip(self, name, *args):
        return sh("ip", "-n", self.ns(name), *args)

    def veth(self, a, a_dev, b, b_dev):
        sh("ip", "link", "add", a_dev, "netns", self.ns(a), "type", "veth", "peer", "name", b_dev, "netns", self.ns(b))
        self.ip(a, "link", "set", a_dev, "up")
        self.ip(b, "link", "set", b_dev, "up")

    def network(self):
        for name in self.NAMES:
            sh("ip", "netns", "add", self.ns(name))
            self.ip(name, "link", "set", "lo", "up")
            # What Debian has by default; where the machine keeps it for itself, its own choice stays.
            self.sysctl(name, "net.ipv4.tcp_congestion_control", "cubic", check=False)
            self.sysctl(name, "net.ipv6.conf.default.accept_dad", "0")
            self.sysctl(name, "net.ipv6.conf.all.accept_dad", "0")
        for name in ("router", "cluster"):
            self.sysctl(name, "net.ipv4.ip_forward", "1")
            self.sysctl(name, "net.ipv6.conf.all.forwarding", "1")
        self.veth("laptop", "eth0", "router", "home")
        self.veth("cluster", "eth0", "router", "dc")
        self.ip("laptop", "addr", "add", "10.99.1.2/24", "dev", "eth0")
        self.ip("laptop", "route", "add", "default", "via", "10.99.1.1")
        self.ip("router", "addr", "add", "10.99.1.1/24", "dev", "home")
        self.veth("other", "eth0", "router", "cafe")
        self.ip("other", "addr", "add", "10.99.3.2/24", "dev", "eth0")
        self.ip("other", "route", "add", "default", "via", "10.99.3.1")
        self.ip("router", "addr", "add", "10.99.3.1/24", "dev", "cafe")
        self.ip("router", "addr", "add", "10.99.2.1/24", "dev", "dc")
        self.ip("cluster", "addr", "add", "10.99.2.2/24", "dev", "eth0")
        self.ip("cluster", "route", "add", "default", "via", "10.99.2.1")
        for name in self.LAPTOPS:
            os.makedirs(f"/etc/netns/{self.ns(name)}")
            with open(f"/etc/netns/{self.ns(name)}/resolv.conf", "w") as f:
                f.write("# the laptop's own\nnameserver 10.99.1.1\nsearch home.lan\noptions timeout:1 attempts:2\n")
        self.pods()

    def pods(self):
        self.sysctl("cluster", "net.ipv4.ping_group_range", "0 2147483647")
        self.ip("cluster", "link", "add", "pods", "type", "bridge")
        self.ip("cluster", "link", "set", "pods", "up")
        self.ip("cluster", "addr", "add", "10.244.0.1/24", "dev", "pods")
        self.ip("cluster", "addr", "add", "fd10:244::1/64", "dev", "pods")
        self.ip("cluster", "addr", "add", "10.96.0.10/32", "dev", "lo")
        for name, host, service in (("web", 10, "10.96.0.20"), ("shop", 11, "10.96.0.21"), ("client", 30, None)):
            self.veth("cluster", f"v-{name}", name, "eth0")
            self.ip("cluster", "link", "set", f"v-{name}", "master", "pods")
            self.ip(name, "addr", "add", f"10.244.0.{host}/24", "dev", "eth0")
            self.ip(name, "addr", "add", f"fd10:244::{host}/64", "dev", "eth0")
            self.ip(name, "route", "add", "default", "via", "10.244.0.1")
            self.ip(name, "route", "add", "default", "via", "fd10:244::1")
            if service:
                self.ip(name, "addr", "add", f"{service}/32", "dev", "lo")
                self.ip("cluster", "route", "add", f"{service}/32", "via", f"10.244.0.{host}")

    def sysctl(self, name, key, value, check=True):
        sh("ip", "netns", "exec", self.ns(name), "sysctl", "-q", "-w", f"{key}={value}", check=check)

    # -- programs --------------------------------------------------------------------------------

    def env(self, where="laptop"):
        home = self.home(where if where in self.LAPTOPS else "laptop")
        env = {k: v for k, v in os.environ.items() if not k.startswith("CULVERT_")}
        env.update(HOME=home, XDG_RUNTIME_DIR=f"{home}/run", XDG_STATE_HOME=f"{home}/state",
                   CULVERT_HELPER=f"{self.dir}/helper-{where}.sock", NO_COLOR="1", PATH=f"{self.bin}:{os.environ['PATH']}",
                   ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99"))
        return env

    def argv(self, name, argv, user):
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"] if user else []
        return ["ip", "netns", "exec", self.ns(name)] + drop + [str(a) for a in argv]

    def run(self, name, *argv, user=None, check=True, timeout=60, stdin=None, env=None, terminal=False):
        """A command in a namespace, to its end; `terminal`: stdout and stderr come as one, in their order."""
        done = subprocess.run(self.argv(name, argv, user), input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT if terminal else subprocess.PIPE,
                              text=True, timeout=timeout, env={**self.env(name), **(env or {})})
        if check and done.returncode:
            raise Failed(f"{name}$ {' '.join(str(a) for a in argv)}: exit {done.returncode}\n{done.stdout}{done.stderr or ''}")
        return done

    def start(self, name, label, *argv, user=None, env=None, cwd=None):
        """A program in a namespace that stays."""
        log = os.path.join(self.dir, f"{label}.log")
        p = Process(label, self.argv(name, argv, user), log, {**self.env(name), **(env or {})}, cwd)
        self.processes.append(p)
        return p

    def culvert(self, *args, on="laptop", check=True, timeout=60, **kw):
        """The user's command on a laptop."""
        return self.run(on, f"{self.bin}/culvert", *args, user=NOBODY, check=check, timeout=timeout, **kw)

    def culvert_json(self, *args, on="laptop"):
        return json.loads(self.culvert(*args, "-o", "json", on=on).stdout)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def listening(self, name, port, udp=False, address=""):
        flag = "-lun" if udp else "-ltn"
        return any(re.sub(r"[][]", "", line.split()[3]).endswith(f"{address}:{port}") for line in
                   self.run(name, "ss", "-H", flag).stdout.splitlines() if len(line.split()) > 3)

    def wait_listening(self, name, port, udp=False, address=""):
        wait_for(f"port {port} in {name}", lambda: self.listening(name, port, udp, address))

    # -- the cluster's and the laptop's programs ---------------------------------------------------

    def start_dns(self):
        hosts = self.write("cluster.hosts", "".join(f"{ip} {name}.shop.svc.cluster.local\n" for ip, name in (
            ("10.96.0.20", "web"), ("10.96.0.21", "shop"), ("fd10:244::10", "web6"))))
        big = [f"--txt-record=big.shop.svc.cluster.local,{','.join('x' * 240 + str(i) for i in range(12))}"]
        self.start("cluster", "dns", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                   f"--addn-hosts={hosts}", "--listen-address=10.96.0.10", "--bind-interfaces", "--local=/cluster.local/",
                   "--srv-host=_http._tcp.web.shop.svc.cluster.local,web.shop.svc.cluster.local,80", "--user=nobody",
                   "--pid-file", *big)
        self.wait_listening("cluster", 53, udp=True)
        self.start_home_dns()

    def start_home_dns(self):
        self.start("router", "home-dns", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                   "--listen-address=10.99.1.1", "--bind-interfaces", "--address=/printer.home.lan/10.99.1.77", "--user=nobody",
                   "--address=/example.org/192.0.2.80", "--pid-file")
        self.wait_listening("router", 53, udp=True)

    def start_apps(self):
        conf = self.write("nginx.conf", f"""
worker_processes 1; daemon off; pid {self.dir}/nginx.pid; error_log stderr; user nobody nogroup;
events {{ worker_connections 8192; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path {self.dir}/nginx-body; proxy_temp_path {self.dir}/nginx-proxy; fastcgi_temp_path {self.dir}/nginx-f;
    uwsgi_temp_path {self.dir}/nginx-u; scgi_temp_path {self.dir}/nginx-s;
    server {{ listen 10.244.0.10:8080 backlog=8192; listen [fd10:244::10]:8080; root {self.dir}/www;
             location / {{ add_header X-Served-By pod; }} }}
}}
""")
        os.mkdir(f"{self.dir}/www")
        os.chmod(f"{self.dir}/www", 0o755)
        self.write("www/index.html", "hello from the web pod\n")
        self.start("web", "nginx", "nginx", "-e", "stderr", "-c", conf)
        # A copy, since the checkout may lie where only its owner can read.
        shutil.copy(f"{ROOT}/tests/lab/shop.py", f"{self.dir}/shop.py")
        self.start("shop", "shop-app", "/usr/bin/python3", f"{self.dir}/shop.py", "10.244.0.11", user=NOBODY,
                   env={"GREETING": "hello from the shop pod"})
        self.wait_listening("web", 8080)
        self.wait_listening("shop", 9002)

    def manager_config(self, extra=""):
        pods = {"web": ("web-0", [("http", 80, 80)]), "shop": ("shop-0", [("http", 80, 80), ("admin", 81, 81)])}
        workloads = "".join(f"""
  - kind: deployment
    name: {name}
    namespace: shop
    pods: [{pod}]
    services:
      - name: {name}
        ports:
""" + "".join(f"          - {{name: {n}, port: {p}, target: {t}}}\n" for n, p, t in ports) for name, (pod, ports) in pods.items())
        return self.write("manager.yaml", f"""
listen: 0.0.0.0:7400
state: {self.dir}/manager
endpoints: ["{MANAGER}"]
prefixes: [{', '.join(f'"{p}"' for p in PREFIXES)}]
namespace: shop
dns:
  server: 10.96.0.10:53
  domains: [cluster.local]
  search: [shop.svc.cluster.local, svc.cluster.local, cluster.local]
{extra}workloads:{workloads}""")

    def start_manager(self):
        config = self.manager_config()
        os.makedirs(f"{self.dir}/manager", exist_ok=True)
        os.chown(f"{self.dir}/manager", NOBODY, NOBODY)
        self.manager = self.start("cluster", "manager", f"{self.bin}/culvert-manager", "--config", config, user=NOBODY)
        self.wait_listening("cluster", 7400, udp=True)
        return self.manager

    def invite(self, role, name, *extra):
        """Makes an invite as the manager's operator does; the file's path."""
        path = f"{self.dir}/manager/{name}.invite"
        self.run("cluster", f"{self.bin}/culvert-manager", "invite", role, name, "--config", f"{self.dir}/manager.yaml",
                 "--output", path, *extra, user=NOBODY)
        return path

    AGENTS = {"web": [("0.0.0.0:80", "10.244.0.10:8080")],
              "shop": [("0.0.0.0:80", "10.244.0.11:9001"), ("0.0.0.0:81", "10.244.0.11:9002")]}

    def start_agent(self, name):
        invite = f"{self.dir}/manager/{name}-0.invite"
        if not os.path.exists(invite):
            self.invite("agent", f"{name}-0")
        state = f"{self.dir}/agent-{name}"
        os.makedirs(state, exist_ok=True)
        os.chown(state, NOBODY, NOBODY)
        ports = "".join(f"  - {{listen: \"{listen}\", application: \"{app}\", protocol: {(protocol or ['tcp'])[0]}}}\n"
                        for listen, app, *protocol in self.AGENTS[name])
        config = self.write(f"agent-{name}.yaml", f"""
invite: {invite}
state: {state}
kind: deployment
workload: {name}
namespace: shop
ports:
{ports}environment:
  GREETING: hello from the {name} pod
  DATABASE_URL: postgres://db.shop.svc.cluster.local/{name}
""")
        # Ports below 1024 without a capability: the pod's namespace says so, as container runtimes do.
        self.sysctl(name, "net.ipv4.ip_unprivileged_port_start", "0")
        agent = self.start(name, f"agent-{name}", f"{self.bin}/culvert-agent", "--config", config, user=NOBODY)
        setattr(self, f"agent_{name}", agent)
        self.wait_listening(name, 80)
        return agent

    def start_helper(self, on="laptop"):
        socket = f"{self.dir}/helper-{on}.sock"
        helper = self.start(on, f"helper-{on}", f"{self.bin}/culvert-helper", "--socket", socket,
                            "--state", f"{self.dir}/helper-state-{on}", "--allow", str(NOBODY))
        wait_for("the helper's socket", lambda: os.path.exists(socket))
        if on == "laptop":
            self.helper = helper
        return helper

    def start_cluster(self):
        self.start_dns()
        self.start_apps()
        self.start_manager()
        self.start_agent("web")
        self.start_agent("shop")

    def connect(self, *extra, on="laptop", name=None, check=True):
        name = name or {"laptop": "ana", "other": "ben"}[on]
        return self.culvert("connect", "--manager", MANAGER, "--invite", self.invite_laptop(name), *extra, on=on, check=check)

    def invite_laptop(self, name="ana"):
        path = f"{self.dir}/manager/{name}.invite"
        return path if os.path.exists(path) else self.invite("laptop", name)

    def up(self):
        """Everything, connected."""
        self.start_cluster()
        self.start_helper()
        self.connect()
        return self

    # -- questions -------------------------------------------------------------------------------

    def curl(self, url, *extra, where="laptop", check=True, timeout=30):
        return self.run(where, "curl", "-sS", "--max-time", str(timeout - 5), *extra, url, check=check, timeout=timeout).stdout

    def daemon_pid(self, on="laptop"):
        for pid in sh("ip", "netns", "pids", self.ns(on)).stdout.split():
            with contextlib.suppress(OSError):
                cmd = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
                if cmd[0].endswith(b"culvert") and b"daemon" in cmd:
                    return int(pid)
        return None

    def laptop_state(self):
        """What culvert changes on a laptop: links, routes, addresses, resolv.conf."""
        with open(f"/etc/netns/{self.ns('laptop')}/resolv.conf") as f:
            resolv = f.read()
        return (self.ip("laptop", "-o", "link").stdout, self.ip("laptop", "route", "show", "table", "all").stdout,
                self.ip("laptop", "-6", "route", "show", "table", "all").stdout, self.ip("laptop", "rule").stdout, resolv)


def story(function):
    """Runs one story as a program: its steps are printed, a failure is a sentence and exit code 1."""
    start = time.monotonic()
    try:
        function()
    except Failed as e:
        print(f"FAILED: {e}", file=sys.stderr)
        sys.exit(1)
    print(f"done in {time.monotonic() - start:.1f} s")


def step(text):
    print(f"- {text}", flush=True)
