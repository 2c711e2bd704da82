#!/usr/bin/env python3
"""1,000 subscriptions, 900 of them black holes: the healthy 100 keep their throughput and their delays.

Half of the black holes take no connection (a listener whose queue is full), half take it and stay silent. Two relays with
the same subscriptions, one whose black holes get events and one whose do not, take turns, so that what else slows the
machine slows both; the medians over the rounds count.
"""
import asyncio
import random
import resource
import socket
import statistics
import sys
import time

from harness import Level, Receiver, Relay, Sender, arguments, finish, post_lines, subscription, until

NAME, SLICE = "black holes", 1600


class Holes:
    """Two listening sockets: one that is full, and one that accepts and never answers."""

    def __init__(self):
        self.full, self.silent, self.plugs = socket.socket(), None, []
        self.full.bind(("127.0.0.1", 0))
        self.full.listen(0)

    async def start(self):
        # What fills the queue: the next connection's first packet is dropped, and dropped again.
        for _ in range(4):
            plug = socket.socket()
            plug.setblocking(False)
            plug.connect_ex(self.full.getsockname())
            self.plugs.append(plug)
        self.silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=4096)
        return self

    def url(self, number):
        port = self.full.getsockname()[1] if number % 2 else self.silent.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/hole"


class Healthy(Sender):
    """Posts one event for each healthy subscription in turn."""

    def __init__(self, port, prefix, types):
        super().__init__(port, 512, prefix)
        self.types = types

    def next_event(self):
        self.type = f"healthy.{self.number % self.types}"
        return super().next_event()


async def arrived(receiver, sender, since):
    """Waits until all accepted have come; how many did not, and when the last one came."""
    came = lambda: sum(event in receiver.came for event in sender.accepted)
    await until(lambda: came() == len(sender.accepted), 30)
    return len(sender.accepted) - came(), max((receiver.came[event] for event in sender.accepted if event in receiver.came), default=since)


class Endpoint(Receiver):
    """The healthy one: remembers when each event came first."""

    def __init__(self):
        super().__init__()
        self.came = {}

    def take(self, path, headers, body):
        self.came.setdefault(headers[b"webhook-id"].decode(), time.monotonic())
        return super().take(path, headers, body)


async def one_turn(relay, receiver, chosen, label):
    """(seconds that a burst took, its deliveries, delays in milliseconds at a fixed rate, how many did not come, refused)."""
    burst = Healthy(relay.events, f"burst-{label}", chosen.healthy)
    began = time.monotonic()
    await burst.run(16, SLICE)
    missed, last = await arrived(receiver, burst, began)
    paced = Healthy(relay.events, f"paced-{label}", chosen.healthy)
    await paced.run(8, SLICE // 4, pause=8 / chosen.rate)
    late, _ = await arrived(receiver, paced, began)
    delays = [1000 * (receiver.came[event] - paced.sent_at[event]) for event in paced.accepted if event in receiver.came]
    refused = sum(count for one in (burst, paced) for status, count in one.answers.items() if status != 202)
    return last - began, len(burst.accepted), delays, missed + late, refused


async def one_round(relays, receiver, chosen, label):
    """Of each relay (deliveries a second, 99th percentile of the delays), lost, refused. The relays take short turns."""
    pools, lost, refused = [[0.0, 0, []] for _ in relays], 0, 0
    for turn in range(chosen.turns):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds, count, delays, missed, no = await one_turn(relays[which], receiver, chosen, f"{label}-{turn}-{which}")
            pools[which][0] += seconds
            pools[which][1] += count
            pools[which][2] += delays
            lost, refused = lost + missed, refused + no
    return [(count / seconds, sorted(delays)[int(len(delays) * 0.99)]) for seconds, count, delays in pools], lost, refused


async def black_events(relay, chosen):
    """Gives every black hole a backlog, as batches."""
    types = [f"black.{number}" for number in range(chosen.holes)] * chosen.backlog
    await post_lines(relay.events, [b'{"type":"%s","data":"%s"}' % (one.encode(), b"x" * 450) for one in types])


async def main():
    chosen = arguments(__doc__, holes=900, healthy=100, backlog=20, turns=8, rate=500, rounds=9, throughput=0.95, ratio=1.2)
    random.seed(chosen.seed)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    receiver, holes = Endpoint(), await Holes().start()
    await receiver.start()
    text = "".join(subscription(f"healthy-{number}", receiver.url(f"/{number}"), f"healthy.{number}") for number in range(chosen.healthy))
    text += "".join(subscription(f"black-{number}", holes.url(number), f"black.{number}", concurrency=2, timeout="10s") for number in range(chosen.holes))
    alone, beside = Relay(chosen.sidehook, text).start(), Relay(chosen.sidehook, text).start()
    failures, rounds, lost, refused = [], [], 0, 0
    try:
        await one_turn(beside, receiver, chosen, "warm")
        level = Level(beside)
        await black_events(beside, chosen)
        await asyncio.sleep(3)
        in_flight = beside.metric("sidehook_in_flight_attempts")
        for number in range(chosen.rounds):
            one, missed, no = await one_round((alone, beside), receiver, chosen, number)
            rounds.append(one)
            lost, refused = lost + missed, refused + no
        pending = beside.metric("sidehook_pending_deliveries")
        attempts = beside.metric("sidehook_attempts_total") - beside.metric("sidehook_attempts_total", status="success")
        throughput = statistics.median(one[1][0] / one[0][0] for one in rounds)
        ratio = statistics.median(one[1][1] / one[0][1] for one in rounds)
        middle = lambda which, what: statistics.median(one[which][what] for one in rounds)
        print(f"{NAME}: subscriptions {chosen.healthy} healthy and {chosen.holes} black, pending there {pending:.0f}, in flight there {in_flight:.0f}, attempts failed there {attempts:.0f}")
        print(f"{NAME}: deliveries a second alone {middle(0, 0):.0f}, beside {middle(1, 0):.0f}, ratio {throughput:.2f} (median of {[round(one[1][0] / one[0][0], 2) for one in rounds]})")
        print(f"{NAME}: p99 alone {middle(0, 1):.2f} ms, beside {middle(1, 1):.2f} ms, ratio {ratio:.2f} (median of {[round(one[1][1] / one[0][1], 2) for one in rounds]}), "
              f"resident memory {alone.status('VmHWM'):.0f} and {beside.status('VmHWM'):.0f} MiB, lost {lost}, refused {refused}")
        if throughput < chosen.throughput:
            failures.append(f"throughput is {throughput:.2f} of that without black holes, at least {chosen.throughput}")
        if ratio > chosen.ratio:
            failures.append(f"p99 is {ratio:.2f} times that without black holes, at most {chosen.ratio}")
        if lost or refused:
            failures.append(f"{lost} lost, {refused} refused")
        if pending < chosen.holes * chosen.backlog or not in_flight:
            failures.append(f"pending is {pending:.0f}, in flight {in_flight:.0f}: the holes are not black, the suite proved nothing")
        # Without the holes: their lanes end, and with them every attempt.
        holes_gone = "".join(subscription(f"healthy-{number}", receiver.url(f"/{number}"), f"healthy.{number}") for number in range(chosen.healthy))
        beside.write(holes_gone)
        if not await beside.reload():
            failures.append("the reload without the black holes failed")
        failures += await level.failures(memory_mib=96)
        return finish(NAME, chosen.seed, failures)
    finally:
        alone.remove()
        beside.remove()


sys.exit(asyncio.run(main()))
