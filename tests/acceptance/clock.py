#!/usr/bin/env python3
"""The wall clock jumps, under way and between restarts: an hour, a year, back, to 1970, frozen. No retry comes early or later
than twice its pause, nothing is lost, and signatures carry the wall clock of the attempt.

libfaketime (Debian package faketime) moves the wall clock of the relay only; its monotonic clock stays real, as on a
machine whose clock is set. The receiver measures with its own clock.
"""
import asyncio
import glob
import os
import random
import signal
import sys
import time

from harness import Receiver, Relay, Sender, arguments, drained, finish, subscription, verdict

NAME, PATHS, PAUSES, SLACK = "clock", ["/a"], [0.5, 1.0, 2.0, 1.0], 1.5
LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
HOUR, YEAR = 3600, 365 * 86400
# Seconds off the real time; None is 1970, and a text a clock that stands still.
JUMPS = [HOUR, -HOUR, YEAR, -YEAR, None, 0, 1, -1, "2026-02-28 23:59:59", 10 * YEAR, 90, -90]
SEEN_AFTER = 2.5  # the library looks what time it is to be about once a second


class Clock:
    """The relay's wall clock: what it was set to, and when by the monotonic clock."""

    def __init__(self, folder):
        self.file, self.history, self.pids = os.path.join(folder, "clock"), [], []
        self.environment = {"LD_PRELOAD": glob.glob(LIBRARY)[0], "FAKETIME_TIMESTAMP_FILE": self.file, "FAKETIME_CACHE_DURATION": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}

    def set(self, jump):
        offset = int(10 - time.time()) if jump is None else jump
        self.history.append((time.monotonic(), time.mktime(time.strptime(jump, "%Y-%m-%d %H:%M:%S")) if isinstance(jump, str) else offset, isinstance(jump, str)))
        with open(self.file + ".new", "w") as file:
            file.write(jump if isinstance(jump, str) else f"{offset:+d}")
        os.replace(self.file + ".new", self.file)

    def start(self, relay):
        relay.start(environment=self.environment)
        self.pids.append(relay.process.pid)

    def leave(self, relay):
        """Ends the relay, and removes what the library leaves behind where its process was killed."""
        relay.remove()
        for path in [path for pid in self.pids for path in (f"/dev/shm/faketime_shm_{pid}", f"/dev/shm/sem.faketime_sem_{pid}")]:
            if os.path.exists(path):
                os.remove(path)

    def fits(self, stamp, moment, real):
        """Whether a timestamp is what the relay's clock said about then; after a jump the old time counts for a while."""
        replaced = [since for since, _, _ in self.history[1:]] + [float("inf")]
        possible = [value if frozen else real + value for (since, value, frozen), until in zip(self.history, replaced)
                    if since <= moment and until > moment - SEEN_AFTER]
        return any(abs(stamp - one) <= 2.5 for one in possible)


class Endpoint(Receiver):
    """Refuses each event as often as there are pauses, and remembers every attempt."""

    def __init__(self):
        super().__init__(self.refuses)
        self.attempts, self.stamps = {}, []

    def refuses(self, path, event):
        return 409 if len(self.attempts[event]) <= len(PAUSES) else 200

    def take(self, path, headers, body):
        event, now = headers.get(b"webhook-id", b"?").decode(), time.monotonic()
        self.attempts.setdefault(event, []).append(now)
        self.stamps.append((now, time.time(), int(headers[b"webhook-timestamp"])))
        return super().take(path, headers, body)


def paces(endpoint, restarts, failures):
    """Judges every pause; the longest lateness, the shortest pause by its due one, and the most attempts in a second."""
    latest, shortest, moments = 0.0, 10.0, sorted(when for when, _, _ in endpoint.stamps)
    for event, attempts in endpoint.attempts.items():
        for number, (before, after) in enumerate(zip(attempts, attempts[1:])):
            # A kill repeats an attempt that the relay does not count, so that the pause may be that of an earlier number.
            kills = sum(attempts[0] <= ready and killed <= after for killed, ready in restarts)
            due = [PAUSES[min(one, len(PAUSES) - 1)] for one in range(max(0, number - kills), number + 1)]
            between = [(killed, ready) for killed, ready in restarts if before <= ready and killed <= after]
            down = sum(ready - killed for killed, ready in between)
            # A start may take what was due meanwhile for due at once, and waits for it no longer than its whole pause.
            late = after - before - down - max(due) * (1 + len(between))
            latest = max(latest, late)
            if after - before > 2 * max(due) * (1 + len(between)) + down + SLACK:
                failures.append(f"{event}: attempt {number + 2} came {after - before:.2f} s after the one before, its pause is {max(due)} s")
            if not between:
                shortest = min(shortest, (after - before) / min(due))
                if after - before < min(due) - 0.05:
                    failures.append(f"{event}: attempt {number + 2} came {after - before:.2f} s after the one before, its pause is {min(due)} s")
        if len(attempts) > len(PAUSES) + 1 + len(restarts) * 2:
            failures.append(f"{event}: {len(attempts)} attempts")
    ahead = peak = 0
    for behind, moment in enumerate(moments):
        while moments[ahead] < moment - 1:
            ahead += 1
        peak = max(peak, behind - ahead + 1)
    return latest, shortest, peak


async def ages(chosen, failures):
    """A delivery that may be tried for an hour, and a streak of failures that disables after days: jumps under way age neither."""
    answer = [409]
    receiver = await Receiver(lambda path, event: answer[0]).start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"), retry="{initial: 200ms, factor: 1, max_interval: 200ms, max_attempts: 1000, max_age: 1h}"))
    clock = Clock(relay.folder)
    try:
        clock.set(0)
        await asyncio.to_thread(clock.start, relay)
        sender, counts, oldest = Sender(relay.events, 512, "aged"), [], 0.0
        await sender.run(1, 3)
        for jump in (YEAR, None, 10 * YEAR, 0):
            clock.set(jump)
            await asyncio.sleep(SEEN_AFTER)
            counts.append(int(relay.metric("sidehook_attempts_total", subscription="a")))
            oldest = max(oldest, relay.metric("sidehook_oldest_pending_age_seconds", subscription="a"))
        answer[0] = 200
        await drained(relay, receiver, sender, PATHS, 10)
        failures += verdict(f"{NAME} (ages)", receiver, sender, PATHS, attempts_after_each_jump=counts, oldest_pending=f"{oldest:.1f} s")
        if oldest > 5 * SEEN_AFTER or any(after - before < 15 for before, after in zip(counts, counts[1:])):
            failures.append(f"attempts after each jump {counts}, the oldest pending is {oldest:.0f} s old")
    finally:
        clock.leave(relay)


async def main():
    chosen = arguments(__doc__, jumps=120, settle=4.0)
    random.seed(chosen.seed)
    os.environ["TZ"] = "UTC"
    time.tzset()
    failures, restarts, jumps, order = [], [], 0, []
    if not glob.glob(LIBRARY):
        print(f"{NAME}: faketime is not installed")
        return 1
    endpoint = Endpoint()
    await endpoint.start()
    relay = Relay(chosen.sidehook, "")
    clock = Clock(relay.folder)
    fields = {"auto_disable": "never"} if relay.knows("auto_disable", "never") else {}
    schedule = ", ".join(f"{int(pause * 1000)}ms" for pause in PAUSES + [1.0] * 20)
    relay.write(subscription("a", endpoint.url("/a"), retry=f"{{schedule: [{schedule}], jitter: 0}}", concurrency=256, **fields))

    try:
        clock.set(None)  # a machine without a clock of its own begins in 1970
        await asyncio.to_thread(clock.start, relay)
        sender = Sender(relay.events, 512)
        load = asyncio.create_task(sender.run(2, 10**9, pause=0.05))
        for number in range(chosen.jumps):
            await asyncio.sleep(random.uniform(0.5, chosen.settle))
            if not order:
                order = random.sample([(jump, mode) for jump in JUMPS for mode in (None, None, signal.SIGKILL, signal.SIGTERM)], 4 * len(JUMPS))
            jump, mode = order.pop()
            if number == 0:
                jump, mode = 0, None  # and is set to the right time under way
            jumps += mode is None
            if mode is None:
                clock.set(jump)
                continue
            killed = time.monotonic()
            await asyncio.to_thread(relay.kill, mode)
            clock.set(jump)
            await asyncio.to_thread(clock.start, relay)
            restarts.append((killed, time.monotonic()))
        clock.set(0)
        sender.stopped = True
        await load
        await drained(relay, endpoint, sender, PATHS, 30)
        latest, shortest, peak = paces(endpoint, restarts, failures)
        wrong = [(round(moment - clock.history[0][0], 2), stamp, int(real)) for moment, real, stamp in endpoint.stamps if not clock.fits(stamp, moment, real)]
        if wrong:
            failures.append(f"{len(wrong)} of {len(endpoint.stamps)} timestamps are not the wall clock's, such as {wrong[:5]}")
        del failures[20:]
        failures += verdict(NAME, endpoint, sender, PATHS, jumps_under_way=jumps, restarts=len(restarts), attempts=len(endpoint.stamps), most_in_a_second=peak,
                            latest_behind_its_pause=f"{latest:.2f} s", shortest_of_its_pause=f"{shortest:.2f}", timestamps_wrong=len(wrong))
        await ages(chosen, failures)
        return finish(NAME, chosen.seed, failures)
    finally:
        clock.leave(relay)


sys.exit(asyncio.run(main()))
