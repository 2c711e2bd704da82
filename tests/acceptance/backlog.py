#!/usr/bin/env python3
"""5,000,000 deliveries of 512 bytes pending: 1,000,000 events for 5 subscriptions whose endpoints hang or refuse connections,
one of them ordered by key, and the first 20,000 for one more that is ordered strictly.

Resident memory stays within its bound all the time, the relay is ready soon after each kill -9, takes events in as fast as
one with an empty store (measured by turns), and delivers all once the endpoints answer: in order where that is asked.
"""
import asyncio
import os
import random
import shutil
import signal
import statistics
import sys
import time

from harness import Relay, arguments, finish, free_port, subscription, until, verified

NAME, SIZE, BATCH = "backlog", 512, 1000
HANGING, REFUSED, STRICT, KEYS = ["keyed", "one", "two", "three"], "refused", "strict", 1000
HEAD = b'{"type":"backlog.event","n":"'


def line(kind, number):
    """An event of SIZE bytes and the end of its line, at whose known place its number stands."""
    head = b'{"type":"%s","n":"%010d","key":"%d","data":"' % (kind, number, number % KEYS)
    return head + b"x" * (SIZE - len(head) - 2) + b'"}\n'


def kind(number, strict):
    """The type of an event: both are of the same length."""
    return b"backlog.order" if number < strict else b"backlog.event"


class Endpoint:
    """Hangs until it is opened, then takes what comes: as little work for each request as can be. Its paths are subscriptions."""

    def __init__(self, events, strict):
        self.open, self.strict = False, strict
        self.seen = {name: bytearray(events) for name in [*HANGING, REFUSED]} | {STRICT: bytearray(strict)}
        self.total = sum(len(seen) for seen in self.seen.values())
        self.newest = {}
        self.count = self.disorder = self.duplicates = self.wrong = 0

    async def listen(self, port=0):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Requests(self), "127.0.0.1", port, backlog=1024)
        return server.sockets[0].getsockname()[1]

    def take(self, name, head, body):
        seen = self.seen.get(name)
        if seen is None:
            return  # what was posted to measure the intake
        number = int(body[len(HEAD):len(HEAD) + 10])
        self.count += 1
        if self.count % 50 == 0:
            headers = {key.lower(): value.strip() for key, _, value in (part.partition(b":") for part in head.split(b"\r\n")[1:])}
            self.wrong += not verified(headers, body)
        self.wrong += body + b"\n" != line(kind(number, self.strict), number)
        self.duplicates += seen[number]
        seen[number] = 1
        if name in ("keyed", STRICT):
            key = name, number % KEYS if name == "keyed" else 0
            self.disorder += number < self.newest.get(key, 0)
            self.newest[key] = max(self.newest.get(key, 0), number)

    def left(self):
        return {name: len(seen) - sum(seen) for name, seen in self.seen.items()}


class Requests(asyncio.Protocol):
    """One connection: requests of one size, answered at once."""

    def __init__(self, endpoint):
        self.endpoint, self.buffer = endpoint, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        while self.endpoint.open and (end := self.buffer.find(b"\r\n\r\n")) >= 0 and len(self.buffer) >= end + 4 + SIZE:
            head, body = self.buffer[:end], self.buffer[end + 4:end + 4 + SIZE]
            self.buffer = self.buffer[end + 4 + SIZE:]
            self.endpoint.take(head[6:head.index(b" ", 6)].decode(), head, body)
            self.transport.write(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")


class Intake:
    """Posts batches of lines over a few connections; what is refused as overloaded is posted again."""

    def __init__(self, relay):
        self.relay, self.refused, self.next = relay, 0, 0

    async def post(self, reader, writer, body):
        writer.write(b"POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.split(b"content-length:")[1].split(b"\r\n")[0] if b"content-length:" in head else b"0"
        text = await reader.readexactly(int(length))
        status = int(head.split(b" ", 2)[1])
        if status not in (202, 503):
            raise SystemExit(f"{NAME}: a batch was answered {status}: {text[:300]}")
        return status == 202

    async def connection(self, kind_of, end, batch):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.events, limit=1 << 20)
        while self.next < end:
            first, self.next = self.next, min(end, self.next + batch)
            body = b"".join(line(kind_of(number), number) for number in range(first, self.next))
            while not await self.post(reader, writer, body):
                self.refused += 1
                await asyncio.sleep(0.1)
        writer.close()

    async def run(self, kind_of, events, connections=4, batch=BATCH):
        """Events a second."""
        began, self.next = time.monotonic(), 0
        await asyncio.gather(*(self.connection(kind_of, events, batch) for _ in range(connections)))
        return events / (time.monotonic() - began)


class Memory:
    """The most resident memory that was seen, by phase."""

    def __init__(self, relay):
        self.relay, self.phase, self.peaks = relay, "fill", {}

    def look(self):
        try:
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.relay.status("VmHWM"))
        except (OSError, StopIteration):
            pass  # between two lives

    async def watch(self):
        while True:
            self.look()
            await asyncio.sleep(0.1)


async def restarted(relay):
    """Seconds from the start after kill -9 until it is ready."""
    await asyncio.to_thread(relay.kill, signal.SIGKILL)
    began = time.monotonic()
    await asyncio.to_thread(relay.start, (), True, 120)
    return time.monotonic() - began


def used(folder):
    return sum(os.lstat(os.path.join(path, name)).st_blocks * 512 for path, _, names in os.walk(folder) for name in names)


async def turns(chosen, loaded, empty):
    """How fast both take events in, by turns: the medians, and the median of the ratios."""
    pairs = []
    for number in range(chosen.rounds):
        speeds = {}
        for which in (0, 1) if number % 2 else (1, 0):
            speeds[which] = await Intake((empty, loaded)[which]).run(lambda number: b"turn.event", chosen.turn, batch=100)
        pairs.append((speeds[0], speeds[1]))
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), statistics.median(b / a for a, b in pairs)


async def drain(chosen, relay, endpoint, refused_port, failures):
    """Opens the endpoints and waits until all have come, with a kill on the way; deliveries a second, seconds to ready."""
    endpoint.open = True
    await endpoint.listen(refused_port)
    ready = await restarted(relay)  # the attempts that hang end with their connections
    began, before, total = time.monotonic(), endpoint.count, endpoint.total
    await until(lambda: endpoint.count - before >= total // 3, min(chosen.seconds, total // 3 // 500 + chosen.stall))
    again = await restarted(relay)
    last = (time.monotonic(), endpoint.count)
    while endpoint.count - endpoint.duplicates < total and time.monotonic() - began < chosen.seconds:
        await asyncio.sleep(0.2)
        if endpoint.count > last[1]:
            last = (time.monotonic(), endpoint.count)
        if time.monotonic() - last[0] > chosen.stall:
            failures.append(f"nothing has come for {chosen.stall} s: left {endpoint.left()}, pending {relay.metric('sidehook_pending_deliveries'):.0f}: {relay.tail(500)}")
            break
    return (endpoint.count - before) / (last[0] - began), ready, again


async def suite(chosen, loaded, empty, endpoint, refused_port, failures):
    memory, intake = Memory(loaded), Intake(loaded)
    watching = asyncio.create_task(memory.watch())
    empty.start()
    loaded.start()
    # On one connection: a refused batch would be overtaken on others, and the order of acceptance is what counts.
    speed = await intake.run(lambda number: kind(number, chosen.strict), chosen.events, connections=1)
    memory.look()
    memory.phase, full = "restart", used(loaded.store)
    print(f"{NAME}: {chosen.events} events taken in at {speed:.0f}/s, {intake.refused} batches refused at first, store {full / 2**20:.0f} MiB on disk", flush=True)
    readies = [await restarted(loaded) for _ in range(3)]
    await restarted(empty)  # both have a journal that begins anew
    pending = sum([await asyncio.to_thread(loaded.metric, "sidehook_pending_deliveries", subscription=name) for name in endpoint.seen])
    memory.look()
    memory.phase = "turns"
    alone, beside, ratio = await turns(chosen, loaded, empty)
    print(f"{NAME}: pending {pending:.0f}, ready after kill -9 in {[round(one, 2) for one in readies]} s, intake empty {alone:.0f}/s, with the backlog {beside:.0f}/s, "
          f"ratio {ratio:.2f} (median of {chosen.rounds})", flush=True)
    memory.look()
    memory.phase = "drain"
    rate, *more = await drain(chosen, loaded, endpoint, refused_port, failures)
    memory.look()
    watching.cancel()
    left = endpoint.left()
    print(f"{NAME}: delivered {endpoint.count} at {rate:.0f}/s, lost {sum(left.values())}, duplicates {endpoint.duplicates}, out of order {endpoint.disorder}, wrong {endpoint.wrong}, "
          f"ready again in {[round(one, 2) for one in more]} s, store {used(loaded.store) / 2**20:.0f} MiB")
    print(f"{NAME}: resident memory at most, MiB: {', '.join(f'{phase} {peak:.0f}' for phase, peak in memory.peaks.items())}")
    failures += [what for what, wrong in (
        (f"pending {pending:.0f} of {endpoint.total}", pending < endpoint.total * 0.99),
        (f"not ready within {chosen.ready} s", max(readies + more) > chosen.ready),
        (f"intake is {ratio:.2f} of that of an empty store, at least {chosen.ratio}", ratio < chosen.ratio),
        (f"more than {chosen.memory_mib} MiB resident: {memory.peaks}", max(memory.peaks.values()) > chosen.memory_mib),
        (f"lost {left}", any(left.values())),
        (f"{endpoint.wrong} wrong bodies or signatures", endpoint.wrong),
        (f"{endpoint.disorder} out of order", chosen.order and endpoint.disorder),
    ) if wrong]


async def main():
    chosen = arguments(__doc__, events=1_000_000, strict=20_000, turn=20_000, rounds=15, ratio=0.8, memory_mib=128, ready=5.0, pause="5m", seconds=5400, stall=400, order=1)
    random.seed(chosen.seed)
    failures, endpoint, refused_port = [], Endpoint(chosen.events, chosen.strict), free_port()
    port = await endpoint.listen()
    need = chosen.events * (SIZE + 1000) * 2
    if shutil.disk_usage("/tmp").free < need:
        print(f"{NAME}: needs {need >> 20} MiB of disk")
        return 1
    hanging = lambda name, events, **fields: subscription(name, f"http://127.0.0.1:{port}/{name}", events, timeout="1h", retry="{schedule: [1s, 1s, 1s]}", **fields)
    order = lambda how: {"order": how} if chosen.order else {}
    text = "".join(hanging(name, "backlog.*", **(order("key") if name == "keyed" else {})) for name in HANGING)
    text += hanging(STRICT, "backlog.order", **order("strict"))
    text += subscription(REFUSED, f"http://127.0.0.1:{refused_port}/{REFUSED}", "backlog.*", retry=f"{{initial: {chosen.pause}, factor: 1, max_interval: {chosen.pause}, max_attempts: 1000}}")
    text += subscription("turn", f"http://127.0.0.1:{port}/turn", "turn.*", timeout="1h")
    loaded, empty = Relay(chosen.sidehook, ""), Relay(chosen.sidehook, "")
    for relay in (loaded, empty):
        relay.write(text, "ingest: {key_pointer: /key}\n")
    try:
        await suite(chosen, loaded, empty, endpoint, refused_port, failures)
        return finish(NAME, chosen.seed, failures)
    finally:
        loaded.remove()
        empty.remove()


sys.exit(asyncio.run(main()))
