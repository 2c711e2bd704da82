#!/usr/bin/env python3
"""SIGTERM under load: exit 0, nothing lost, nothing delivered twice."""
import asyncio
import random
import signal
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "sigterm", ["/a", "/b"]


async def main():
    chosen = arguments(__doc__, rounds=100)
    random.seed(chosen.seed)
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, "".join(subscription(path[1:], receiver.url(path)) for path in PATHS)).start()
    failures, slowest = [], 0.0
    try:
        sender = Sender(relay.events, 512)
        load = asyncio.create_task(sender.run(8, 10**9))
        for _ in range(chosen.rounds):
            await asyncio.sleep(random.uniform(0.02, 0.3))
            began = time.monotonic()
            code = await asyncio.to_thread(relay.kill, signal.SIGTERM)
            slowest = max(slowest, time.monotonic() - began)
            if code != 0:
                failures.append(f"exit code {code}: {relay.tail(500)}")
            await asyncio.to_thread(relay.start)
        sender.stopped = True
        await load
        await drained(relay, receiver, sender, PATHS)
        failures += verdict(NAME, receiver, sender, PATHS, rounds=chosen.rounds, slowest_exit_seconds=round(slowest, 2))
        if receiver.duplicates():
            failures.append(f"{receiver.duplicates()} delivered twice")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
