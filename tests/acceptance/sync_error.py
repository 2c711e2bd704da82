#!/usr/bin/env python3
"""A sync of the journal that fails with EIO (strace injects it): no 202 after it, no second sync on that file, exit within
a second with a code other than 0, and a clean restart that has everything that was accepted."""
import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "sync error", ["/a"]


def calls(path):
    """(time it ended, call, its first argument, the rest) of every call in a trace; one that was interrupted is put together."""
    begun = {}
    with open(path, errors="replace") as trace:
        for line in trace:
            found = re.match(r"(\d+) +(\d+\.\d+) (?:<\.\.\. )?(\w+)(\(| resumed>)(.*)", line)
            if not found:
                continue
            process, when, call, _, rest = found.groups()
            if rest.endswith("<unfinished ...>"):
                begun[process] = rest.removesuffix("<unfinished ...>")
                continue
            rest = begun.pop(process, "") + rest
            yield float(when), call, re.split("[,)]", rest)[0].strip(), rest


def judged(label, trace, code, ended, failures):
    """Adds what the trace shows to be wrong; whether the fault was reached."""
    failed, failed_at = None, 0.0
    for when, call, file, rest in calls(trace):
        if failed is None and "EIO" in rest:
            failed, failed_at = file, when
        elif failed is not None and call in ("fsync", "fdatasync") and file == failed:
            failures.append(f"{label}: {file} synced again after the failure: {rest}")
        elif failed is not None and "HTTP/1.1 202" in rest:
            failures.append(f"{label}: answered 202 after the failure: {rest}")
    if failed is None:
        return False
    if code == 0:
        failures.append(f"{label}: exit code 0")
    if ended - failed_at > 1.0:
        failures.append(f"{label}: it took {ended - failed_at:.2f} s to exit")
    return True


async def one(relay, sender, call, what, number, failures):
    """One life whose Nth `call` and all later ones fail."""
    label = f"{call} {what} {number}"
    trace = os.path.join(relay.folder, "trace")
    # The delay lets the answers of earlier commits out before the fault, so that every later 202 is wrong.
    inject = ["strace", "-f", "-qqq", "-ttt", "-y", "-s", "16", "-o", trace, "-e", "trace=fsync,fdatasync,write,writev,sendto",
              "-e", f"inject={call}:error=EIO:delay_enter=30ms:when={number}+"]
    relay.start(prefix=inject, wait=False)
    sender.stopped = False
    load = asyncio.create_task(sender.run(4, 10**9, pause=0.001))
    try:
        code = await asyncio.to_thread(relay.process.wait, 10)
    except subprocess.TimeoutExpired:
        failures.append(f"{label}: the relay still runs: {relay.tail(500)}")
        code = await asyncio.to_thread(relay.kill)
    ended = time.time()
    sender.stopped = True
    await load
    if not judged(label, trace, code, ended, failures):
        failures.append(f"{label}: the fault was never reached, exit code {code}")


async def main():
    chosen = arguments(__doc__, syncs=40)
    random.seed(chosen.seed)
    failures = []
    if shutil.which("strace") is None:
        print(f"{NAME}: strace is not installed")
        return 1
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"), retry="{schedule: [1s, 1s, 1s]}"))
    try:
        sender = Sender(relay.events, 512)
        # The folders' syncs are those of a start: the first ones fail before anything is accepted.
        for number in (1, 2):
            await one(relay, sender, "fsync", "of a start", number, failures)
        for number in range(1, chosen.syncs + 1):
            await one(relay, sender, "fdatasync", "of the journal", number, failures)
        relay.start()
        await drained(relay, receiver, sender, PATHS)
        failures += verdict(NAME, receiver, sender, PATHS, syncs=chosen.syncs + 2)
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
