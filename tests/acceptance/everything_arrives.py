#!/usr/bin/env python3
"""Every event that was answered 202 arrives at every subscription, byte for byte, validly signed."""
import asyncio
import random
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "everything arrives", ["/a", "/b"]


async def main():
    chosen = arguments(__doc__, events=100_000, connections=32, size=1024)
    random.seed(chosen.seed)
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a")) + subscription("b", receiver.url("/b"))).start()
    try:
        sender = Sender(relay.events, chosen.size)
        began = time.monotonic()
        await sender.run(chosen.connections, chosen.events)
        sending = time.monotonic() - began
        await drained(relay, receiver, sender, PATHS)
        took = time.monotonic() - began
        failures = verdict(NAME, receiver, sender, PATHS, answers=sender.answers, seconds_sending=round(sending, 1), seconds=round(took, 1))
        if receiver.duplicates():
            failures.append(f"{receiver.duplicates()} delivered twice without a fault")
        if set(sender.answers) != {202}:
            failures.append(f"answers other than 202: {sender.answers}")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
