#!/usr/bin/env python3
"""Writes and syncs of the store that fail: EIO at each of the first ones (strace injects it), short writes, EINTR.

A failed write or sync of the journal: no 202 after it, the file is neither synced nor written again, the relay ends within
a second with a code other than 0. A failed one of the index may be borne. The next start is clean and has what was accepted.

strace cannot make a short write: with `retval` it skips the call, so that bytes which a kernel would have written are
missing and the relay is told otherwise. So the kernel makes them: RLIMIT_FSIZE cuts the write that crosses the limit and
refuses the next one with EFBIG, as a full disk does in the midst of a write.
"""
import asyncio
import collections
import glob
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS = "io errors", ["/a"]
# A call, the file of the store that it is made on ("journal/+" is every segment), and how often as many calls of it are tried.
POINTS = [("fdatasync", "journal/+", 8), ("pwrite64", "journal/+", 8), ("fsync", "journal", 1), ("fsync", ".", 1),
          ("pwrite64", "index.sqlite3-wal", 2), ("fsync", "index.sqlite3-wal", 1), ("fdatasync", "index.sqlite3-wal", 1), ("pwrite64", "index.sqlite3", 1),
          ("fsync", "index.sqlite3", 1), ("fdatasync", "index.sqlite3", 1), ("ftruncate", "index.sqlite3-shm", 1),
          ("fallocate", "reserve", 1), ("ftruncate", "reserve", 1)]
TRACED = "trace=fsync,fdatasync,ftruncate,fallocate,pwrite64,write,writev,sendto"


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


def judged(label, trace, failures, error="EIO", final=True):
    """Adds what the trace shows to be wrong after the first such error; when it was, or None. `final`: it must end the relay."""
    failed, failed_at = None, 0.0
    for when, call, file, rest in calls(trace):
        if failed is None and f"= -1 {error}" in rest and file.endswith(">"):
            failed, failed_at = file, when
        elif failed is None or not final:
            continue
        elif call in ("fsync", "fdatasync", "pwrite64") and file == failed:
            failures.append(f"{label}: {call} on {file} again after the failure: {rest}")
        elif "HTTP/1.1 202" in rest:
            failures.append(f"{label}: answered 202 after the failure: {rest}")
    return failed_at if failed else None


def ended_well(label, code, ended, failed_at, failures):
    if code == 0:
        failures.append(f"{label}: exit code 0")
    if ended - failed_at > 1.0:
        failures.append(f"{label}: it took {ended - failed_at:.2f} s to exit")


def files(relay, file):
    """strace's options for the calls on a file of the store: those that recovery and a full segment make, too."""
    if file != "journal/+":
        return ["-P", os.path.normpath(os.path.join(relay.store, file))]
    last = max((int(os.path.basename(path)[:8]) for path in glob.glob(f"{relay.store}/journal/*.seg")), default=1)
    return [part for one in range(last, last + 4) for part in ("-P", f"{relay.store}/journal/{one:08}.seg")]


class Life:
    """One life of the relay under load and strace."""

    def __init__(self, relay, sender):
        self.relay, self.sender, self.trace = relay, sender, os.path.join(relay.folder, "trace")

    def tracer(self, *options):
        return ["strace", "-f", "-qqq", "-ttt", "-y", "-s", "16", "-o", self.trace, "-e", TRACED, *options]

    async def run(self, prefix, seconds=1.5, begun=None):
        """Until it ends or is ended; its exit code, whether it ended by itself, and when."""
        self.relay.start(prefix=prefix, wait=False)
        self.sender.stopped = False
        load = asyncio.create_task(self.sender.run(4, 10**9, pause=0.001))
        if begun:
            await begun()
        await self.relay.begun()
        try:
            code, alone = await asyncio.to_thread(self.relay.process.wait, seconds), True
        except subprocess.TimeoutExpired:
            code, alone = await asyncio.to_thread(self.relay.kill, signal.SIGTERM), False
        ended = time.time()
        self.sender.stopped = True
        await load
        return code, alone, ended


async def injected(life, call, file, number, error, failures):
    """One life whose Nth `call` on a file fails, and every second time all later ones; whether the fault was reached."""
    label = f"{call} {file} {number} {error}"
    # The delay lets the answers of earlier commits out before the fault, so that every later 202 is wrong.
    once = "" if number % 2 or error == "EINTR" else "+"
    quoted = ["-e", f"inject={call}:error={error}:delay_enter=30ms:when={number}{once}"]
    # A filter of files hides the answers from the trace. Only the journal calls fdatasync, so that there none is needed; a 202
    # after another fault is found at the end, for the event was not written.
    prefix = life.tracer(*quoted, *([] if (call, file) == ("fdatasync", "journal/+") else files(life.relay, file)))
    # Where the relay must end by itself, the fault may come late: a busy machine makes few calls in a second.
    code, alone, ended = await life.run(prefix, 4 if file.startswith("journal") and error == "EIO" else 1.5)
    must_end = file.startswith("journal") and error == "EIO"
    failed_at = judged(label, life.trace, failures, error, must_end)
    if failed_at is None:
        return False
    if must_end:
        if not alone and ended - failed_at > 1.0:
            failures.append(f"{label}: the relay still ran: {life.relay.tail(500)}")
        ended_well(label, code, ended, failed_at, failures)
    elif error == "EINTR" and (alone or code != 0):
        failures.append(f"{label}: it ended with {code}: {life.relay.tail(500)}")
    elif code < 0:
        failures.append(f"{label}: it died by signal {-code}")
    return True


async def at_calls(life, total, error, points, failures):
    """The Nth call of each point for N from 1, until so many faults were reached or no point has more calls."""
    at, reached, alive = collections.Counter(), 0, [point for point in points for _ in range(point[2])]
    while alive and reached < total and not failures:
        for point in list(alive):
            if reached >= total or point not in alive:
                continue
            at[point] += 1
            if await injected(life, *point[:2], at[point], error, failures):
                reached += 1
            else:
                at[point] -= 1
                alive = [other for other in alive if other != point]
    return reached, ", ".join(f"{call} {file} {at[call, file, weight]}" for call, file, weight in points if at[call, file, weight])


def journal_end(store):
    """Where the newest segment's data ends, behind which are zeros."""
    newest = max(glob.glob(f"{store}/journal/*.seg"), default=None)
    with open(newest, "rb") as segment:
        return len(segment.read().rstrip(b"\0"))


async def short_writes(life, total, failures):
    """Lives with a limit of the file size: set before the start, or under load in the midst of the journal's zeros. How many
    writes the kernel cut, and how many lives ended by it."""
    cut = ended_by = refused = 0
    for number in range(total):
        label, before = f"short write {number}", life.sender.answers.get(503, 0)

        async def narrowed():
            for _ in range(400):
                children = open(f"/proc/{life.relay.process.pid}/task/{life.relay.process.pid}/children").read().split()
                if children and life.sender.accepted.keys() - seen:
                    limit = journal_end(life.relay.store) + random.randint(1, 60_000)
                    resource.prlimit(int(children[0]), resource.RLIMIT_FSIZE, (limit, limit))
                    return
                await asyncio.sleep(0.01)

        seen = set(life.sender.accepted)
        if number % 4 == 0:
            size = random.choice((random.randint(1, 8192), random.randint(1, 3 << 20)))
            code, alone, ended = await life.run(life.tracer() + ["prlimit", f"--fsize={size}"], 0.6)
        else:
            code, alone, ended = await life.run(life.tracer(), 1.5, narrowed)
        for _, call, file, rest in calls(life.trace):
            lengths = re.search(r", (\d+), (\d+)\) += (\d+)", rest) if call == "pwrite64" else None
            cut += lengths is not None and int(lengths[3]) < int(lengths[1])
        refused += life.sender.answers.get(503, 0) > before
        if alone:
            ended_by += 1
            failed_at = judged(label, life.trace, failures, "EFBIG", False)
            if failed_at is None:
                failures.append(f"{label}: ended with {code} without a fault: {life.relay.tail(500)}")
            elif code <= 0:
                failures.append(f"{label}: ended with {code}: {life.relay.tail(500)}")
        if failures:
            break
    return f"cut by the kernel {cut}, lives {total}, ended by it {ended_by}, refused with 503 in {refused}"


async def main():
    chosen = arguments(__doc__, calls=300, interrupted=40, short=100)
    random.seed(chosen.seed)
    failures = []
    if shutil.which("strace") is None:
        print(f"{NAME}: strace is not installed")
        return 1
    receiver = await Receiver().start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"), retry="{schedule: [1s, 1s, 1s]}"))
    try:
        sender = Sender(relay.events, 512)
        life = Life(relay, sender)
        reached, where = await at_calls(life, chosen.calls, "EIO", POINTS, failures)
        print(f"{NAME}: EIO at {reached} calls: {where}", flush=True)
        if reached < min(chosen.calls, 12):
            failures.append(f"only {reached} faults were reached")
        interrupted, where = await at_calls(life, chosen.interrupted, "EINTR", [(call, file, 1) for call, file, _ in POINTS[:2]], failures)
        print(f"{NAME}: EINTR at {interrupted} calls: {where}", flush=True)
        sender.size = 16 << 10  # groups of several blocks, so that the limit falls into them
        print(f"{NAME}: short writes: {await short_writes(life, chosen.short, failures)}", flush=True)
        await asyncio.to_thread(relay.start)
        await drained(relay, receiver, sender, PATHS)
        failures += verdict(NAME, receiver, sender, PATHS, calls=reached, interrupted=interrupted, starts=relay.starts, answers=sender.answers)
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
