#!/usr/bin/env python3
"""A sync that fails with EIO (strace injects it): no 202 after it, no second sync on that file, exit within a second
with a code other than 0, and a clean restart that has everything that was accepted."""
import asyncio
import os
import random
import re
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "sync error", ["/a"]


def syncs_after_failure(path):
    """The syncs that the trace shows on the same file after the first EIO."""
    failed, after = None, []
    with open(path, errors="replace") as trace:
        for line in trace:
            call = re.search(r"f(?:data)?sync\((\d+)", line)
            if call is None:
                continue
            if failed is None and "EIO" in line:
                failed = call.group(1)
            elif failed == call.group(1):
                after.append(line.strip())
    return failed, after


async def one(chosen, relay, sender, number, failures):
    trace = os.path.join(relay.folder, f"trace-{number}")
    inject = ["strace", "-f", "-qqq", "-ttt", "-o", trace, "-e", "trace=fdatasync", "-e", f"inject=fdatasync:error=EIO:when={number}+"]
    relay.start(prefix=inject, wait=False)
    sender.stopped = False
    load = asyncio.create_task(sender.run(4, 10**9, pause=0.001))
    try:
        code = await asyncio.wait_for(asyncio.to_thread(relay.process.wait), 20)
    except asyncio.TimeoutError:
        failures.append(f"sync {number}: the relay still runs: {relay.tail(500)}")
        relay.kill()
        code = None
    ended = time.time()
    accepted = dict(sender.accepted)
    sender.stopped = True
    await load
    descriptor, after = syncs_after_failure(trace)
    if code == 0:
        failures.append(f"sync {number}: exit code 0")
    if descriptor is None:
        failures.append(f"sync {number}: the fault was never reached")
    if after:
        failures.append(f"sync {number}: synced again after the failure: {after[:2]}")
    if len(sender.accepted) != len(accepted):
        failures.append(f"sync {number}: answered 202 after the process ended")
    with open(trace, errors="replace") as lines:
        eio = [line for line in lines if "EIO" in line]
    if eio and code is not None:
        failed_at = float(re.search(r"(\d+\.\d+)", eio[0].split(None, 1)[1] if eio[0][0].isdigit() else eio[0]).group(1))
        if ended - failed_at > 1.5:
            failures.append(f"sync {number}: it took {ended - failed_at:.2f} s to exit")
    os.unlink(trace)


async def main():
    chosen = arguments(__doc__, syncs=40)
    random.seed(chosen.seed)
    failures = []
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"), retry="{schedule: [1s, 1s, 1s]}"))
    try:
        sender = Sender(relay.events, 512)
        for number in range(1, chosen.syncs + 1):
            await one(chosen, relay, sender, number, failures)
        relay.start()
        await drained(relay, receiver, sender, PATHS)
        failures += verdict(NAME, receiver, sender, PATHS, syncs=chosen.syncs)
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
