#!/usr/bin/env python3
"""A disk that fills: 503 with Retry-After, nothing accepted is lost, deliveries go on while it is full, and once there is
room events are accepted again.

The store is on a small tmpfs; where it may not be mounted, a limit of the file size (EFBIG) takes its place.
"""
import asyncio
import os
import random
import resource
import subprocess
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, missing, subscription, verdict

NAME, PATHS, SMALL, LARGE = "disk full", ["/ready", "/late"], 24, 96


class Tmpfs:
    """A tmpfs as the folder of the store, in MiB."""

    def __init__(self, relay):
        self.folder = os.path.join(relay.folder, "disk")
        os.mkdir(self.folder)
        self.mounted = self.mount(f"size={SMALL}m")
        relay.store = os.path.join(self.folder, "data") if self.mounted else relay.store

    def mount(self, options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], capture_output=True).returncode == 0

    def limit(self, relay):
        if not self.mounted:
            resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (SMALL << 20, resource.RLIM_INFINITY))

    def widen(self, relay):
        if self.mounted:
            self.mount(f"remount,size={LARGE}m")
        else:
            resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)


async def until(what, seconds=30):
    """Whether `what` comes true."""
    for _ in range(seconds * 20):
        if await asyncio.to_thread(what):
            return True
        await asyncio.sleep(0.05)
    return False


async def suite(chosen, relay, disk, receiver, late, failures):
    relay.write("".join(subscription(path[1:], receiver.url(path), retry="{initial: 1s, factor: 1, max_interval: 1s, max_attempts: 500}") for path in PATHS))
    relay.start()
    disk.limit(relay)
    sender = Sender(relay.events, 32 * 1024)
    load = asyncio.create_task(sender.run(4, 10**9))
    if not await until(lambda: sender.answers.get(503, 0) >= chosen.refused):
        failures.append(f"never full: {sender.answers}")
    if relay.get("/readyz") is None:
        failures.append("not ready while full")
    before = sum(path == "/late" for path, _ in receiver.received)
    late.set()
    accepted = len(sender.accepted)
    if not await until(lambda: not missing(receiver, sender, PATHS)):
        failures.append("deliveries do not go on while full")
    during = sum(path == "/late" for path, _ in receiver.received) - before
    refused = sender.answers.get(503, 0)
    disk.widen(relay)
    if not await until(lambda: len(sender.accepted) >= accepted + 50):
        failures.append(f"does not accept again: {sender.answers}")
    sender.stopped = True
    await load
    await drained(relay, receiver, sender, PATHS)
    await asyncio.to_thread(relay.kill)
    await asyncio.to_thread(relay.start)
    after = Sender(relay.events, 1024, "after")
    await after.run(2, 20)
    await drained(relay, receiver, after, PATHS)
    failures += [f"lost after the restart: {one}" for one in missing(receiver, after, PATHS)[:3]]
    sender.sent |= after.sent
    failures += verdict(NAME, receiver, sender, PATHS, disk="tmpfs" if disk.mounted else "file size limit", accepted_when_full=accepted, refused=refused,
                        delivered_while_full=during, answers=sender.answers)
    if set(sender.answers) != {202, 503} or sender.without_retry_after or sender.broken:
        failures.append(f"answers {sender.answers}, {sender.without_retry_after} of 503 without Retry-After, {sender.broken} connections broken")
    if during == 0:
        failures.append("nothing was delivered while full")


async def main():
    chosen = arguments(__doc__, refused=200)
    random.seed(chosen.seed)
    late, failures = asyncio.Event(), []
    receiver = await Receiver(lambda path, event: 200 if path == "/ready" or late.is_set() else 500).start()
    relay = Relay(chosen.sidehook, "")
    disk = Tmpfs(relay)
    try:
        await suite(chosen, relay, disk, receiver, late, failures)
        return finish(NAME, chosen.seed, failures)
    finally:
        if relay.process:
            relay.kill()
        disk.remove()
        relay.remove()


sys.exit(asyncio.run(main()))
