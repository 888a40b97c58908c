# SPDX-License-Identifier: Apache-2.0
"""The lab with a laptop that uses systemd-resolved, as most do: a real one, under a bus of its own, in mounts of its own.

The package is not installed, for that would replace this machine's /etc/resolv.conf: it is unpacked into the cache. The
laptop gets a /run and an /etc of its own, in which resolv.conf is the link that distributions make.
"""
import fcntl
import os
import shutil
import socket
import struct

from lab import Failed, Lab, sh, wait_for

STUB = "127.0.53.53"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""
MOUNTS = """set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/dbus /run/systemd/netif/links /run/systemd/resolve /run/etc
umount /etc/resolv.conf
cp -a /etc/. /run/etc
mount --bind /run/etc /etc
getent passwd systemd-resolve >/dev/null || {
	echo systemd-resolve:x:977:977::/:/usr/sbin/nologin >>/etc/passwd
	echo systemd-resolve:x:977: >>/etc/group
}
echo 'hosts: files dns' >/etc/nsswitch.conf
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
chown systemd-resolve:systemd-resolve /run/systemd/resolve
echo ready
exec sleep infinity
"""


def unpacked():
    """The folder of the unpacked package; fetched once."""
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "culvert", "resolved")
    os.makedirs(cache, exist_ok=True)
    with open(f"{cache}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f"{cache}/root/lib/systemd/systemd-resolved"):
            sh("sh", "-c", "rm -rf new root; mkdir new && apt-get download systemd-resolved && "
               "dpkg -x systemd-resolved_*.deb new && mv new root", cwd=cache, timeout=120)
    return f"{cache}/root"


class ResolvedLab(Lab):
    def __enter__(self):
        super().__enter__()
        try:
            self.start_resolved_laptop()
        except BaseException:
            self.show_logs()
            self.close()
            raise
        return self

    mounts = None

    def argv(self, name, argv, user):
        line = super().argv(name, argv, user)
        if name == "laptop" and self.mounts:
            line[:4] = ["nsenter", f"--mount=/proc/{self.mounts.pid}/ns/mnt", f"--net=/proc/{self.mounts.pid}/ns/net", "--"]
        return line

    def start_resolved_laptop(self):
        # A copy, since the cache may lie where only its owner can read.
        shutil.copytree(unpacked(), f"{self.dir}/resolved", symlinks=True)
        policy = f"{self.dir}/resolved/usr/share/dbus-1/system.d/org.freedesktop.resolve1.conf"
        bus = self.write("bus.conf", BUS.format(policy=policy))
        mounts = self.start("laptop", "mounts", "unshare", "-m", "sh", "-c", MOUNTS)
        wait_for("the laptop's mounts", lambda: "ready" in mounts.output())
        self.mounts = mounts
        self.start("laptop", "bus", "dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile", "--nosyslog")
        wait_for("the bus", lambda: self.run("laptop", "test", "-S", "/run/dbus/system_bus_socket", check=False).returncode == 0)
        self.start_resolved()

    def start_resolved(self):
        self.resolved = self.start("laptop", "resolved", f"{self.dir}/resolved/lib/systemd/systemd-resolved")
        wait_for("systemd-resolved", lambda: self.resolvectl("status", check=False).returncode == 0)
        # As NetworkManager does with what DHCP said.
        self.resolvectl("dns", "eth0", "10.99.1.1")
        self.resolvectl("domain", "eth0", "home.lan", "~.")

    def resolvectl(self, *args, check=True):
        return self.run("laptop", f"{self.dir}/resolved/usr/bin/resolvectl", "--no-pager", *args, check=check)

    def resolver_state(self):
        """All that programs see of it; but which of the servers it has asked last."""
        status = [line.strip() for line in self.resolvectl("status").stdout.split("\n") if "Current DNS Server" not in line]
        return (status, self.run("laptop", "cat", "/etc/resolv.conf").stdout,
                self.run("laptop", "readlink", "/etc/resolv.conf").stdout)

    # -- names -----------------------------------------------------------------------------------

    def start_dns(self):
        names = {"web": "10.96.0.20", "shop": "10.96.0.21", "web6": "fd10:244::10"}
        hosts = self.write("cluster.hosts", "".join(f"{ip} {name}.shop.svc.cluster.local\n" for name, ip in names.items()) +
                           "10.244.0.41 db.shop.svc.cluster.local db-0.db.shop.svc.cluster.local\n"
                           "10.244.0.42 db.shop.svc.cluster.local db-1.db.shop.svc.cluster.local\n"
                           "10.96.0.99 api.dev.svc.cluster.local\n")
        self.start("cluster", "dns", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                   f"--addn-hosts={hosts}", "--listen-address=10.96.0.10", "--bind-interfaces", "--local=/cluster.local/",
                   "--srv-host=_http._tcp.web.shop.svc.cluster.local,web.shop.svc.cluster.local,80",
                   *[f"--txt-record=big.shop.svc.cluster.local,{'x' * 240}{i}" for i in range(12)], "--user=nobody", "--pid-file")
        self.wait_listening("cluster", 53, udp=True)
        self.start("router", "home-dns", "dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                   "--listen-address=10.99.1.1", "--bind-interfaces", "--address=/printer.home.lan/10.99.1.77", "--user=nobody",
                   "--address=/example.org/192.0.2.80", "--address=/go.dev/192.0.2.81", "--local=/home.lan/dev/shop/svc/", "--pid-file")
        self.wait_listening("router", 53, udp=True)

    def manager_config(self, extra=""):
        path = super().manager_config(extra)
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(text.replace("domains: [cluster.local]", "domains: [cluster.local, svc, shop, dev]"))
        return path


class HelperClient:
    """A daemon of few words: the messages of privsep/privsep.h by hand."""
    SEARCH, DOMAIN_LEN, DOMAINS, ROUTED_LEN = 6, 254, 512, 128
    SIZE = 8 + ((8 + SEARCH * DOMAIN_LEN + DOMAINS * ROUTED_LEN + 1) + 3) // 4 * 4

    def __init__(self, lab):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        self.socket.connect(f"{lab.dir}/helper-laptop.sock")

    def ask(self, op, body=b""):
        self.socket.send((struct.pack("=II", 2, op) + body).ljust(self.SIZE, b"\0"))
        answer, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
        for fd in fds[1:] if op == 2 else fds:
            os.close(fd)
        code = struct.unpack_from("=i", answer, 8)[0]
        if code:
            raise Failed(f"the helper: {answer[16:528].rstrip(bytes(1)).decode()}")

    def hello(self):
        self.ask(1)

    def tun(self):
        self.ask(2, bytes([4, 198, 18, 0, 7]))

    def dns(self, search, domains):
        pad = [d.encode().ljust(self.DOMAIN_LEN, b"\0") for d in search]
        pad += [bytes(self.DOMAIN_LEN)] * (self.SEARCH - len(pad))
        routed = [d.encode().ljust(self.ROUTED_LEN, b"\0") for d in domains]
        self.ask(4, struct.pack("=II", len(search), len(domains)) + b"".join(pad + routed))
