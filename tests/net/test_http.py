#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP requests taken one by one where there is no Kubernetes: which, whose, what is printed and what is refused."""
from lab import Failed, Lab, step, story, wait_for

URL = "http://10.96.0.21"


def has(text, *wants):
    for want in wants:
        if want not in text:
            raise Failed(f"'{want}' is missing in:\n{text}")
    return text


def answers(lab, want, *headers, path="/"):
    """What a client in the cluster gets; a change may take a moment to reach the agent."""
    argv = [arg for header in headers for arg in ("-H", header)]
    wait_for(f"'{want}' for {path} {headers}", lambda: want in lab.curl(URL + path, *argv, where="client"))


def serve(lab, port, label, on="laptop"):
    p = lab.start(on, label, "/usr/bin/python3", f"{lab.dir}/shop.py", "127.0.0.1", str(port), env={"GREETING": f"hello from {label}"})
    lab.wait_listening(on, port)
    return p


def header_of(out):
    """The line that is ready to paste."""
    line = next(line for line in out.splitlines() if line.strip().startswith("Header"))
    return line.split(": ", 1)[1].strip()


def own_header(lab):
    step("auto: the report names the header, ready to paste")
    out = lab.culvert("intercept", "shop", "--port", "3000:http", "--http-match", "auto").stdout
    header = header_of(out)
    name, ident = header.split(": ", 1)
    has(out, "Using Deployment shop\nintercepted\n", "    Intercepting           : HTTP requests that match all of:\n"
        f'      header("{name}") ~= regexp("{ident}")\n', f"curl -H '{header}'")
    if name != "x-culvert-intercept-id" or not ident.endswith(":shop") or len(ident) != 32 + len(":shop"):
        raise Failed(header)
    answers(lab, "hello from laptop", header)
    answers(lab, "shop pod port 9001")
    answers(lab, "hello from laptop", f"baggage: a=b,culvert={ident[:32]}")
    answers(lab, "shop pod port 9001", header[:-1] + "X")

    step("status has it; list says by which header")
    status = has(lab.culvert("status").stdout, f"        {header}\n", f'HTTP requests that match header("{name}") ~= ')
    wait_for("counts", lambda: ", 2 requests, " in lab.culvert("status").stdout)
    if "Login" in status:
        raise Failed(status)
    has(lab.culvert("list").stdout, "intercepted by ana (http, port http, x-culvert-intercept-id)")
    listed = next(w for w in lab.culvert_json("list")["workloads"] if w["workload"]["name"] == "shop")["intercepts"][0]
    if listed["match"]["mode"] != "auto" or listed["mechanism"] != "http":
        raise Failed(listed)

    step("intercepting again: the header stays")
    serve(lab, 3001, "laptop's other")
    again = lab.culvert("intercept", "shop", "--port", "3001:http", "--preview-url=false", "--mechanism=http").stdout
    if header_of(again) != header:
        raise Failed(again)
    answers(lab, "hello from laptop's other", header)
    lab.culvert("leave", "shop")
    answers(lab, "shop pod", header)


def several(lab):
    step("two laptops, by header and by path; everybody else gets the pod")
    lab.start_helper(on="other")
    lab.connect(on="other")
    serve(lab, 3000, "ben", on="other")
    out = lab.culvert("intercept", "shop", "--port", "3000:http", "--http-match", "x-user=ana|anna", "--http-match", "x-env=.*").stdout
    has(out, 'header("x-user") ~= regexp("ana|anna")\n      header("x-env") ~= regexp(".*")\n')
    if "Header  " in out:
        raise Failed(out)
    match = ("--http-match", "x-team=b", "--http-path-prefix", "/api")
    out = lab.culvert("intercept", "shop", "--port", "3000:http", *match, on="other").stdout
    has(out, 'HTTP requests that match all of:\n      header("x-team") ~= regexp("b")\n      path-prefix("/api")\n')
    answers(lab, "hello from laptop", "X-User: anna", "x-env: 1")
    answers(lab, "hello from ben", "x-team: b", path="/api/x")
    answers(lab, "shop pod port 9001", "x-team: b", path="/ap")
    answers(lab, "hello from laptop", "x-user: ana", "x-env: 1", "x-team: b", path="/api/x")  # more conditions
    answers(lab, "shop pod port 9001", "x-user: annab", "x-env: 1")
    answers(lab, "shop pod port 9001", "x-user: ana")
    has(lab.culvert("list", "-o", "yaml").stdout, 'path: "/api"')
    has(lab.culvert("list").stdout, "(http, port http, x-user, x-env)", "(http, port http, x-team, /api)")

    step("a clash names holder, intercept and match")
    for args in (("--mechanism=tcp",), ("--http-match", "all"), ("--http-path-prefix", "/api")):
        done = lab.culvert("intercept", "shop", "--port", "3000:http", *args, on="other", check=False)
        if done.returncode != 1 or "ana" not in done.stderr:
            raise Failed(f"{args}: exit {done.returncode}: {done.stderr}")
    answers(lab, "hello from ben", "x-team: b", path="/api/x")
    lab.culvert("quit", on="other")
    answers(lab, "shop pod port 9001", "x-team: b", path="/api/x")


def refused(lab):
    step("wrong usage is said at once")
    for args, says in ((("--mechanism=tcp", "--http-match=all"), "leave one out"), (("--http-match", "x-user=("), "column"),
                       (("--http-match", "all", "--http-match", "auto"), "stands alone"), (("--http-path-prefix", "api"), "begins with '/'"),
                       (("--preview-url=false", "--ingress-host", "a"), "leave one out"), (("--ingress-port", "http"), "1 to 65535")):
        done = lab.culvert("intercept", "shop", "--port", "3000:http", *args, check=False)
        if done.returncode != 2 or says not in done.stderr:
            raise Failed(f"{args}: exit {done.returncode}: {done.stderr}")

    step("a preview needs a login, and previews need Kubernetes")
    for args, says in ((("intercept", "shop", "--port", "3000:http", "--preview-url"), "culvert login"),
                       (("preview", "share", "shop"), "need Kubernetes"), (("dashboard",), "need Kubernetes")):
        done = lab.culvert(*args, check=False)
        if done.returncode != 1 or says not in done.stderr:
            raise Failed(f"{args}: exit {done.returncode}: {done.stderr}")


def main():
    with Lab() as lab:
        lab.up()
        serve(lab, 3000, "laptop")
        own_header(lab)
        several(lab)
        refused(lab)
        lab.culvert("quit")


story(main)
