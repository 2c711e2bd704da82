#!/usr/bin/env python3
"""kill -9 under load: at random moments, and at each of the first writes and syncs (strace injects the signal).

No accepted event is lost, duplicates are at most the attempts in flight, every restart is ready by itself.
"""
import asyncio
import random
import shutil
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS, CONCURRENCY = "kill", ["/a", "/b"], 8
CALLS = "write,writev,pwrite64,pwritev,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat"


async def random_kills(chosen, relay, sender):
    """Kills the relay `kills` times while the sender works, and starts it again each time."""
    relay.start()
    load = asyncio.create_task(sender.run(8, 10**9))
    for _ in range(chosen.kills):
        await asyncio.sleep(random.uniform(0.02, 0.4))
        await asyncio.to_thread(relay.kill)
        await asyncio.to_thread(relay.start)
    sender.stopped = True
    await load


async def kills_at_calls(chosen, relay, sender):
    """Starts the relay under strace so that its Nth write or sync kills it, for N from 1 on."""
    for number in range(1, chosen.calls + 1):
        inject = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:signal=KILL:when={number}"]
        relay.start(prefix=inject, wait=False)
        sender.stopped = False
        load = asyncio.create_task(sender.run(4, 10**9, pause=0.002))
        try:
            await asyncio.wait_for(asyncio.to_thread(relay.process.wait), 20)
        except asyncio.TimeoutError:
            await asyncio.to_thread(relay.kill)
        sender.stopped = True
        await load
    relay.start()


async def main():
    chosen = arguments(__doc__, kills=200, calls=300)
    random.seed(chosen.seed)
    failures = []
    suites = [("random", random_kills, chosen.kills)]
    suites += [("at calls", kills_at_calls, chosen.calls)] if shutil.which("strace") else []
    for label, suite, kills in suites:
        receiver = await Receiver().start()
        both = "".join(subscription(path[1:], receiver.url(path), concurrency=CONCURRENCY, retry="{schedule: [1s, 1s, 1s]}") for path in PATHS)
        relay = Relay(chosen.sidehook, both)
        try:
            sender = Sender(relay.events, 512, label.replace(" ", "-"))
            await suite(chosen, relay, sender)
            await drained(relay, receiver, sender, PATHS)
            bound = kills * CONCURRENCY * len(PATHS)
            failures += verdict(f"{NAME} ({label})", receiver, sender, PATHS, kills=kills, starts=relay.starts, duplicates_bound=bound)
            if receiver.duplicates() > bound:
                failures.append(f"{receiver.duplicates()} duplicates, at most {bound} attempts were in flight")
        finally:
            relay.remove()
    return finish(NAME, chosen.seed, failures)


sys.exit(asyncio.run(main()))
