#!/usr/bin/env python3
"""A subscription whose endpoint hangs, with a backlog, changes neither the delay of another nor the bound of memory.

Measured in one run, in turn: the healthy subscription alone, and beside the hanging one.
"""
import asyncio
import random
import statistics
import sys

from harness import Receiver, Relay, Sender, arguments, finish, missing, subscription

NAME = "bulkhead"


async def healthy_p99(relay, receiver, chosen, label):
    """The 99th percentile of sent to arrived, in milliseconds."""
    sender = Sender(relay.events, 512, label, "healthy.event")
    await sender.run(8, chosen.events, pause=8 / chosen.rate)
    for _ in range(100):
        if not missing(receiver, sender, ["/healthy"]):
            break
        await asyncio.sleep(0.1)
    delays = sorted(receiver.arrived[("/healthy", event)] - sender.sent_at[event] for event in sender.accepted if ("/healthy", event) in receiver.arrived)
    lost = len(missing(receiver, sender, ["/healthy"]))
    return delays[int(len(delays) * 0.99)] * 1000, lost


async def main():
    chosen = arguments(__doc__, backlog=100_000, events=4000, rate=500, rounds=5, memory_mib=128)
    random.seed(chosen.seed)
    receiver = await Receiver(lambda path, event: None if path == "/hanging" else 200).start()
    healthy = subscription("healthy", receiver.url("/healthy"), "healthy.*")
    hanging = subscription("hanging", receiver.url("/hanging"), "hanging.*", timeout="30s")
    alone, beside = Relay(chosen.sidehook, healthy + hanging).start(), Relay(chosen.sidehook, healthy + hanging).start()
    failures, lost = [], 0
    try:
        load = Sender(beside.events, 1024, "hanging", "hanging.event")
        await load.run(32, chosen.backlog)
        if len(load.accepted) != chosen.backlog:
            failures.append(f"only {len(load.accepted)} of {chosen.backlog} accepted: {load.answers}")
        await asyncio.sleep(2)
        pairs, peak = [], 0.0
        for number in range(chosen.rounds):
            base, first = await healthy_p99(alone, receiver, chosen, f"alone{number}")
            loaded, second = await healthy_p99(beside, receiver, chosen, f"beside{number}")
            pairs.append((base, loaded))
            lost += first + second
            peak = max(peak, beside.status("VmHWM"))
        ratio = statistics.median(loaded / base for base, loaded in pairs)
        pending = beside.metric("sidehook_pending_deliveries", subscription="hanging")
        print(f"{NAME}: pending {pending:.0f}, p99 alone {statistics.median(p[0] for p in pairs):.2f} ms, beside {statistics.median(p[1] for p in pairs):.2f} ms, "
              f"ratio {ratio:.2f} (median of {chosen.rounds}: {[round(b / a, 2) for a, b in pairs]}), resident memory {alone.status('VmHWM'):.0f} and {peak:.0f} MiB, lost {lost}")
        if pending < chosen.backlog * 0.99:
            failures.append(f"pending is {pending:.0f}, not {chosen.backlog}")
        if ratio > 1.2:
            failures.append(f"p99 is {ratio:.2f} times that without a hanging endpoint, at most 1.2")
        if peak > chosen.memory_mib:
            failures.append(f"{peak:.0f} MiB resident, at most {chosen.memory_mib}")
        if lost:
            failures.append(f"{lost} lost")
        return finish(NAME, chosen.seed, failures)
    finally:
        alone.remove()
        beside.remove()


sys.exit(asyncio.run(main()))
