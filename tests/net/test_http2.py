#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by streams: gRPC from its real library, nghttpd and curl; a client that was there before the intercept; laptops that fail."""
import os
import signal
import subprocess

from lab import NOBODY, ROOT, Failed, Lab, sh, step, story, wait_for

KINDS = ("unary", "client-stream", "server-stream", "bidi")
MINE = ("-H", "x-dev=ana")


class Http2Lab(Lab):
    def start_apps(self):
        super().start_apps()
        self.grpc = f"{self.dir}/grpc"
        sh("cp", sh(f"{ROOT}/tests/grpc/build", timeout=300).stdout.strip(), self.grpc)
        self.processes[-1].stop()  # shop.py: gRPC takes the first port, nghttpd the second
        self.start("shop", "grpc-pod", self.grpc, "serve", "--listen", "10.244.0.11:9001", "--name", "pod", user=NOBODY)
        self.serve_files("shop", "10.244.0.11", 9002, "pod")
        self.wait_listening("shop", 9001)

    def serve_files(self, where, address, port, text):
        folder = f"{self.dir}/files-{text}"
        sh("mkdir", "-p", folder)
        self.write(f"files-{text}/who", f"{text}\n")
        self.write(f"files-{text}/big", text * 300000)
        p = self.start(where, f"nghttpd-{text}", "nghttpd", "--no-tls", "-a", address, "-d", folder, "--echo-upload", str(port))
        self.wait_listening(where, port)
        return p

    def serve_grpc(self, name, port=3000):
        p = self.start("laptop", f"grpc-{name}", self.grpc, "serve", "--listen", f"127.0.0.1:{port}", "--name", name)
        self.wait_listening("laptop", port)
        return p

    def call(self, *args, check=True):
        return self.run("client", self.grpc, "call", "--to", "10.96.0.21:80", *args, check=check, timeout=120)

    def fetch(self, path="who", *args):
        done = self.run("client", "curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", *args,
                        f"http://10.96.0.21:81/{path}", check=False)
        return done.stdout + done.stderr


def served(out):
    """{"unary laptop": 20, ...}"""
    return {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in out.splitlines()}


def expect_all(out, name, n):
    want = {f"{kind} {name}": n for kind in KINDS}
    if served(out) != want:
        raise Failed(f"{want} was to come, and not:\n{out}")


def a_laptop_asleep(lab):
    step("the laptop falls asleep while its one connection is in use: what was asked there goes to the pod, and nothing fails")
    log = f"{lab.dir}/h2load.log"
    running = subprocess.Popen(lab.argv("client", ["h2load", "-n", "50", "-c", "1", "-m", "1", "--rps=1", f"--log-file={log}",
                                                   "-H", "x-dev: ana", "http://10.96.0.21:81/who"], None), stdout=subprocess.PIPE, text=True)
    answers = lambda: open(log, encoding="ascii").read().splitlines() if os.path.exists(log) else []
    wait_for("answers of the laptop", lambda: len(answers()) > 2)
    pid = lab.daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        out = running.communicate(timeout=180)[0]
    finally:
        os.kill(pid, signal.SIGCONT)
    if "50 succeeded, 0 failed" not in out:
        raise Failed(out)
    wait_for("the laptop again", lambda: lab.fetch("who", "-H", "x-dev: ana") == "laptop\n", 60)


def main():
    with Http2Lab() as lab:
        lab.up()
        laptop = lab.serve_grpc("laptop")

        step("nobody intercepts: it passes through")
        expect_all(lab.call("-n", "20", "-c", "4", *KINDS).stdout, "pod", 20)

        step("a client that is there before the intercept is taken over, and sees no error")
        running = subprocess.Popen(lab.argv("client", [lab.grpc, "call", "--to", "10.96.0.21:80", *MINE, "-n", "60000", "-c", "4",
                                                       "unary"], None), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for("the client's connection", lambda: lab.run("client", "ss", "-Htn", "state", "established", "dst", "10.96.0.21").stdout)
        lab.culvert("intercept", "shop", "--port", "3000:http", "--http-match", "x-dev=ana", "--tag-responses")
        wait_for("a call to the laptop", lambda: served(lab.call(*MINE, "unary").stdout) == {"unary laptop": 1})
        out, err = running.communicate(timeout=120)
        counts = served(out)
        if running.returncode or not counts.get("unary pod") or not counts.get("unary laptop"):
            raise Failed(f"exit {running.returncode}: {out}{err}")

        step("mine at the laptop, others' at the pod, all four kinds at once")
        mine = subprocess.Popen(lab.argv("client", [lab.grpc, "call", "--to", "10.96.0.21:80", *MINE, "-n", "200", "-c", "10",
                                                    "--size", "3000", *KINDS], None), stdout=subprocess.PIPE, text=True)
        expect_all(lab.call("-n", "200", "-c", "10", "--size", "3000", *KINDS).stdout, "pod", 200)
        expect_all(mine.communicate(timeout=120)[0], "laptop", 200)

        step("long streams of large messages")
        expect_all(lab.call(*MINE, "-n", "3", "-c", "3", "--messages", "200", "--size", "100000", *KINDS).stdout, "laptop", 3)

        step("nothing listens on the laptop: the pod serves; it comes back: the laptop does")
        laptop.stop()
        wait_for("the pod", lambda: served(lab.call(*MINE, "unary", check=False).stdout) == {"unary pod": 1})
        expect_all(lab.call(*MINE, "-n", "10", *KINDS).stdout, "pod", 10)
        laptop = lab.serve_grpc("laptop")
        wait_for("the laptop", lambda: served(lab.call(*MINE, "unary").stdout) == {"unary laptop": 1})

        step("a preview's visitor never gets the pod")
        laptop.stop()
        done = lab.call(*MINE, "-H", "x-culvert-preview=1", "unary", check=False)
        if "does not answer" not in done.stderr or "Unavailable" not in done.stderr:
            raise Failed(done.stderr)

        step("the laptop speaks no HTTP/2: a sentence, and not the pod")
        http1 = lab.start("laptop", "http1", "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "3000", cwd=lab.dir)
        lab.wait_listening("laptop", 3000)
        done = lab.call(*MINE, "unary", check=False)
        if "HTTP/2 without TLS" not in done.stderr or "Unavailable" not in done.stderr:
            raise Failed(done.stderr)
        http1.stop()
        lab.culvert("leave", "shop")

        step("another port, files: tags, uploads, a megabyte")
        lab.serve_files("laptop", "127.0.0.1", 3001, "laptop")
        lab.culvert("intercept", "shop", "--port", "3001:admin", "--http-match", "x-dev=ana", "--tag-responses")
        wait_for("the laptop", lambda: lab.fetch("who", "-H", "x-dev: ana") == "laptop\n")
        for name, args in (("laptop", ("-H", "x-dev: ana")), ("pod", ())):
            head = lab.fetch("who", "-D", "-", *args)
            by = "ana" if name == "laptop" else "pod"
            if f"x-culvert-served-by: {by}" not in head or not head.endswith(f"{name}\n"):
                raise Failed(head)
            if lab.fetch("big", *args) != name * 300000:
                raise Failed(f"the large file of the {name} is not what it was")
            upload = lab.write("upload", "0123456789abcdef" * 100000)
            # Not by curl: 7.88.1 now and then sends more than it has said when the window is large.
            back = lab.run("client", "nghttp", "-d", upload, *args, "http://10.96.0.21:81/who", check=False).stdout
            if back != "0123456789abcdef" * 100000:
                raise Failed(f"the upload to the {name} did not come back, but {len(back)} bytes: {back[:200]}")
        out = lab.run("client", "h2load", "-n", "3000", "-c", "8", "-m", "10", "-H", "x-dev: ana", "http://10.96.0.21:81/who").stdout
        if "3000 succeeded, 0 failed" not in out:
            raise Failed(out)

        a_laptop_asleep(lab)

        step("it leaves: the pod again, without an error")
        lab.culvert("leave", "shop")
        wait_for("the pod", lambda: lab.fetch("who", "-H", "x-dev: ana") == "pod\n")


story(main)
