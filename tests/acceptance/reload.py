#!/usr/bin/env python3
"""Reloads under load, one in five with a file that is wrong: nothing lost, nothing refused, nothing twice, and the old
configuration stays when the new one is wrong."""
import asyncio
import os
import random
import signal
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "reload", ["/a", "/b"]


def descriptors(relay):
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


async def main():
    chosen = arguments(__doc__, reloads=1000)
    random.seed(chosen.seed)
    receiver = await Receiver().start()
    both = lambda number: "".join(subscription(path[1:], receiver.url(path), concurrency=8 + number % 9, description=f"{number}") for path in PATHS)
    relay = Relay(chosen.sidehook, both(0)).start()
    failures, wrong = [], 0
    try:
        sender = Sender(relay.events, 512)
        load = asyncio.create_task(sender.run(8, 10**9, pause=0.004))
        await asyncio.sleep(1)
        before, memory = descriptors(relay), relay.status()
        done = lambda: sum(relay.metric("sidehook_config_reloads_total", outcome=outcome) for outcome in ("success", "failure"))
        for number in range(1, chosen.reloads + 1):
            invalid = number % 5 == 0
            wrong += invalid
            extra = subscription(f"extra{number % 3}", receiver.url("/extra"), "never.*")
            relay.write(both(number) + extra + ("    unknown_key: 1\n" if invalid else ""))
            relay.process.send_signal(signal.SIGHUP)
            for _ in range(200):
                await asyncio.sleep(0.005)
                if await asyncio.to_thread(done) >= number:
                    break
            successful = await asyncio.to_thread(relay.metric, "sidehook_config_last_reload_successful")
            if successful != (0.0 if invalid else 1.0):
                failures.append(f"reload {number}: config_last_reload_successful is {successful}")
                break
        sender.stopped = True
        await load
        await drained(relay, receiver, sender, PATHS)
        reloads = {outcome: int(relay.metric("sidehook_config_reloads_total", outcome=outcome)) for outcome in ("success", "failure")}
        failures += verdict(NAME, receiver, sender, PATHS, reloads=reloads, wrong_files=wrong, broken_connections=sender.broken, answers=sender.answers,
                            descriptors=f"{before} to {descriptors(relay)}", memory_mib=f"{memory:.1f} to {relay.status():.1f}")
        if set(sender.answers) != {202} or sender.broken:
            failures.append(f"refused: answers {sender.answers}, {sender.broken} connections broken")
        if receiver.duplicates():
            failures.append(f"{receiver.duplicates()} delivered twice")
        if reloads["failure"] < wrong:
            failures.append(f"{wrong} wrong files, but {reloads['failure']} failed reloads")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
