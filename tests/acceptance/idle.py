#!/usr/bin/env python3
"""An idle relay: resident memory and CPU, after a start and after some traffic."""
import asyncio
import os
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription

NAME = "idle"


def cpu_seconds(relay):
    with open(f"/proc/{relay.process.pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main():
    chosen = arguments(__doc__, memory_mib=15, seconds=5)
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"))).start()
    failures = []
    try:
        await asyncio.sleep(1)
        memory, before = relay.status(), cpu_seconds(relay)
        await asyncio.sleep(chosen.seconds)
        used = cpu_seconds(relay) - before
        sender = Sender(relay.events)
        await sender.run(8, 5000)
        await drained(relay, receiver, sender, ["/a"])
        await asyncio.sleep(2)
        print(f"{NAME}: {memory:.1f} MiB resident, {used / chosen.seconds * 1000:.1f} ms of CPU a second; after 5,000 events {relay.status():.1f} MiB")
        if memory > chosen.memory_mib:
            failures.append(f"{memory:.1f} MiB resident, at most {chosen.memory_mib}")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
