"""What the acceptance suites share: a receiver, a sender and the relay as a process. Python standard library only.

Nothing of sidehook is used to judge sidehook: signatures are verified with hmac and hashlib as the Standard Webhooks
specification says, bodies are compared with what was sent, and what counts as accepted is what was answered 202.
Everything listens on 127.0.0.1 and ends with the suite.
"""
import argparse
import asyncio
import base64
import hashlib
import hmac
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
RESET = -1  # an answer of a receiver: the connection is reset
PORTS = random.SystemRandom()  # not the seeded one: ports are no part of what a run repeats
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def arguments(description, **defaults):
    """The suite's arguments: one --name for each default, and the binary."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--sidehook", default=os.path.join(ROOT, "target/release/sidehook"), help="the binary to test")
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's random choices")
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    chosen = parser.parse_args()
    # A suite that is stopped ends what it started, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    chosen.seed = chosen.seed if chosen.seed is not None else int.from_bytes(os.urandom(4), "big")
    return chosen


def free_port():
    """A free port below those the system gives to outgoing connections: one of these would take it, or connect to itself
    on it, while the relay is down."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest = int(file.read().split()[0])
    for _ in range(1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", PORTS.randrange(min(10_000, lowest // 2), lowest)))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise SystemExit("no free port on 127.0.0.1")


def verified(headers, body, key=KEY):
    """Whether the request carries a valid Standard Webhooks 1.0 signature."""
    signed = b"%s.%s.%s" % (headers[b"webhook-id"], headers[b"webhook-timestamp"], body)
    expected = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    return any(hmac.compare_digest(expected, one) for one in headers[b"webhook-signature"].split(b" "))


class Receiver:
    """An HTTP/1.1 endpoint that remembers what came. `answer(path, event_id)` gives a status, None to hang, or RESET."""

    def __init__(self, answer=lambda path, event_id: 200):
        self.answer = answer
        self.received = {}  # (path, given id) -> number of complete requests
        self.digests = {}  # (path, given id) -> SHA-256 of the body
        self.arrived = {}  # (path, given id) -> time of the first
        self.invalid = []
        self.in_flight = 0
        self.port = None
        self.last = time.monotonic()

    async def start(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def take(self, path, headers, body):
        event_id = headers.get(b"webhook-id", b"?").decode()
        if not verified(headers, body):
            self.invalid.append((path, event_id))
        key = (path, event_id)
        self.last = time.monotonic()
        status = self.answer(path, event_id)
        if status is not None and 200 <= status < 300:
            self.received[key] = self.received.get(key, 0) + 1
            self.digests[key] = hashlib.sha256(body).digest()
            self.arrived.setdefault(key, time.monotonic())
        return status

    def duplicates(self):
        return sum(count - 1 for count in self.received.values())


class Connection(asyncio.Protocol):
    """One connection of the receiver: enough HTTP/1.1 for requests with Content-Length."""

    def __init__(self, receiver):
        self.receiver, self.buffer = receiver, b""

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self.buffer[:end].split(b"\r\n")
            headers = {}
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            size = int(headers.get(b"content-length", b"0"))
            if len(self.buffer) < end + 4 + size:
                return
            body, self.buffer = self.buffer[end + 4:end + 4 + size], self.buffer[end + 4 + size:]
            path = lines[0].split(b" ")[1].decode()
            status = self.receiver.take(path, headers, body)
            if status == RESET:
                self.transport.abort()
                return
            if status is not None:
                self.transport.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)


class Sender:
    """Posts events over several connections and remembers which were answered 202."""

    def __init__(self, port, size=1024, prefix="e", event_type="order.created"):
        self.port, self.size, self.prefix, self.type = port, size, prefix, event_type
        self.accepted = {}  # given id -> SHA-256 of the body
        self.sent = set()
        self.sent_at = {}
        self.answers = {}  # status -> count
        self.without_retry_after = 0  # answers 503 that lack the header
        self.broken = 0
        self.number = 0
        self.stopped = False
        self.header = lambda event_id: b""  # more header lines of an event's request, each with its CR LF

    def next_event(self):
        self.number += 1
        event_id = f"{self.prefix}-{self.number}"
        head = b'{"type":"%s","id":"%s","data":"' % (self.type.encode(), event_id.encode())
        filler = random.randbytes((self.size - len(head) - 2 + 1) // 2).hex().encode()
        body = head + filler[:self.size - len(head) - 2] + b'"}'
        return event_id, body

    async def post(self, reader, writer, event_id, body):
        """One request; the status, or None when the connection broke."""
        self.sent.add(event_id)
        self.sent_at[event_id] = time.monotonic()
        writer.write(b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                     b"idempotency-key: %s\r\n%scontent-length: %d\r\n\r\n%s" % (event_id.encode(), self.header(event_id), len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"content-length: (\d+)", head, re.I)
        await reader.readexactly(int(length.group(1)) if length else 0)
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == 503 and not re.search(rb"\nretry-after: *\d+\r", head, re.I):
            self.without_retry_after += 1
        if status == 202:
            self.accepted[event_id] = hashlib.sha256(body).digest()
        return status

    async def connection(self, limit, pause=0.0):
        """Posts until stopped or `limit` events were sent in all; connects anew when the relay goes away."""
        while not self.stopped and self.number < limit:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                self.broken += 1
                await asyncio.sleep(0.02)
                continue
            try:
                while not self.stopped and self.number < limit:
                    event_id, body = self.next_event()
                    status = await self.post(reader, writer, event_id, body)
                    if pause or status == 503:
                        await asyncio.sleep(pause or 0.05)
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                self.broken += 1
            finally:
                writer.close()

    async def run(self, connections, limit, pause=0.0):
        await asyncio.gather(*(self.connection(limit, pause) for _ in range(connections)))


async def post_lines(port, lines):
    """Posts batches of at most 1,000 JSON events, each of which must be accepted."""
    for first in range(0, len(lines), 1000):
        body = b"\n".join(lines[first:first + 1000])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\n"
                     b"content-length: %d\r\n\r\n%s" % (len(body), body))
        answer = await reader.read()
        writer.close()
        if b" 202 " not in answer[:20]:
            raise SystemExit(f"a batch was refused: {answer[:300]}")


class Relay:
    """The relay as a process, in a temporary folder of its own."""

    def __init__(self, binary, subscriptions):
        self.binary = binary
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="sidehook-acceptance-"))
        self.events, self.admin = free_port(), free_port()
        self.config = os.path.join(self.folder, "sidehook.yaml")
        self.store = os.path.join(self.folder, "data")
        self.write(subscriptions)
        self.process = None
        self.starts = 0

    def write(self, subscriptions, extra=""):
        text = (f'listen: {{events: "127.0.0.1:{self.events}", admin: "127.0.0.1:{self.admin}"}}\n'
                f'store: {{path: "{self.store}"}}\n'
                'network: {allow_private: ["127.0.0.0/8"]}\n'
                f'{extra}subscriptions:\n{subscriptions}')
        with open(self.config + ".new", "w") as file:
            file.write(text)
        os.replace(self.config + ".new", self.config)

    def start(self, prefix=(), wait=True, seconds=20, environment=None):
        self.starts += 1
        command = [*prefix, self.binary, "run", "--config", self.config]
        with open(os.path.join(self.folder, "log"), "a") as log:
            # Not the terminal of who runs the suite: on one SIGHUP means that it is closed.
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            env=environment and {**os.environ, **environment})
        if wait:
            self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.get("/readyz") is not None:
                return
            if self.process.poll() is not None:
                raise SystemExit(f"the relay ended with {self.process.returncode}:\n{self.tail()}")
            time.sleep(0.01)
        raise SystemExit(f"the relay is not ready after {seconds} s:\n{self.tail()}")

    async def begun(self, seconds=20):
        """Waits until it is ready or has ended: before that a SIGTERM just ends it."""
        await until(lambda: self.process.poll() is not None or self.get("/readyz") is not None, seconds)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def metric(self, name, **labels):
        """The sum of a metric's series that carry these labels."""
        total, text = 0.0, self.get("/metrics") or ""
        for line in text.splitlines():
            found = re.match(r"([a-z_]+)(\{.*\})? (\S+)$", line)
            if found and found.group(1) == name and all(f'{k}="{v}"' in (found.group(2) or "") for k, v in labels.items()):
                total += float(found.group(3))
        return total

    def status(self, field="VmRSS"):
        """A figure of /proc/PID/status, in MiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))

    async def reload(self):
        """SIGHUP, and waits until the file was read; whether it was applied."""
        done = lambda: sum(self.metric("sidehook_config_reloads_total", outcome=outcome) for outcome in ("success", "failure"))
        before = await asyncio.to_thread(done)
        self.process.send_signal(signal.SIGHUP)
        await until(lambda: done() > before, 10)
        return await asyncio.to_thread(self.metric, "sidehook_config_last_reload_successful") == 1.0

    def knows(self, name, value):
        """Whether this binary has that field of a subscription: older ones are tested too, without what they lack."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("subscriptions:\n" + subscription("one", "https://example.com", **{name: value}))
            file.flush()
            return subprocess.run([self.binary, "check", "--config", file.name], capture_output=True).returncode == 0

    def kill(self, number=signal.SIGKILL):
        """Signals the relay's group, so that strace around it does not take the blow for it; its exit code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(40)

    def tail(self, size=3000):
        with open(os.path.join(self.folder, "log")) as file:
            return file.read()[-size:]

    def errors(self, size=400):
        """The end of what its log has as errors."""
        return "\n".join(line for line in self.tail(10_000).splitlines() if '"ERROR"' in line)[-size:]

    def remove(self):
        if self.process:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Level:
    """What a relay holds: resident memory, descriptors, threads and, where the binary says so, tasks. Taken before hostile
    parties come, so that it can be told whether all is back at that level once they have gone."""

    # What may stay for good: caches and pools of the allocator, idle connections of the suite itself.
    ROOM = dict(memory_mib=48, descriptors=24, threads=2, tasks=24)

    def __init__(self, relay):
        self.relay = relay
        self.before = self.now()

    def now(self):
        found = dict(memory_mib=self.relay.status(), threads=self.relay.status("Threads") * 1024,
                     descriptors=len(os.listdir(f"/proc/{self.relay.process.pid}/fd")))
        tasks = self.relay.metric("sidehook_runtime_tasks")
        return {**found, "tasks": tasks} if tasks else found

    def above(self, **room):
        """What is above the level by more than its room, in words."""
        room, now = {**self.ROOM, **room}, self.now()
        return [f"{name} {now[name]:.0f}, before {before:.0f}" for name, before in self.before.items() if now[name] > before + room[name]]

    async def failures(self, seconds=60, **room):
        """Waits until all is back, prints what was, and what then is not."""
        await until(lambda: not self.above(**room), seconds)
        now, above = self.now(), self.above(**room)
        print("level: " + ", ".join(f"{name} {before:.0f} -> {now[name]:.0f}" for name, before in self.before.items()), flush=True)
        return [f"not back at its level after {seconds} s: {one}" for one in above]


async def until(what, seconds=30):
    """Whether `what` comes true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if await asyncio.to_thread(what):
            return True
        await asyncio.sleep(0.02)
    return False


def subscription(name, url, events="*", **fields):
    """One subscription in YAML, signed as `standard`."""
    fields.setdefault("secret", SECRET)
    lines = [f"  {name}:", f'    url: "{url}"', f'    events: ["{events}"]']
    lines += [f"    {key}: {value}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


async def drained(relay, receiver, sender, paths, seconds=120):
    """Waits until everything accepted has arrived on every path; whether it has."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not missing(receiver, sender, paths):
            await asyncio.sleep(0.3)  # a duplicate would come now
            return True
        await asyncio.sleep(0.1)
    return False


def missing(receiver, sender, paths):
    return [(path, event) for path in paths for event in sender.accepted if (path, event) not in receiver.received]


def verdict(name, receiver, sender, paths, **figures):
    """Prints what was counted; the failures found."""
    lost = missing(receiver, sender, paths)
    altered = [key for key, digest in receiver.digests.items() if sender.accepted.get(key[1], digest) != digest]
    phantom = [key for key in receiver.received if key[1] not in sender.sent]
    counts = dict(accepted=len(sender.accepted), delivered=len(receiver.received), lost=len(lost), altered=len(altered),
                  never_sent=len(phantom), bad_signatures=len(receiver.invalid), duplicates=receiver.duplicates(), **figures)
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in counts.items()), flush=True)
    failures = [f"{len(items)} {what}, such as {items[:3]}" for what, items in
                (("lost", lost), ("altered", altered), ("never sent", phantom), ("bad signatures", receiver.invalid)) if items]
    if not sender.accepted:
        failures.append("nothing was accepted: the suite proved nothing")
    return failures


def finish(name, seed, failures):
    """The suite's last line and exit code."""
    for failure in failures:
        print(f"{name}: FAILED: {failure}")
    print(f"{name}: {'failed' if failures else 'passed'} (seed {seed})")
    return 1 if failures else 0
