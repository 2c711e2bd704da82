#!/usr/bin/env python3
"""Disks of many sizes that fill: 503 with Retry-After, deliveries go on and complete while the disk is full, kill -9 and a
start while it is full, events are accepted again once there is room, and nothing accepted is lost.

The store is on a small tmpfs of its own for each size, so this needs the right to mount; without it the suite fails.
"""
import asyncio
import collections
import os
import random
import subprocess
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, missing, subscription, until, verdict

NAME, PATHS, WIDER = "disk full", ["/ready", "/late"], 192
# A refusal that is not the endpoint's failure: it is tried again at once, not by probing with growing pauses.
RETRY = "{initial: 200ms, factor: 1, max_interval: 200ms, max_attempts: 1000}"


class Disk:
    """A tmpfs as the folder of the store, sizes in KiB."""

    def __init__(self, relay, size):
        self.folder = os.path.join(relay.folder, "disk")
        os.mkdir(self.folder)
        self.mount(f"size={size}k")
        relay.store = os.path.join(self.folder, "data")

    def mount(self, options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True, capture_output=True)

    def free(self):
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize

    def remove(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


def wanting(checks, failures, size, name, holds, detail=""):
    """Counts a check, and adds a failure where it does not hold."""
    checks[name] += bool(holds)
    if not holds:
        failures.append(f"{size} KiB: not {name}. {detail}")
    return holds


async def ready_again(relay):
    """kill -9 and a start; whether the relay is ready, without ending the suite if it is not."""
    await asyncio.to_thread(relay.kill)
    await asyncio.to_thread(relay.start, (), False)
    return await until(lambda: relay.process.poll() is not None or relay.get("/readyz") is not None, 20) and relay.process.poll() is None


async def one_size(chosen, relay, disk, size, totals, checks, failures):
    late = asyncio.Event()
    receiver = await Receiver(lambda path, event: 200 if path == "/ready" or late.is_set() else 409).start()
    relay.write("".join(subscription(path[1:], receiver.url(path), retry=RETRY) for path in PATHS))
    check = lambda name, holds, detail="": wanting(checks, failures, size, name, holds, detail)
    relay.start(wait=False)
    if not check("started empty", await until(lambda: relay.process.poll() is not None or relay.get("/readyz") is not None, 20) and relay.process.poll() is None, relay.errors()):
        return
    sender = Sender(relay.events, random.choice((700, 4 << 10, 32 << 10, 200 << 10)))
    load = asyncio.create_task(sender.run(4, 10**9))
    check("full", await until(lambda: sender.answers.get(503, 0) >= chosen.refused, 60), f"answers {sender.answers}")
    check("ready while full", relay.get("/readyz") is not None)
    accepted = len(sender.accepted)
    totals["sizes that took events"] += accepted > 0
    check("without a restart while full", sender.broken == 0, f"{sender.broken} connections broken: {relay.errors()}")
    check("restarted while full", await ready_again(relay), f"exit code {relay.process.poll()}, {disk.free()} bytes free: {relay.errors()}")
    if relay.process.poll() is not None:
        disk.mount(f"remount,size={size + (WIDER << 10)}k")
        await asyncio.to_thread(relay.start)
        totals["helped"] += 1
    before = sum(path == "/late" for path, _ in receiver.received)
    late.set()
    fixed = set(sender.accepted)  # those accepted before deliveries make room
    check("delivered while full", await until(lambda: all((path, event) in receiver.received for path in PATHS for event in fixed), 60),
          f"{len(missing(receiver, sender, PATHS))} missing, {disk.free()} bytes free: {relay.errors()}")
    totals["delivered while full"] += sum(path == "/late" for path, _ in receiver.received) - before
    again = len(sender.accepted)
    disk.mount(f"remount,size={size + (WIDER << 10)}k")
    check("healed", await until(lambda: len(sender.accepted) >= again + 20), f"answers {sender.answers}")
    sender.stopped = True
    await load
    check("nothing lost", await drained(relay, receiver, sender, PATHS, 60), f"{missing(receiver, sender, PATHS)[:3]}")
    await ready_again(relay)
    after = Sender(relay.events, 1024, "after")
    await after.run(2, 20)
    check("nothing lost after a restart", len(after.accepted) == 20 and await drained(relay, receiver, after, PATHS, 60))
    sender.sent |= after.sent
    failures += [f"{size} KiB: {failure}" for failure in verdict(f"{NAME} {size} KiB", receiver, sender, PATHS, accepted_when_full=accepted, body=sender.size, answers=sender.answers)]
    check("answers 202 and 503 with Retry-After only", set(sender.answers) == {202, 503} and not sender.without_retry_after,
          f"{sender.answers}, {sender.without_retry_after} without Retry-After")
    for key in ("accepted", "refused", "delivered", "duplicates"):
        totals[key] += {"accepted": len(sender.accepted), "refused": sender.answers.get(503, 0), "delivered": len(receiver.received), "duplicates": receiver.duplicates()}[key]


async def main():
    chosen = arguments(__doc__, sizes=200, smallest=6, largest=96, refused=50)
    random.seed(chosen.seed)
    totals, checks, failures = collections.Counter(), collections.Counter(), []
    step = ((chosen.largest - chosen.smallest) << 10) / max(1, chosen.sizes - 1)
    for number in range(chosen.sizes):
        # Spread over the range, at no round number: a disk fills in the midst of whatever the relay writes.
        size = int((chosen.smallest << 10) + number * step) // 4 * 4 + random.choice((0, 4, 8, 12))
        relay = Relay(chosen.sidehook, "")
        try:
            disk = Disk(relay, size)
        except subprocess.CalledProcessError as error:
            relay.remove()
            return finish(NAME, chosen.seed, [f"a tmpfs cannot be mounted: {error.stderr.decode().strip()}"])
        try:
            await one_size(chosen, relay, disk, size, totals, checks, failures)
        finally:
            await asyncio.to_thread(relay.kill)
            disk.remove()
            relay.remove()
    if totals["sizes that took events"] < chosen.sizes / 2:
        failures.append(f"only {totals['sizes that took events']} of {chosen.sizes} disks had room for an event: the suite proved little")
    print(f"{NAME}: sizes {chosen.sizes} of {chosen.smallest} to {chosen.largest} MiB, " + ", ".join(f"{key} {count}" for key, count in totals.items()))
    print(f"{NAME}: of {chosen.sizes} sizes: " + ", ".join(f"{key} {count}" for key, count in checks.items()))
    return finish(NAME, chosen.seed, failures)


sys.exit(asyncio.run(main()))
