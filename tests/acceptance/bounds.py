#!/usr/bin/env python3
"""One party alone (an endpoint, a client, a reader of the log, a file, an expression) can neither stop, nor swell, nor end the relay.

Each case is one fault with its figure and bound; `--case NAME` runs one of them. What all of them do at once is `hostile.py`.
"""
import asyncio
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

from harness import Receiver, Relay, arguments, finish, free_port, subscription, until
from http2 import DATA, ENDED, GOAWAY, HEADERS, OK, PING, SETTINGS, WINDOW, Tls, frame, frames

NAME = "bounds"
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Fails(Exception):
    """A bound that does not hold."""


def at_most(value, bound, what):
    if value > bound:
        raise Fails(f"{what}: {value:.2f}, at most {bound}")


def equal(value, expected, what):
    if value != expected:
        raise Fails(f"{what}: {value}, not {expected}")


def post(port, body, content_type="application/json", event_type="t", timeout=60, path="/events"):
    """One event or batch over a connection of its own: the status, and the seconds it took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nsidehook-type: %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
                       % (path.encode(), event_type.encode(), content_type.encode(), len(body)))
        with contextlib.suppress(OSError):
            client.sendall(body)
        answer = client.recv(4096)
    return int(answer[9:12] or 0), time.monotonic() - began


def batch(port, count, event_type="t", **more):
    return post(port, b'{"a":1}\n' * count, "application/x-ndjson", event_type, **more)


def descriptors(relay):
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


def memory(relay):
    """Resident memory now, after the allocator had a moment, in MiB."""
    return relay.status("VmRSS")


@contextlib.contextmanager
def running(binary, subscriptions, extra="", start=True, **how):
    relay = Relay(binary, subscriptions)
    try:
        relay.write(subscriptions, extra)
        if start:
            relay.start(**how)
        yield relay
    finally:
        relay.remove()


# A. Delivering

@case
async def goaway(binary, tls):
    """HTTP/2 requests that the endpoint says it did not process are no failed attempts."""
    taken = set()

    async def handler(reader, writer):
        writer.write(frame(SETTINGS, 0, 0))
        served = 0
        async for kind, flags, stream, payload in frames(reader):
            if kind == SETTINGS and not flags & 1:
                writer.write(frame(SETTINGS, 1, 0))
            if kind == DATA and flags & 1:
                writer.write(frame(WINDOW, 0, 0, struct.pack(">I", max(1, len(payload)))))
                if served == 20:  # says that it ends, and drops what comes after
                    writer.write(frame(GOAWAY, 0, 0, struct.pack(">II", last, 0)))
                    await writer.drain()
                    return
                served, last = served + 1, stream
                taken.add((id(writer), stream))
                writer.write(frame(HEADERS, ENDED, stream, OK))
    port = await tls.serve(handler)
    one = subscription("one", f"https://localhost:{port}/", retry="none", concurrency=64, tls=f'{{ca_file: "{tls.pem}"}}')
    with running(binary, one) as relay:
        began = time.monotonic()
        await asyncio.to_thread(batch, relay.events, 600)
        ended = lambda: sum(relay.metric("sidehook_deliveries_total", subscription="one", outcome=outcome) for outcome in ("delivered", "dead"))
        await until(lambda: ended() >= 600, 60)
        delivered, failed = relay.metric("sidehook_deliveries_total", outcome="delivered"), relay.metric("sidehook_attempts_total", status="failed")
        figure = f"delivered {delivered:.0f} of 600, failed attempts {failed:.0f}, {time.monotonic() - began:.1f} s, processed {len(taken)}"
        print(f"{NAME}: goaway: {figure}", flush=True)
        equal((delivered, failed), (600, 0), "delivered and failed")


@case
async def odd_heads(binary, tls):
    """The status line decides, whatever stands in the rest of the head."""
    heads = {"space in name": b"X Bad: 1\r\nContent-Length: 2\r\n", "junk length": b"Content-Length: two\r\n", "two lengths": b"Content-Length: 1\r\nContent-Length: 2\r\n",
             "both": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "folded": b"X-Long: a\r\n b\r\nContent-Length: 2\r\n", "no colon": b"nonsense\r\n",
             "nul": b"X: a\0b\r\n", "many": b"X-Many: 1\r\n" * 500, "long": b"X-Long: " + b"a" * 60_000 + b"\r\n", "space before colon": b"Content-Length : 2\r\n",
             "negative": b"Content-Length: -1\r\n", "huge": b"Content-Length: 99999999999999999999999\r\n", "bytes": b"X: \xff\xfe\r\n: empty\r\n", "coding": b"Transfer-Encoding: gzip, identity\r\n"}
    seen = {}

    async def handler(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")).split(b":")[1])
                await reader.readexactly(length)
                name = head.split(b" ")[1].decode()[1:].replace("%20", " ")
                seen[name] = seen.get(name, 0) + 1
                writer.write(b"HTTP/1.1 200 OK\r\n" + heads[name] + b"\r\nok")
        writer.close()
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = "".join(subscription(f"s{number}", f"http://127.0.0.1:{port}/{name.replace(' ', '%20')}", retry="none") for number, name in enumerate(heads))
    with running(binary, text) as relay:
        await asyncio.to_thread(post, relay.events, b"{}")
        await until(lambda: len(seen) == len(heads) and relay.metric("sidehook_pending_deliveries") == 0, 30)
        bad = [name for number, name in enumerate(heads) if relay.metric("sidehook_deliveries_total", subscription=f"s{number}", outcome="delivered") != 1]
        print(f"{NAME}: odd_heads: {len(heads) - len(bad)} of {len(heads)} are successes; not {bad}", flush=True)
        equal(bad, [], "heads that turn a 200 into a failure")


@case
async def early_answer(binary, tls):
    """An answer that comes before the body is read is not lost."""
    def serve(listener, status):
        while True:
            client, _ = listener.accept()
            client.recv(1024)
            client.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)
            client.close()  # with what was sent unread: a reset
    lost = {}
    for status in (200, 410, 413):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            serving = asyncio.get_running_loop().run_in_executor(None, serve, listener, status)
            one = subscription("one", f"http://127.0.0.1:{listener.getsockname()[1]}/", retry="none", locked="true", concurrency=1)
            with running(binary, one, "ingest: {max_body: 4MiB}\n") as relay:
                for _ in range(20):
                    await asyncio.to_thread(post, relay.events, b"a" * 1_000_000)
                await until(lambda: relay.metric("sidehook_attempts_total") == 20, 30)
                lost[status] = int(relay.metric("sidehook_attempt_failures_total", reason="reset"))
            listener.shutdown(socket.SHUT_RDWR)
            serving.cancel()
    print(f"{NAME}: early_answer: lost of 20 each: {lost}", flush=True)
    equal(sum(lost.values()), 0, "answers lost")


@case
async def own_lack(binary, tls):
    """What this machine lacks is charged to no endpoint."""
    async def handler(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(8 - 1)
                await asyncio.sleep(0.5)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=1024)
    one = subscription("one", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", retry="none", concurrency=64)
    with running(binary, one, prefix=("prlimit", "--nofile=64:64")) as relay:
        status, _ = await asyncio.to_thread(batch, relay.events, 300)
        outcome = lambda name: relay.metric("sidehook_deliveries_total", outcome=name)
        await until(lambda: outcome("delivered") + outcome("dead") >= 300, 60)
        figures = outcome("delivered"), relay.metric("sidehook_attempts_total", status="failed")
        print(f"{NAME}: own_lack: {status}, delivered {figures[0]:.0f} of 300, failed attempts {figures[1]:.0f}, put off {relay.metric('sidehook_attempt_lacks_total'):.0f} times", flush=True)
        equal(figures, (300, 0), "delivered, failed attempts")


# B. One stuck thing stops others

@case
async def stuck_log(binary, tls):
    """A reader of the log that stops."""
    receiver = await Receiver(lambda path, event: 404).start()
    reading, writing = os.pipe()
    with running(binary, subscription("one", receiver.url("/a"), give_up_on="[404]"), start=False) as relay:
        relay.starts += 1
        relay.process = subprocess.Popen([binary, "run", "--config", relay.config], stdout=writing, stderr=writing, start_new_session=True)
        relay.wait_ready()
        try:
            slowest = 0.0
            for _ in range(6):
                _, seconds = await asyncio.to_thread(batch, relay.events, 1000, timeout=10)
                slowest = max(slowest, seconds)
            await until(lambda: relay.metric("sidehook_deliveries_total", outcome="dead") == 6000, 20)
            dead = relay.metric("sidehook_deliveries_total", outcome="dead")
            began = time.monotonic()
            relay.process.send_signal(signal.SIGTERM)
            ended = await until(lambda: relay.process.poll() is not None, 30)
            print(f"{NAME}: stuck_log: slowest post {slowest:.2f} s, dead {dead:.0f} of 6000, ended after SIGTERM {ended} in {time.monotonic() - began:.2f} s", flush=True)
            equal((dead, ended), (6000, True), "dead letters, ended")
        except TimeoutError:
            print(f"{NAME}: stuck_log: a post is not answered within 10 s", flush=True)
            raise Fails("posts hang") from None
        finally:
            os.close(reading)
            os.close(writing)


@case
async def busy_folder(binary, tls):
    """A file beside the configuration that is written all the time does not keep an edit from being applied."""
    receiver = await Receiver().start()
    one = subscription("one", receiver.url("/a"))
    with running(binary, one) as relay:
        stop = False

        async def write():
            with open(os.path.join(relay.folder, "app.log"), "a") as file:
                while not stop:
                    print("line", file=file, flush=True)
                    await asyncio.sleep(0.1)
        writing = asyncio.create_task(write())
        await asyncio.sleep(0.5)
        began = time.monotonic()
        relay.write(one + subscription("two", receiver.url("/b")))
        applied = await until(lambda: relay.metric("sidehook_subscription_enabled", subscription="two") == 1, 15)
        stop = True
        await writing
        print(f"{NAME}: busy_folder: applied {applied} after {time.monotonic() - began:.1f} s", flush=True)
        equal(applied, True, "applied")


# C. One party against all

@case
async def stuck_window(binary, tls):
    """An HTTP/2 endpoint that grants a large window and never reads keeps neither descriptors nor memory."""
    async def handler(reader, writer):
        writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) + frame(WINDOW, 0, 0, struct.pack(">I", 2**31 - 1 - 65535)))
        writer.transport.pause_reading()
        await asyncio.sleep(3600)
    port = await tls.serve(handler, 4096)
    one = subscription("one", f"https://localhost:{port}/", retry="{initial: 100ms, factor: 1, max_interval: 100ms, max_attempts: 1000}", timeout="1s",
                       tls=f'{{ca_file: "{tls.pem}"}}', auto_disable="never")
    with running(binary, one, "ingest: {max_body: 16MiB}\n") as relay:
        before = descriptors(relay), memory(relay)
        for _ in range(4):
            await asyncio.to_thread(post, relay.events, b"a" * 12_000_000)
        await asyncio.sleep(20)
        during = descriptors(relay), memory(relay)
        attempts = relay.metric("sidehook_attempts_total")
        print(f"{NAME}: stuck_window: descriptors {before[0]} before, {during[0]} after {attempts:.0f} attempts; resident {before[1]:.0f} and {during[1]:.0f} MiB", flush=True)
        at_most(during[0] - before[0], 10, "descriptors more than before")


@case
async def flood(binary, tls):
    """Endless small frames after a 200 do not take the runtime's thread."""
    junk = {"ping": frame(PING, 1, 0, b"12345678"), "unknown": frame(77, 0, 0, b"x"), "priority": frame(2, 0, 3, b"\0\0\0\0\x10"), "window": frame(WINDOW, 0, 0, b"\0\0\0\1"),
            "settings": frame(SETTINGS, 0, 0)}
    port_of = {}
    for name, part in junk.items():
        async def handler(reader, writer, part=part):
            writer.write(frame(SETTINGS, 0, 0))
            async for kind, flags, stream, _ in frames(reader):
                if kind == DATA and flags & 1:
                    writer.write(frame(HEADERS, ENDED, stream, OK))
                    break
            while not writer.is_closing():
                writer.write(part * 2000)
                await writer.drain()
                await asyncio.sleep(0)  # drain alone does not yield once the relay has closed
        port_of[name] = await tls.serve(handler)
    receiver = await Receiver().start()
    text = subscription("healthy", receiver.url("/a"), "healthy")
    text += "".join(subscription(name, f"https://localhost:{port}/", "flood", tls=f'{{ca_file: "{tls.pem}"}}') for name, port in port_of.items())
    with running(binary, text) as relay:
        ticks = lambda: sum(int(field) for field in open(f"/proc/{relay.process.pid}/stat").read().split()[13:15]) / os.sysconf("SC_CLK_TCK")
        await asyncio.to_thread(post, relay.events, b"{}", event_type="flood")
        await asyncio.sleep(3)
        began, used = time.monotonic(), ticks()
        delays = []
        for _ in range(20):
            _, seconds = await asyncio.to_thread(post, relay.events, b"{}", event_type="healthy")
            delays.append(seconds)
        await asyncio.sleep(3)
        share = (ticks() - used) / (time.monotonic() - began)
        open_ones = descriptors(relay)
        print(f"{NAME}: flood: p50 of posts {1000 * sorted(delays)[10]:.1f} ms, processor {share:.2f} cores, descriptors {open_ones}", flush=True)
        at_most(share, 0.2, "cores taken by floods")


@case
async def few_descriptors(binary, tls):
    """With 1,024 descriptors and 1,023 idle clients the store still gets its files."""
    receiver = await Receiver().start()
    with running(binary, subscription("one", receiver.url("/a")), prefix=("prlimit", "--nofile=1024:1024")) as relay:
        kept = socket.create_connection(("127.0.0.1", relay.events))
        idle = []
        for _ in range(1023):
            idle.append(socket.create_connection(("127.0.0.1", relay.events), timeout=5))
        await asyncio.sleep(1)
        accepted = 0
        for _ in range(12):  # more than the first segment of 4 MiB
            with contextlib.suppress(OSError):
                status, _ = await asyncio.to_thread(post, relay.events, b"a" * 1_000_000, timeout=10)
                accepted += status == 202
        delivered = await until(lambda: relay.metric("sidehook_deliveries_total", outcome="delivered") >= 12, 20)
        alive = relay.process.poll() is None
        print(f"{NAME}: few_descriptors: accepted {accepted} of 12, delivered {delivered}, alive {alive}", flush=True)
        for one in [kept, *idle]:
            one.close()
        equal((accepted, delivered, alive), (12, True, True), "accepted, delivered, alive")


@case
async def silent_clients(binary, tls):
    """Silent and slow connections do not make a fresh client wait."""
    receiver = await Receiver().start()
    with running(binary, subscription("one", receiver.url("/a"))) as relay:
        waits = {}
        parts = {"silent": b"", "slow head": b"POST /events HTTP/1.1\r\nhost: loc", "slow body": b"POST /events/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nab"}
        for name, part in parts.items():
            clients = []
            for _ in range(1100):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", relay.events))
                clients.append(client)
            await asyncio.sleep(0.5)
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(part)
            await asyncio.sleep(0.5)
            try:
                _, waits[name] = await asyncio.to_thread(post, relay.events, b"{}", timeout=90)
            except OSError:
                waits[name] = 90.0
            for client in clients:
                client.close()
        clients = [socket.create_connection(("127.0.0.1", relay.admin), timeout=5) for _ in range(600)]
        began = time.monotonic()
        await asyncio.to_thread(until_ready, relay)
        waits["probe"] = time.monotonic() - began
        for client in clients:
            client.close()
        print(f"{NAME}: silent_clients: seconds until a fresh client is answered: { {name: round(wait, 2) for name, wait in waits.items()} }", flush=True)
        at_most(max(waits.values()), 1, "seconds until a fresh client is answered")


def until_ready(relay):
    for _ in range(30):
        if relay.get("/healthz") is not None:
            return


@case
async def wide_batch(binary, tls, many=5000):
    """One batch of 1,000 events against 5,000 subscriptions whose endpoint refuses."""
    receiver = await Receiver().start()
    refusing = free_port()
    text = "".join(subscription(f"s{number}", f"http://127.0.0.1:{refusing}/{number}", "wide", secret='""') for number in range(many))
    other = subscription("other", receiver.url("/other"), "other")
    with running(binary, other) as relay:
        alone = memory(relay)
    with running(binary, text + other, start=False) as relay:
        relay.start(seconds=60)
        idle = memory(relay)
        each = (idle - alone) * 1024 / many
        posting = asyncio.create_task(asyncio.to_thread(batch, relay.events, 1000, "wide"))
        delays, end = [], time.monotonic() + 10
        while not posting.done() or time.monotonic() < end:
            _, seconds = await asyncio.to_thread(post, relay.events, b"{}", event_type="other")
            delays.append(seconds)
            await asyncio.sleep(0.02)
        status, seconds = await posting
        peak = relay.status("VmHWM")
        relay.kill(signal.SIGKILL)
        began = time.monotonic()
        relay.start(seconds=90)
        ready = time.monotonic() - began
        print(f"{NAME}: wide_batch: {status} in {seconds:.1f} s, others' slowest posts {[round(one, 2) for one in sorted(delays)[-3:]]} s; resident {idle:.0f} MiB idle "
              f"({each:.1f} KiB each), {peak:.0f} at most; ready {ready:.1f} s after kill -9", flush=True)
        at_most(each, 8, "KiB of an idle subscription")
        at_most(peak - idle, 240, "MiB more than idle")
        at_most(ready, 2, "seconds until ready")
        at_most(max(delays), 1, "seconds of others' posts")


@case
async def expression(binary, tls):
    """An expensive expression does not block others."""
    receiver = await Receiver().start()
    text = subscription("other", receiver.url("/other"), "other")
    # Each has an automaton that doubles with every repetition; the text keeps it from being cut short.
    filters = [f'data.t.matches("[01]*1[01]{{{300 + number}}}x")' for number in range(20)]
    filters += ['data.l.exists(x, data.t.contains(x + "q"))', 'data.l.all(x, data.l.all(y, x + y != "nope"))', 'data.t.matches("(.*)*(.*)*(.*)*x$")']
    for number, one in enumerate(filters):
        text += subscription(f"s{number}", receiver.url("/s"), "slow", when="'" + one + "'")
    with running(binary, text) as relay:
        body = json.dumps({"t": "".join(random.choice("01") for _ in range(64_000)) + "yx", "l": ["ab" * 50] * 2000}).encode()
        delays = []
        posting = asyncio.create_task(asyncio.to_thread(post, relay.events, body, event_type="slow"))
        while not posting.done() or len(delays) < 5:
            _, seconds = await asyncio.to_thread(post, relay.events, b"{}", event_type="other")
            delays.append(seconds)
        status, seconds = await posting
        print(f"{NAME}: expression: {status} in {seconds:.3f} s, others' slowest post {max(delays):.3f} s", flush=True)
        at_most(seconds, 0.25, "seconds of the event itself")
        at_most(max(delays), 0.25, "seconds of others' posts")


@case
async def include_everything(binary, tls):
    """An include that names the whole disk is an error of the reload."""
    receiver = await Receiver().start()
    one = subscription("one", receiver.url("/a"))
    with running(binary, one) as relay:
        before = memory(relay)
        relay.write(one, 'include: ["/**/*"]\n')
        began = time.monotonic()
        await until(lambda: relay.process.poll() is not None or relay.metric("sidehook_config_reloads_total", outcome="failure") > 0, 60)
        alive, seconds = relay.process.poll() is None, time.monotonic() - began
        peak = relay.status("VmHWM") if alive else float("inf")
        print(f"{NAME}: include_everything: alive {alive}, answered after {seconds:.1f} s, resident {before:.0f} and at most {peak:.0f} MiB", flush=True)
        at_most(peak - before, 64, "MiB more")
        at_most(seconds, 10, "seconds until the reload is refused")


@case
async def wrong_file(binary, tls):
    """20,000 wrong subscriptions cost neither memory for good nor megabytes of log."""
    receiver = await Receiver().start()
    one = subscription("one", receiver.url("/a"))
    with running(binary, one) as relay:
        before = memory(relay)
        relay.write(one + "".join(f"  s{number}:\n    url: {number}\n    wrong: key\n" for number in range(20_000)))
        await until(lambda: relay.metric("sidehook_config_reloads_total", outcome="failure") > 0, 60)
        await asyncio.sleep(2)
        after, log = memory(relay), os.path.getsize(os.path.join(relay.folder, "log")) / 1e6
        print(f"{NAME}: wrong_file: resident {before:.0f} and {after:.0f} MiB, log {log:.2f} MB", flush=True)
        # The allocator keeps what the file took for the next one.
        at_most(after - before, 64, "MiB kept")
        at_most(log, 0.2, "MB of log")


@case
async def unread_scrapes(binary, tls):
    """150 scrapes of 10,000 subscriptions that nobody reads."""
    port = free_port()
    text = "".join(subscription(f"s{number}", "https://example.com/", secret='""') for number in range(10_000))
    with running(binary, text, start=False) as relay:
        with open(relay.config) as file:
            whole = file.read().replace("}\n", f', metrics: "127.0.0.1:{port}"}}\n', 1)
        with open(relay.config, "w") as file:
            file.write(whole)
        relay.start(seconds=60)
        before = memory(relay)
        clients = []
        for _ in range(150):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")
            clients.append(client)
        await asyncio.sleep(8)
        peak = relay.status("VmHWM")
        probe = relay.get("/healthz") is not None
        for client in clients:
            client.close()
        print(f"{NAME}: unread_scrapes: resident {before:.0f} MiB idle, {peak:.0f} at most, probe answered {probe}", flush=True)
        at_most(peak - before, 160, "MiB more")


@case
async def endless_mail_line(binary, tls):
    """A mail server that never ends its line."""
    async def handler(reader, writer):
        with contextlib.suppress(OSError):
            writer.write(b"220 ")
            while True:
                writer.write(b"1" * 65536)
                await writer.drain()
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    mail = server.sockets[0].getsockname()[1]
    receiver = await Receiver(lambda path, event: 500).start()
    one = subscription("one", receiver.url("/a"), notify='["a@example.com"]', notify_after=1)
    extra = f'notifications: {{smtp: {{host: 127.0.0.1, port: {mail}, tls: none, from: "sidehook@example.com"}}}}\n'
    with running(binary, one, extra) as relay:
        before = memory(relay)
        await asyncio.to_thread(post, relay.events, b"{}")
        await asyncio.sleep(12)
        peak = relay.status("VmHWM")
        print(f"{NAME}: endless_mail_line: resident {before:.0f} and at most {peak:.0f} MiB", flush=True)
        at_most(peak - before, 32, "MiB more")


@case
async def folder_removed(binary, tls):
    """The journal's folder is removed while it runs: no 202 goes into files that nobody finds again."""
    receiver = await Receiver().start()
    with running(binary, subscription("one", receiver.url("/a"))) as relay:
        await asyncio.to_thread(post, relay.events, b"{}")
        shutil.rmtree(relay.store)
        began, last = time.monotonic(), 0.0
        while time.monotonic() - began < 8 and relay.process.poll() is None:
            with contextlib.suppress(OSError):
                if (await asyncio.to_thread(post, relay.events, b"{}"))[0] == 202:
                    last = time.monotonic() - began
            await asyncio.sleep(0.05)
        code = relay.process.poll()
        print(f"{NAME}: folder_removed: last 202 after {last:.1f} s, exit code {code}", flush=True)
        at_most(last, 1.5, "seconds of 202s")
        equal(code, 1, "exit code")


@case
async def ambiguous_length(binary, tls):
    """Requests whose length can be read in two ways are refused, and the connection is closed."""
    receiver = await Receiver().start()
    chunked = b"2\r\n{}\r\n0\r\n\r\n"
    heads = [b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 12", b"Content-Length: 2\r\nContent-Length: 3", b"Content-Length: 2, 3", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, gzip",
             b"Content-Length : 2", b"Content-Length: +2", b"X: a\r\n b: c\r\nContent-Length: 2"]
    wrong = []
    with running(binary, subscription("one", receiver.url("/a"))) as relay:
        for head in heads:
            with socket.create_connection(("127.0.0.1", relay.events), timeout=5) as client:
                client.sendall(b"POST /events/t HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n" + (chunked if b"chunked" in head else b"{}"))
                answer = b""
                with contextlib.suppress(OSError):
                    while part := client.recv(4096):
                        answer += part
                    if answer[9:10] == b"4":
                        continue
                wrong.append((head, answer[:12]))
        print(f"{NAME}: ambiguous_length: {len(heads) - len(wrong)} of {len(heads)} refused and closed; not {wrong}", flush=True)
        equal(wrong, [], "taken, or left open")


async def main():
    chosen = arguments(__doc__, case="all")
    random.seed(chosen.seed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    # Handlers of connections that are open when the suite ends are cancelled: no error.
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: None if isinstance(context.get("exception"), asyncio.CancelledError) else loop.default_exception_handler(context))
    failures, tls = [], Tls()
    try:
        for name, run in CASES.items():
            if chosen.case not in ("all", name):
                continue
            try:
                await asyncio.wait_for(run(chosen.sidehook, tls), 150)
            except (Fails, SystemExit, OSError, TimeoutError) as error:
                failures.append(f"{name}: {error or type(error).__name__}"[:600])
    finally:
        tls.remove()
    return finish(NAME, chosen.seed, failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
