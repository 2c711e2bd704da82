#!/usr/bin/env python3
"""kill -9 under load: at random moments, and at each of the first writes and syncs (strace injects the signal).

No accepted event is lost, duplicates are at most the attempts in flight, every restart is ready by itself.
"""
import asyncio
import glob
import os
import random
import re
import shutil
import signal
import subprocess
import sys

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS, CONCURRENCY = "kill", ["/a", "/b"], 8
# A call, and the file of the store that it is made on ("journal/+" is every segment; none is any, sockets too). strace
# counts for each thread and call by itself, so each pair is a count of its own: the Nth such call of one thread is the last.
POINTS = [("pwrite64", "journal/+"), ("fdatasync", "journal/+"), ("fsync", "journal"), ("unlink", "journal/+"),
          ("pwrite64", "index.sqlite3-wal"), ("fsync", "index.sqlite3-wal"), ("pwrite64", "index.sqlite3-shm"), ("ftruncate", "index.sqlite3-shm"),
          ("pwrite64", "index.sqlite3"), ("fsync", "index.sqlite3"), ("ftruncate", "index.sqlite3"),
          ("unlink", "index.sqlite3-wal"), ("unlink", "index.sqlite3-shm"),
          ("pwrite64", "index.sqlite3-journal"), ("fsync", "index.sqlite3-journal"), ("unlink", "index.sqlite3-journal"),
          ("fallocate", "reserve"), ("ftruncate", "reserve"), ("fsync", "reserve"),
          ("fsync", "."), ("mkdir", None), ("rename", None), ("write", None), ("writev", None), ("sendto", None)]
# Every call that changes files or tells a peer: one that the relay makes and POINTS lacks is a failure of this suite.
WRITING = ("write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sync_file_range,msync,ftruncate,truncate,fallocate,rename,renameat,"
           "renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,sendto,sendmsg,sendmmsg,copy_file_range,sendfile,splice,io_uring_enter")


def traced(call, file, store, number):
    """strace so that the Nth `call` on `file` kills the relay before it is made."""
    inject = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
    if file == "journal/+":
        segments = [int(os.path.basename(path)[:8]) for path in glob.glob(f"{store}/journal/*.seg")]
        last = max(segments, default=0)
        # The last one, and those that recovery and a full segment make.
        return inject + [part for one in range(max(last, 1), last + 4) for part in ("-P", f"{store}/journal/{one:08}.seg")]
    return inject + (["-P", os.path.normpath(os.path.join(store, file))] if file else [])


async def random_kills(chosen, relay, sender, failures):
    """Kills the relay `kills` times while the sender works, and starts it again each time."""
    relay.start()
    load = asyncio.create_task(sender.run(8, 10**9))
    for _ in range(chosen.kills):
        await asyncio.sleep(random.uniform(0.02, 0.4))
        await asyncio.to_thread(relay.kill)
        await asyncio.to_thread(relay.start)
    sender.stopped = True
    await load
    return chosen.kills


async def one_life(relay, sender, prefix):
    """Runs the relay under strace with load, then stops it; its exit code, -9 when the kill came."""
    relay.start(prefix=prefix, wait=False)
    sender.stopped = False
    load = asyncio.create_task(sender.run(4, 10**9, pause=0.002))
    await relay.begun()
    try:
        return await asyncio.to_thread(relay.process.wait, 0.6)
    except subprocess.TimeoutExpired:
        # The calls of an orderly end are killed at too: strace itself ignores this signal.
        return await asyncio.to_thread(relay.kill, signal.SIGTERM)
    finally:
        sender.stopped = True
        await load


async def kinds_missed(relay, sender):
    """The kinds of writing calls of one whole life that POINTS does not name."""
    trace = os.path.join(relay.folder, "trace")
    await one_life(relay, sender, ["strace", "-f", "-qqq", "-o", trace, "-e", f"trace={WRITING}"])
    with open(trace, errors="replace") as lines:
        made = {found.group(1) for line in lines if (found := re.match(r"\d+ +(\w+)\(", line))}
    return sorted(made - {call for call, _ in POINTS})


async def kills_at_calls(chosen, relay, sender, failures):
    """Kills at the Nth call of each of POINTS in turn, for N from 1 on, until `calls` kills are done. A point whose Nth call
    is never made has had all of its calls."""
    missed = await kinds_missed(relay, sender)
    if missed:
        failures.append(f"the relay writes by {missed}, which no kill is tried at")
    at = {point: 0 for point in POINTS}
    alive, kills = list(POINTS), 0
    while alive and kills < chosen.calls:
        for point in list(alive):
            if kills == chosen.calls:
                break
            at[point] += 1
            code = await one_life(relay, sender, traced(*point, relay.store, at[point]))
            if code == -signal.SIGKILL:
                kills += 1
            elif code == 0:
                at[point] -= 1
                alive.remove(point)
            else:
                failures.append(f"exit code {code} at {point} {at[point]}: {relay.tail(500)}")
                return kills
    relay.start()
    print(f"{NAME} (at calls): " + ", ".join(f"{call} {file or 'anywhere'} {number}" for (call, file), number in at.items()))
    return kills


async def kills_at_first_start(chosen, relay, sender, failures):
    """Kills at each call of a first start and of the first end, in an empty store each time; then it must start, accept and
    deliver. `calls` bounds how far each point goes."""
    kills, receiver = 0, relay.receiver
    for call, file in POINTS:
        for number in range(1, max(2, chosen.calls // 20) + 1):
            shutil.rmtree(relay.store, ignore_errors=True)
            sender.stopped = True
            relay.start(prefix=traced(call, file, relay.store, number), wait=False)
            await relay.begun()
            code = await asyncio.to_thread(relay.kill, signal.SIGTERM)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                failures.append(f"exit code {code} at {call} {file} {number}: {relay.tail(500)}")
                return kills
            kills += 1
            await asyncio.to_thread(relay.start)
            sender.stopped = False
            await sender.run(2, sender.number + 4)
            if not await drained(relay, receiver, sender, PATHS, 10):
                return kills
            await asyncio.to_thread(relay.kill)
    relay.start()
    return kills


async def main():
    chosen = arguments(__doc__, kills=700, calls=300)
    random.seed(chosen.seed)
    failures = []
    if shutil.which("strace") is None:
        print(f"{NAME}: strace is not installed")
        return 1
    for label, suite in (("random", random_kills), ("at calls", kills_at_calls), ("first start", kills_at_first_start)):
        receiver = await Receiver().start()
        both = "".join(subscription(path[1:], receiver.url(path), concurrency=CONCURRENCY, retry="{schedule: [1s, 1s, 1s]}") for path in PATHS)
        relay = Relay(chosen.sidehook, both)
        relay.receiver = receiver
        try:
            sender = Sender(relay.events, 512, label.replace(" ", "-"))
            kills = await suite(chosen, relay, sender, failures)
            await drained(relay, receiver, sender, PATHS)
            bound = kills * CONCURRENCY * len(PATHS)
            failures += verdict(f"{NAME} ({label})", receiver, sender, PATHS, kills=kills, starts=relay.starts, duplicates_bound=bound)
            if receiver.duplicates() > bound:
                failures.append(f"{receiver.duplicates()} duplicates, at most {bound} attempts were in flight")
        finally:
            relay.remove()
    return finish(NAME, chosen.seed, failures)


sys.exit(asyncio.run(main()))
