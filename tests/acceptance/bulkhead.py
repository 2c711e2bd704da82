#!/usr/bin/env python3
"""A subscription whose endpoint hangs, with a backlog, changes neither the delay of another nor the bound of memory.

Measured in one run, in turn: the healthy subscription alone, and beside the hanging one; the median of the rounds counts.
"""
import asyncio
import random
import statistics
import sys

from harness import Level, Receiver, Relay, Sender, arguments, drained, finish, subscription

NAME, SLICE = "bulkhead", 250


async def delays(relay, receiver, chosen, label):
    """The time from sent to arrived of SLICE events, in milliseconds, and how many were lost."""
    sender = Sender(relay.events, 512, label, "healthy.event")
    await sender.run(8, SLICE, pause=8 / chosen.rate)
    await drained(relay, receiver, sender, ["/healthy"], 10)
    arrived = [event for event in sender.accepted if ("/healthy", event) in receiver.arrived]
    return [1000 * (receiver.arrived[("/healthy", event)] - sender.sent_at[event]) for event in arrived], len(sender.accepted) - len(arrived)


async def one_round(relays, receiver, chosen, label):
    """The 99th percentile of each relay's delays, and how many events were lost. The relays take turns of half a second,
    the first one changing, so that what else slows the machine and its disk for a while slows both alike."""
    pools, lost = [[] for _ in relays], 0
    for turn in range(max(2, chosen.events // SLICE)):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            measured, missed = await delays(relays[which], receiver, chosen, f"{label}-{turn}-{which}")
            pools[which] += measured
            lost += missed
    return [sorted(pool)[int(len(pool) * 0.99)] for pool in pools], lost


async def main():
    chosen = arguments(__doc__, backlog=100_000, events=4000, rate=500, rounds=5, memory_mib=128, ratio=1.2)
    random.seed(chosen.seed)
    receiver = await Receiver(lambda path, event: None if path == "/hanging" else 200).start()
    healthy = subscription("healthy", receiver.url("/healthy"), "healthy.*")
    hanging = subscription("hanging", receiver.url("/hanging"), "hanging.*", timeout="30s")
    alone, beside = Relay(chosen.sidehook, healthy + hanging).start(), Relay(chosen.sidehook, healthy + hanging).start()
    failures, lost = [], 0
    try:
        await delays(beside, receiver, chosen, "warm")
        level = Level(beside)
        load = Sender(beside.events, 1024, "hanging", "hanging.event")
        await load.run(32, chosen.backlog)
        if len(load.accepted) != chosen.backlog:
            failures.append(f"only {len(load.accepted)} of {chosen.backlog} accepted: {load.answers}")
        await asyncio.sleep(2)
        pairs, peak = [], 0.0
        for number in range(chosen.rounds):
            p99s, missed = await one_round((alone, beside), receiver, chosen, f"round{number}")
            pairs.append(p99s)
            lost += missed
            peak = max(peak, beside.status("VmHWM"))
        ratio = statistics.median(loaded / base for base, loaded in pairs)
        pending = beside.metric("sidehook_pending_deliveries", subscription="hanging")
        print(f"{NAME}: pending {pending:.0f}, p99 alone {statistics.median(p[0] for p in pairs):.2f} ms, beside {statistics.median(p[1] for p in pairs):.2f} ms, "
              f"ratio {ratio:.2f} (median of {chosen.rounds}: {[round(b / a, 2) for a, b in pairs]}), resident memory {alone.status('VmHWM'):.0f} and {peak:.0f} MiB, lost {lost}")
        if pending < chosen.backlog * 0.99:
            failures.append(f"pending is {pending:.0f}, not {chosen.backlog}")
        if ratio > chosen.ratio:
            failures.append(f"p99 is {ratio:.2f} times that without a hanging endpoint, at most {chosen.ratio}")
        if peak > chosen.memory_mib:
            failures.append(f"{peak:.0f} MiB resident, at most {chosen.memory_mib}")
        if lost:
            failures.append(f"{lost} lost")
        beside.write(healthy)
        if not await beside.reload():
            failures.append("the reload without the hanging endpoint failed")
        failures += await level.failures(memory_mib=96)
        return finish(NAME, chosen.seed, failures)
    finally:
        alone.remove()
        beside.remove()


sys.exit(asyncio.run(main()))
