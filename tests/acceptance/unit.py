#!/usr/bin/env python3
"""The shipped unit and the commands: what systemd would make of systemd/sidehook.service is made by hand, and everything is
asked as an operator would: as root in a plain shell.

The unit and its configuration are read as they are shipped. In mount and network namespaces of its own the suite installs
the binary as /usr/bin/sidehook and the configuration as /etc/sidehook/config.yaml, and starts the service with a user that has
no name, with the folders, modes, umask and environment that the unit asks for, and without leave to write anything else.
Needs root."""
import http.client
import http.server
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from fcntl import ioctl

from harness import ROOT, arguments, finish

NAME = "unit"
UNIT = os.path.join(ROOT, "systemd/sidehook.service")
CONFIG = os.path.join(ROOT, "systemd/config.yaml")
STATE, RUNTIME, ETC = "/var/lib/sidehook", "/run/sidehook", "/etc/sidehook/config.yaml"
SOCKET, WRITTEN = f"{RUNTIME}/admin.sock", f"{STATE}/subscriptions.yaml"
INSIDE = "SIDEHOOK_UNIT_SUITE"  # set in the namespaces
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def enter():
    """Starts this suite again in namespaces of its own."""
    if os.geteuid() != 0:
        sys.exit(f"{NAME}: FAILED: needs root, to mount and to start a service as another user")
    if os.environ.get(INSIDE):
        return
    os.environ[INSIDE] = "1"
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, os.path.abspath(__file__), *sys.argv[1:]]
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{NAME}: FAILED: cannot make namespaces: {error}")


def run(*command):
    subprocess.run(command, check=True)


def loopback_up():
    """What `ip link set lo up` does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def directives(path):
    """The settings of a unit: name -> its values."""
    found = {}
    with open(path) as file:
        for line in file:
            line = line.strip()
            if line and line[0] not in "#;[":
                name, _, value = line.partition("=")
                found.setdefault(name, []).append(value)
    return found


class Machine:
    """A machine on which the unit is installed: /usr/bin, /etc, /var/lib and /run of our own."""

    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="sidehook-unit-")
        os.chmod(self.folder, 0o755)
        self.copy("/usr/bin")
        self.copy("/etc")
        for path in ("/var/lib", "/run"):
            own = self.own(path)
            os.makedirs(own)
            run("mount", "--bind", own, path)
        shutil.copy(binary, "/usr/bin/sidehook")
        os.makedirs("/etc/sidehook", 0o755)
        shutil.copy(CONFIG, ETC)
        os.chmod(ETC, 0o644)
        os.makedirs("/var/lib/private", 0o700)

    def own(self, path):
        return os.path.join(self.folder, path.strip("/").replace("/", "-"))

    def copy(self, path):
        """Puts a folder of links in the place of one, so that files can be added."""
        own, before = self.own(path), self.own(path) + ".before"
        os.makedirs(own)
        os.makedirs(before)
        run("mount", "--bind", path, before)
        for name in os.listdir(before):
            if name != "sidehook":
                os.symlink(os.path.join(before, name), os.path.join(own, name))
        run("mount", "--bind", own, path)

    def remove(self):
        for path in ("/run", "/var/lib", "/etc", "/usr/bin"):
            subprocess.run(["umount", "--lazy", path], check=False)
        for name in os.listdir(self.folder):
            if name.endswith(".before"):
                subprocess.run(["umount", "--lazy", os.path.join(self.folder, name)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class Service:
    """What systemd does with the unit, as far as it concerns who may write and read what."""

    def __init__(self, machine):
        self.machine, self.unit = machine, directives(UNIT)
        for name, value in dict(Type="notify", DynamicUser="yes", StateDirectory="sidehook", RuntimeDirectory="sidehook",
                                ProtectSystem="strict", NoNewPrivileges="yes").items():
            if self.unit.get(name) != [value]:
                sys.exit(f"{NAME}: FAILED: the unit says {name}={self.unit.get(name)}, this suite is made for {value}")
        self.user = next(number for number in range(61184, 65520) if not named(number))
        self.process = None
        self.log = os.path.join(machine.folder, "log")

    def one(self, name):
        return self.unit[name][-1]

    def folders(self):
        """StateDirectory= and RuntimeDirectory=: the former below a folder that only root enters, with a link."""
        real = "/var/lib/private/sidehook"
        for path, mode in ((real, "StateDirectoryMode"), (RUNTIME, "RuntimeDirectoryMode")):
            if not os.path.exists(path):
                os.mkdir(path)
            os.chown(path, self.user, self.user)
            os.chmod(path, int(self.one(mode), 8))
        if not os.path.lexists(STATE):
            os.symlink("private/sidehook", STATE)

    def environment(self):
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8", "STATE_DIRECTORY": STATE,
                     "RUNTIME_DIRECTORY": RUNTIME, "INVOCATION_ID": "0" * 32}
        for path in self.unit.get("EnvironmentFile", []):
            optional, path = path.startswith("-"), path.removeprefix("-")
            if os.path.exists(path) or not optional:
                with open(path) as file:
                    variables.update(line.strip().split("=", 1) for line in file if "=" in line)
        return variables

    def confined(self, command):
        """A command of the unit: its own view of the files, in which all but its folders is read-only."""
        script = f"""set -e
        state={self.machine.folder}/state
        mkdir -p "$state" && mount --bind /var/lib/private/sidehook "$state"
        mount -t tmpfs -o mode=755 tmpfs /var/lib/private && mkdir /var/lib/private/sidehook
        mount --bind "$state" /var/lib/private/sidehook
        for path in / /etc /usr/bin; do mount --bind $path $path; mount -o remount,bind,ro $path; done
        export LISTEN_PID=$$
        umask {self.one("UMask")}
        ulimit -n {self.one("LimitNOFILE")} 2>/dev/null || true
        exec setpriv --reuid {self.user} --regid {self.user} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all -- {command}"""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def begin(self, strict=False, sockets=()):
        """Starts it and waits until it says READY. `strict`: its check may not even warn. `sockets`: what a .socket unit with
        FileDescriptorName=events listens on."""
        for credential in self.unit.get("LoadCredential", []):
            if not os.path.exists(credential.partition(":")[2]):
                sys.exit(f"{NAME}: FAILED: the unit does not start: {credential} does not exist")
        self.folders()
        for command in self.unit.get("ExecStartPre", []):
            before = subprocess.run(self.confined(command), env=self.environment(), capture_output=True, text=True, timeout=60)
            if before.returncode or strict and "warning" in before.stdout + before.stderr:
                raise Broken(f"ExecStartPre: exit code {before.returncode}: {before.stdout}{before.stderr}")
        path = "/run/notify"
        if os.path.exists(path):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log, "a") as log:
            notify.bind(path)
            os.chmod(path, 0o777)
            notify.settimeout(30)
            self.process = subprocess.Popen(self.confined(self.one("ExecStart")), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**self.environment(), "NOTIFY_SOCKET": path, **handed(sockets)},
                                            pass_fds=[one.fileno() for one in sockets], start_new_session=True)
            try:
                while b"READY=1" not in notify.recv(4096):
                    pass
            except TimeoutError:
                raise Broken(f"not READY: {self.tail()}") from None
        return self

    def end(self, number=signal.SIGTERM, clean=True):
        """Stops it; `clean`: with its runtime folder, as systemd does."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        if clean:
            shutil.rmtree(RUNTIME)
        return code

    def reload(self):
        for command in self.unit["ExecReload"]:
            run(*command.replace("$MAINPID", str(self.process.pid)).split())

    def tail(self, size=2000):
        with open(self.log) as file:
            return file.read()[-size:]


def handed(sockets):
    """What tells a service of the sockets that it inherits, whose numbers follow each other."""
    if not sockets:
        return {}
    numbers = [one.fileno() for one in sockets]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    return {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDS_FIRST_FD": str(numbers[0]), "LISTEN_FDNAMES": ":".join(["events"] * len(numbers))}


class Broken(Exception):
    """What cannot be gone on from."""


def named(number):
    try:
        return pwd.getpwuid(number)
    except KeyError:
        return None


def sidehook(*arguments, user=0, group=None, variables=None):
    """A command in a plain shell: none of our variables, another folder; its exit code and what it says."""
    become = ["setpriv", "--reuid", str(user), "--regid", str(group or user), "--clear-groups", "--"] if user else []
    done = subprocess.run([*become, "/usr/bin/sidehook", *arguments], env={"PATH": "/usr/bin:/bin", "HOME": "/", **(variables or {})},
                          cwd="/", text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def call(method, path, body=None):
    """A call of the API by the socket, without a token: the status and the document."""
    connection = Unix("localhost", timeout=30)
    connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None


class Endpoint(http.server.BaseHTTPRequestHandler):
    status, received = 500, []

    def do_POST(self):
        self.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(Endpoint.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Checks:
    def __init__(self):
        self.failures, self.count = [], 0

    def that(self, what, holds, *shown):
        self.count += 1
        if not holds:
            self.failures.append(f"{what}: {' | '.join(str(one).strip() for one in shown)}"[:1500])

    def command(self, *arguments, has="", **options):
        """A command that must succeed, and say this; its output."""
        code, out, err = sidehook(*arguments, **options)
        self.that(f"sidehook {' '.join(arguments)}", code == 0 and has in out + err, code, out, err)
        return out

    def eventually(self, what, condition, seconds=15):
        end = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        self.that(what, found, found)
        return found


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def the_shipped_configuration(checks, service):
    """As it is installed: valid without a warning, and ready for the first edit."""
    code, out, err = sidehook("check", "--strict")
    checks.that("check --strict", code == 0 and "warning" not in out + err, code, out, err)
    checks.that("the socket", stat.S_ISSOCK(os.stat(SOCKET).st_mode) and mode(SOCKET) == 0o660, oct(mode(SOCKET)))
    checks.command("status", has="no subscriptions")
    status, instance = call("GET", "/v1/instance")
    checks.that("GET /v1/instance", status == 200 and instance["config"] == ETC and instance["events"] == ["127.0.0.1:8780"], instance)
    status, made = call("POST", "/v1/subscriptions", {"name": "first", "url": "https://partner.example.com/hooks", "events": ["none.*"]})
    checks.that("the first edit", status == 201 and made.get("secret"), status, made)
    checks.that("its file", os.path.exists(WRITTEN) and os.stat(WRITTEN).st_uid == service.user, WRITTEN)
    checks.command("status", "first", has="partner.example.com")


def install(port):
    """What an operator writes: a subscription below /etc, one in the file of the API."""
    with open("/etc/sidehook/secret", "w") as file:
        file.write(SECRET)
    os.chmod("/etc/sidehook/secret", 0o644)
    with open(ETC) as file:
        text = file.read()
    text = text.replace("subscriptions: {}", "network: {allow_private: [127.0.0.1/32]}\n\nsubscriptions:\n"
                        f"  fixed: {{url: 'http://127.0.0.1:{port}/', events: ['fixed.*'], secret: {{file: secret}}}}")
    with open(ETC, "w") as file:
        file.write(text)


def every_command(checks, port):
    """As root in a plain shell."""
    checks.command("reload")
    checks.command("status", "fixed", has="127.0.0.1")
    body = {"name": "billing", "url": f"http://127.0.0.1:{port}/", "events": ["invoice.*"], "retry": "none"}
    status, made = call("POST", "/v1/subscriptions", body)
    checks.that("POST /v1/subscriptions", status == 201, status, made)
    checks.command("send", "invoice.paid", "--id", "in-1", "--data", '{"total": 7}', has="accepted")
    checks.eventually("a dead letter", lambda: call("GET", "/v1/subscriptions/billing")[1].get("dead") == 1)
    checks.command("attempts", "billing", has="500")
    checks.command("events", has="invoice.paid")
    out = checks.command("deliveries", "--json")
    delivery = json.loads(out.splitlines()[0])["id"] if out else "none"
    Endpoint.status = 200
    checks.command("replay", delivery)
    checks.eventually("the replay", lambda: call("GET", f"/v1/deliveries/{delivery}")[1].get("state") == "delivered")
    checks.command("replay", "--subscription", "billing", "--dry-run")
    checks.command("test", "billing")
    out = checks.command("rotate-secret", "billing", "--grace", "1h")
    checks.that("a new secret", out.startswith("whsec_"), out)
    checks.command("disable", "billing")
    checks.command("enable", "billing")
    checks.command("diff")
    status, changed = call("PATCH", "/v1/subscriptions/billing", {"timeout": "7s"})
    checks.that("PATCH of one in the state folder", status == 200 and changed["timeout"] == "7s", status, changed)
    checks.command("check", has="valid")


def what_cannot_be_edited(checks, service):
    """Below /etc, and secrets of the environment: the refusal says what to do."""
    status, problem = call("PATCH", "/v1/subscriptions/fixed", {"timeout": "7s"})
    words = (ETC, WRITTEN, "read-only", "subscriptions.fixed") if "read-only" in str(problem) else (ETC, WRITTEN, "may not write", "subscriptions.fixed")
    checks.that("409 of one below /etc", status == 409 and all(word in problem["detail"] for word in words), status, problem)
    code, out, err = sidehook("rotate-secret", "fixed")
    checks.that("rotate-secret of one below /etc", code == 1 and WRITTEN in err, code, out, err)
    with open("/etc/sidehook/environment", "w") as file:
        file.write(f"ENVY_SECRET={SECRET}\n")
    with open(ETC, "a") as file:
        file.write("\n  envy: {url: 'https://a.example', events: ['envy.*'], secret: {env: ENVY_SECRET}}\n")
    service.end()
    service.begin()
    code, out, err = sidehook("rotate-secret", "envy", "--grace", "2h")
    steps = ("ENVY_SECRET_OLD", "previous_secrets", "until: 20", "restart", ETC)
    checks.that("rotate-secret of the environment", code == 1 and all(word in err for word in steps), code, out, err)
    checks.that("no secret is shown", SECRET not in out + err, err)


def reloads(checks, service):
    done = lambda: call("GET", "/v1/subscriptions/later")[0] == 200
    with open(WRITTEN, "a") as file:
        file.write("  later: {active: false}\n")
    service.reload()
    checks.eventually("ExecReload", done)


def others(checks, service):
    """Another user of the machine gets nothing, and learns why."""
    for arguments in (["status"], ["replay", "--subscription", "billing"], ["status", "--config", ETC]):
        code, out, err = sidehook(*arguments, user=12345)
        checks.that(f"another user: {arguments}", code == 1 and "root" in err and "sudo" in err and not out, code, out, err)
    checks.command("status", user=service.user)


def the_store(checks, service):
    code, out, err = sidehook("check", "--store")
    checks.that("check --store of a running one", code == 2 and "in use" in out + err, code, out, err)
    checks.that("SIGTERM", service.end(clean=False) == 0, service.tail())
    checks.that("the socket is removed", not os.path.exists(SOCKET))
    code, out, err = sidehook("status")
    checks.that("status of one that is stopped", code != 0 and "no sidecar seems to run" in err, code, out, err)
    code, out, err = sidehook("check", "--store")
    checks.that("check --store", code == 0 and f"{STATE}: valid" in out and "billing" in out and "/etc/sidehook/environment" in err, code, out, err)
    # Variables of somebody else are not taken: the secret is missing then.
    os.chown("/etc/sidehook/environment", 65534, 65534)
    code, out, err = sidehook("check", "--store")
    checks.that("check --store with variables of another user", code == 2 and f"{STATE}: valid" in out and "billing" in out, code, out, err)
    os.chown("/etc/sidehook/environment", 0, 0)
    strangers = [path for folder, _, files in os.walk(STATE + "/") for path in (os.path.join(folder, one) for one in files)
                 if os.stat(path).st_uid != service.user]
    checks.that("the files stay those of the service", not strangers, strangers)
    service.begin()
    checks.command("status", has="billing")


def a_stale_socket(checks, service):
    service.end(signal.SIGKILL, clean=False)
    checks.that("a killed one leaves its socket", os.path.exists(SOCKET))
    code, out, err = sidehook("status")
    checks.that("status of one that was killed", code != 0 and "no sidecar seems to run" in err, code, out, err)
    service.begin()
    checks.command("status", has="billing")


def a_socket_for_one_group(checks, service):
    """The form that sidehook.socket recommends, beside a port: both are served."""
    with open(ETC) as file:
        text = file.read()
    with open(ETC, "w") as file:
        file.write(text.replace("events: 127.0.0.1:8780", 'events: "systemd:events"'))
    service.end()
    path, group = "/run/sidehook-events.sock", 7777
    port, unix = socket.create_server(("127.0.0.1", 8799)), socket.socket(socket.AF_UNIX)
    unix.bind(path)
    os.chown(path, 0, group)
    os.chmod(path, 0o660)
    unix.listen(16)
    sockets = [socket.socket(fileno=os.dup2(one.fileno(), number)) for number, one in ((100, port), (101, unix))]
    service.begin(sockets=sockets)
    checks.command("send", "some.thing", has="accepted")
    for address in (f"unix:{path}", "http://127.0.0.1:8799"):
        checks.command("send", "some.thing", "--url", address, user=12345, group=group, has="accepted")
    code, out, err = sidehook("send", "some.thing", "--url", f"unix:{path}", user=12345)
    checks.that("who is not of the group", code == 1 and "Permission denied" in err, code, out, err)
    instance = call("GET", "/v1/instance")[1]
    checks.that("both are told", instance["events"] == ["127.0.0.1:8799", f"unix:{path}"], instance)


def main():
    chosen = arguments(__doc__)
    enter()
    loopback_up()
    checks, machine = Checks(), Machine(os.path.abspath(chosen.sidehook))
    service = Service(machine)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    port = receiver.server_address[1]
    try:
        service.begin(strict=True)
        the_shipped_configuration(checks, service)
        install(port)
        every_command(checks, port)
        others(checks, service)
        reloads(checks, service)
        what_cannot_be_edited(checks, service)
        the_store(checks, service)
        a_stale_socket(checks, service)
        a_socket_for_one_group(checks, service)
    except (Broken, OSError, subprocess.SubprocessError) as error:
        checks.failures.append(f"cannot go on: {error}")
    finally:
        if service.process and service.process.poll() is None:
            service.process.kill()
            service.process.wait()
        machine.remove()
    print(f"{NAME}: {checks.count} checks, {len(checks.failures)} failed", flush=True)
    return finish(NAME, chosen.seed, checks.failures)


sys.exit(main())
