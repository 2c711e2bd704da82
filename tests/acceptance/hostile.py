#!/usr/bin/env python3
"""Everything hostile at once: 40 hostile endpoints over HTTP/1.1 and HTTP/2, 10,000 idle and slow clients, 100 names that nobody
resolves, expensive filters and a reader of the log that stopped, beside 20 healthy subscriptions at 500 events a second.

Two relays with the same subscriptions, one of which is attacked, take turns in short slices, so that what else slows the machine
slows both; the medians over the rounds count. The hostile parties run in a process of their own. Needs root: the names are asked
of a name server that is silent.
"""
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import time

from harness import Level, Receiver, Relay, Sender, arguments, finish, post_lines, subscription, until
from http2 import DATA, ENDED, GOAWAY, HEADERS, OK, PING, RST, SETTINGS, WINDOW, Tls, frame, frames

NAME, HEALTHY, RESOLVER = "hostile", 20, "127.7.7.7"
CHUNK = b"1\r\na\r\n"


def plain(answer):
    """An HTTP/1.1 endpoint that reads a request's head and then answers with the pieces, for ever if they are."""
    async def handler(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            for piece, pause in answer():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
                if writer.is_closing():
                    break
        writer.close()
    return handler


def secured(after, settings=b"", window=0, reads=True):
    """An HTTP/2 endpoint that does `after(stream)` for each request: pieces, for ever if they are."""
    async def handler(reader, writer):
        writer.write(frame(SETTINGS, 0, 0, settings) + (frame(WINDOW, 0, 0, struct.pack(">I", window)) if window else b""))
        if not reads:
            writer.transport.pause_reading()
            await asyncio.sleep(3600)
        async for kind, flags, stream, _ in frames(reader):
            if kind == DATA and flags & 1:
                for piece, pause in after(stream):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
                    if writer.is_closing():
                        return
    return handler


def forever(first, piece, pause=0.0):
    return lambda *_: itertools.chain([(first, 0)], itertools.repeat((piece, pause)))


def once(piece):
    return lambda *_: [(piece, 0)]


HEAD = b"HTTP/1.1 200 OK\r\n"
PLAIN = {
    "silent": plain(forever(b"", b"", 60)),
    "slow-head": plain(forever(HEAD + b"x: ", b"a", 0.5)),
    "slow-body": plain(forever(HEAD + b"content-length: 100000\r\n\r\n", b"a", 0.5)),
    "endless-body": plain(forever(HEAD + b"transfer-encoding: chunked\r\n\r\n", CHUNK * 500)),
    "endless-size": plain(forever(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"0" * 4096)),
    "interim": plain(forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50)),
    "endless-head": plain(forever(HEAD, b"x-a: b\r\n" * 200)),
    "junk": plain(once(b"\x16\x03\x01\0\0")),
    "cut": plain(once(HEAD + b"content-length: 9\r\n\r\nab")),
    "refuses": plain(once(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")),
}


def flooding(piece, pause=0.0):
    return secured(lambda stream: forever(frame(HEADERS, ENDED, stream, OK), piece * 500, pause)())


HTTP2 = {
    "stuck-window": secured(once(b""), struct.pack(">HI", 4, 2**31 - 1), 2**31 - 1 - 65535, reads=False),
    "flood-ping": flooding(frame(PING, 1, 0, b"12345678")),
    "flood-settings": flooding(frame(SETTINGS, 0, 0)),
    "flood-unknown": flooding(frame(77, 0, 0, b"x")),
    "flood-window": flooding(frame(WINDOW, 0, 0, b"\0\0\0\1")),
    "empty-data": secured(lambda stream: forever(frame(HEADERS, 4, stream, OK), frame(DATA, 0, stream) * 500)()),
    "goaway": secured(lambda stream: [(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), 0)]),
    "refused-stream": secured(lambda stream: [(frame(RST, 0, stream, struct.pack(">I", 7)), 0)]),
    "no-frames": secured(once(b"x" * 40)),
    "mute": secured(lambda stream: forever(b"", b"", 60)()),
}
# Each kind twice: 40 endpoints.
ENDPOINTS = [f"{name}-{copy}" for name in [*PLAIN, *HTTP2] for copy in (1, 2)]


async def pester(port, number):
    """One idle or slow client, which comes again half a minute after it was shut out."""
    parts = [b"", b"POST /events HTTP/1.1\r\nhost: loc", b"POST /events/t HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n"]
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(parts[number % 3])
            slow = number % 30 == 1
            with contextlib.suppress(OSError, TimeoutError):
                while await asyncio.wait_for(reader.read(512), 2 if slow else None):
                    pass
            writer.close()
        await asyncio.sleep(30)


def parties(pipe, pem):
    """The process of the hostile parties: tells its ports, is told whom to attack, and attacks until it is ended."""
    async def run():
        raise_limit()
        ports, tls = {}, Tls(pem)
        for name, handler in PLAIN.items():
            server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=1024)
            ports[name] = server.sockets[0].getsockname()[1]
        for name, handler in HTTP2.items():
            ports[name] = await tls.serve(handler, 4096 if name == "stuck-window" else None)
        pipe.send(ports)
        events, count = await asyncio.to_thread(pipe.recv)
        clients = []
        for number in range(count):
            clients.append(asyncio.create_task(pester(events, number)))
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        pipe.send("here")
        await asyncio.sleep(1e6)
    asyncio.run(run())


def full_pipe():
    """A pipe that nobody reads and that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, b"."):
            pass
    os.set_blocking(writing, True)
    return reading, writing


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def configuration(chosen, receiver, ports, pem):
    text = "".join(subscription(f"healthy-{number}", receiver.url(f"/{number}"), f"healthy.{number}") for number in range(HEALTHY))
    for one in ENDPOINTS:
        kind = one.rpartition("-")[0]
        secured_one = kind in HTTP2
        url = f"https://localhost:{ports[kind]}/" if secured_one else f"http://127.0.0.1:{ports[kind]}/"
        more = dict(tls=f'{{ca_file: "{pem}"}}') if secured_one else {}
        text += subscription(one, url, "hostile", timeout="2s", concurrency=4, give_up_on="[404]", auto_disable="never", **more)
    for number in range(chosen.names):
        text += subscription(f"name-{number}", f"http://silent-{number}.example.com/", "hostile", timeout="5s")
    for number in range(10):
        pattern = f'data.t.matches("[01]*1[01]{{{300 + number}}}x") || data.l.all(x, data.l.all(y, x + y != "nope"))'
        text += subscription(f"filter-{number}", receiver.url("/filtered"), "costly", when=f"'{pattern}'")
    return text


class Healthy(Sender):
    """Posts one event for each healthy subscription in turn."""

    def next_event(self):
        self.type = f"healthy.{self.number % HEALTHY}"
        return super().next_event()


async def attack(relay, stop, rate):
    """Events for each of the hostile endpoints, one at a time, each second some for the costly filters, and now and then a large one."""
    costly = json.dumps({"type": "costly", "t": "".join(random.choice("01") for _ in range(16_000)), "l": ["ab" * 50] * 500}).encode()
    large = json.dumps({"type": "hostile", "data": "x" * 200_000}).encode()
    small = b'{"type":"hostile"}'
    for turn in itertools.count():
        if stop.is_set():
            return
        await post_lines(relay.events, [small] + [costly] * (5 * (turn % rate == 0)) + [large] * (turn % (20 * rate) == 0))
        await asyncio.sleep(1 / rate)


async def one_turn(relay, receiver, chosen, label):
    """The delays of a slice in milliseconds, of its posts and of its deliveries, and the sender."""
    sender = Healthy(relay.events, 512, label)
    count = int(chosen.rate * chosen.slice)
    await sender.run(10, count, pause=10 / chosen.rate)
    came = lambda: all((f"/{number}", event) in receiver.arrived for event, number in ((event, (int(event.rpartition("-")[2]) - 1) % HEALTHY) for event in sender.accepted))
    await until(came, 60)
    arrived = {event: at for (path, event), at in receiver.arrived.items() if event in sender.accepted}
    return [1000 * (at - sender.sent_at[event]) for event, at in arrived.items()], len(sender.accepted) - len(arrived), count - len(sender.accepted)


def p99(delays):
    return sorted(delays)[int(len(delays) * 0.99)] if delays else float("inf")


async def main():
    chosen = arguments(__doc__, minutes=30.0, clients=10_000, names=100, rate=500, hostile_rate=5, slice=5.0, ratio=1.5, memory=256.0)
    random.seed(chosen.seed)
    raise_limit()
    receiver = await Receiver().start()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((RESOLVER, 53))
    tls = Tls()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=parties, args=(there, tls.pem), daemon=True)
    process.start()
    ports = await asyncio.to_thread(here.recv)
    text = configuration(chosen, receiver, ports, tls.pem)
    calm, attacked = Relay(chosen.sidehook, text), Relay(chosen.sidehook, text)
    resolv = os.path.join(attacked.folder, "resolv.conf")
    with open(resolv, "w") as file:
        file.write(f"nameserver {RESOLVER}\n")
    reading, writing = full_pipe()
    failures, stop, ratios, figures, lost, refused = [], asyncio.Event(), [], [], 0, 0
    try:
        calm.start()
        attacked.starts += 1
        mounted = f"mount --bind {resolv} /etc/resolv.conf && exec \"$@\""
        attacked.process = subprocess.Popen(["unshare", "-m", "sh", "-c", mounted, "sh", attacked.binary, "run", "--config", attacked.config],
                                            stdout=writing, stderr=writing, start_new_session=True)
        attacked.wait_ready()
        for relay in (calm, attacked):
            await one_turn(relay, receiver, chosen, f"warm-{relay.events}")
        level = Level(attacked)
        here.send((attacked.events, chosen.clients))
        attacking = asyncio.create_task(attack(attacked, stop, chosen.hostile_rate))
        await asyncio.to_thread(here.recv)
        end, turn, memory = time.monotonic() + 60 * chosen.minutes, 0, 0.0
        while time.monotonic() < end and attacked.process.poll() is None:
            pair = {}
            for relay in (calm, attacked) if turn % 2 == 0 else (attacked, calm):
                delays, missed, no = await one_turn(relay, receiver, chosen, f"{turn}-{relay.events}")
                pair[relay], lost, refused = p99(delays), lost + missed, refused + no
            turn += 1
            ratios.append(pair[attacked] / pair[calm])
            figures.append((pair[calm], pair[attacked]))
            memory = max(memory, attacked.status("VmHWM"))
        stop.set()
        await attacking
        ratio = statistics.median(ratios)
        names = ", ".join(f"{name} {attacked.metric('sidehook_attempts_total', subscription=name + '-1'):.0f}" for name in [*PLAIN, *HTTP2])
        print(f"{NAME}: attempts: {names}; log lines dropped {attacked.metric('sidehook_log_lines_dropped_total'):.0f}", flush=True)
        print(f"{NAME}: {turn} rounds, p99 {statistics.median(one for one, _ in figures):.1f} ms calm, {statistics.median(two for _, two in figures):.1f} ms attacked, "
              f"ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {memory:.0f} MiB at most, lost {lost}, refused {refused}", flush=True)
        if attacked.process.poll() is not None:
            failures.append(f"the relay ended with {attacked.process.poll()}")
        if ratio > chosen.ratio:
            failures.append(f"p99 of the healthy is {ratio:.2f} times that without, at most {chosen.ratio}")
        if memory > chosen.memory:
            failures.append(f"{memory:.0f} MiB resident, at most {chosen.memory:.0f}")
        if lost or refused:
            failures.append(f"lost {lost}, refused {refused}")
        if receiver.invalid:
            failures.append(f"{len(receiver.invalid)} bad signatures")
        process.kill()
        attacked.write("".join(subscription(f"healthy-{number}", receiver.url(f"/{number}"), f"healthy.{number}") for number in range(HEALTHY)))
        failures += await level.failures(60, memory_mib=chosen.memory)
    finally:
        process.kill()
        calm.remove()
        attacked.remove()
        tls.remove()
        os.close(reading)
        os.close(writing)
    return finish(NAME, chosen.seed, failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
