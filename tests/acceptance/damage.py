#!/usr/bin/env python3
"""Bits flipped and files cut in a store of about 1 MiB while the relay is stopped: it becomes ready by itself each time, never
delivers a body that was not posted, and loses only what was hit. An untouched copy of the store then delivers all. Only where both headers of a segment are gone it may refuse
to start, with a line that names the segment.

What was hit, by the bytes alone: a flipped bit of a segment may cost the events whose bytes are the nearest before and
behind it; a cut segment those of the group that is cut and behind it; the index is a view of the journal, so that damage to it
may cost nothing. Half of the damage is done to a store whose relay was killed, half to one that was stopped.
"""
import asyncio
import collections
import glob
import os
import random
import re
import shutil
import signal
import sys
import time

from harness import Receiver, Relay, Sender, arguments, finish, subscription, until

NAME, PATHS = "damage", ["/a", "/b"]
COUNTED = ["tried", "lost although not hit", "bodies never posted", "hung", "refused to start"]
RETRY = "{initial: 200ms, factor: 1, max_interval: 200ms, max_attempts: 1000}"

HEADER = r"the header of segment \d+ of the journal is damaged"


def places(text):
    """(where its body begins, given id) of every event in a segment, in order."""
    return [(found.start(), found.group(1).decode()) for found in re.finditer(rb'"id":"(e-\d+)"', text)]


def hit_by_flip(text, offset):
    """The events that a flipped bit may cost: header and body of one lie between its predecessor's body and its end."""
    around = places(text)
    before = [event for start, event in around if start <= offset][-1:]
    return set(before + [event for start, event in around if start > offset][:1])


def hit_by_cut(text, offset, size):
    """The events of the group that is cut, and those behind it: a group whose end is missing was never accepted, or may not
    have been. Groups begin with a word of their own at a multiple of 8."""
    groups = [found.start() for found in re.finditer(b"GRP1", text) if found.start() % 8 == 0]
    begin = max((group for group in groups if group <= offset), default=offset)
    return {event for start, event in places(text) if start >= begin or start + size > offset}


class Damage:
    """What is done to one file of a copy of the store, and which events it may cost."""

    def __init__(self, kind, path, offset, bit=0):
        self.kind, self.path, self.offset, self.bit = kind, path, offset, bit

    def __str__(self):
        return f"{self.kind} {self.path} at {self.offset}" + (f" bit {self.bit}" if self.kind == "flip" else "")

    def whole_header(self):
        """Whether both copies of a segment's header are hit: then the relay may refuse to start, and says which segment it is."""
        return self.kind == "zeros" and self.offset == 0 and "journal" in self.path

    def do(self, store, size):
        """Does it; the events that it may cost."""
        path = os.path.join(store, self.path)
        with open(path, "rb") as file:
            text = file.read()
        if self.kind == "cut":
            os.truncate(path, self.offset)
            return hit_by_cut(text, self.offset, size) if "journal" in self.path else set()
        if self.kind == "zeros":
            changed = text[:self.offset] + bytes(min(4096, len(text) - self.offset)) + text[self.offset + 4096:]
        else:
            changed = text[:self.offset] + bytes([text[self.offset] ^ 1 << self.bit]) + text[self.offset + 1:]
        with open(path, "wb") as file:
            file.write(changed)
        if "journal" not in self.path:
            return set()
        end = self.offset + (4096 if self.kind == "zeros" else 1)
        return set().union(*(hit_by_flip(text, at) for at in range(self.offset, end, 64)), hit_by_flip(text, end))


def plan(store, files, chosen):
    """Damages spread over the files: in proportion of the bytes in use, at random bits; cuts at random lengths."""
    damages, used = [], {}
    for path in files:
        with open(os.path.join(store, path), "rb") as file:
            used[path] = len(file.read().rstrip(b"\0"))
    journal = [path for path in files if "journal" in path]
    for kind, number in (("flip", chosen.flips // 2), ("cut", chosen.cuts // 2), ("zeros", chosen.zeros // 2)):
        for one in range(number):
            # Half of all hit the journal, the headers of its segments among them; the rest the index and what is beside it.
            several = journal if one % 2 else [path for path in files if path not in journal]
            path = random.choices(several, [max(used[path], 1) for path in several])[0]
            near = 8192 if one % 10 == 1 else used[path]
            offset = random.randrange(max(1, min(near, used[path])))
            damages.append(Damage(kind, path, offset // 4096 * 4096 if kind == "zeros" else offset, random.randrange(8)))
    return damages


async def made(chosen, relay, receiver, ending):
    """A store with two subscriptions, one delivered, one pending; what was accepted."""
    sender = Sender(relay.events, chosen.size)
    receiver.received.clear()
    relay.start()
    await sender.run(4, chosen.events // 2)
    await sender.run(1, chosen.events)
    await until(lambda: len([1 for path, _ in receiver.received if path == "/a"]) == len(sender.accepted), 20)
    await asyncio.sleep(0.5)  # the index has it
    await asyncio.to_thread(relay.kill, ending)
    return sender


class Bench:
    """Starts the relay on damaged copies of one store."""

    def __init__(self, relay, receiver, sender, template):
        self.relay, self.receiver, self.sender, self.template = relay, receiver, sender, template
        self.counts, self.refusals = collections.Counter(), collections.Counter()

    async def start(self):
        """Whether it became ready."""
        relay = self.relay
        open(os.path.join(relay.folder, "log"), "w").close()
        relay.start(wait=False)
        return await until(lambda: relay.process.poll() is not None or relay.get("/readyz") is not None, 20) and relay.process.poll() is None

    async def one(self, damage, failures):
        receiver, relay = self.receiver, self.relay
        shutil.rmtree(relay.store)
        shutil.copytree(self.template, relay.store)
        allowed = damage.do(relay.store, self.sender.size) if damage else set()
        receiver.received.clear()
        receiver.digests.clear()
        self.counts["tried"] += 1
        if not await self.start():
            ended = relay.process.poll()
            self.counts["refused to start" if ended else "hung"] += 1
            self.refusals[relay.errors().rstrip().rsplit('"error":"', 1)[-1][:120]] += 1
            if not (ended and damage and damage.whole_header() and re.search(HEADER, relay.tail())):
                failures.append(f"{damage}: not ready, exit code {ended}: {relay.errors()}")
            await asyncio.to_thread(relay.kill)
            return
        wanted = {("/b", event) for event in self.sender.accepted if event not in allowed}
        end = time.monotonic() + 20
        while time.monotonic() < end and not wanted <= receiver.received.keys():
            # What the relay itself holds to be nothing more will not come.
            if not await asyncio.to_thread(relay.metric, "sidehook_pending_deliveries") and time.monotonic() - receiver.last > 1:
                break
            await asyncio.sleep(0.05)
        pending = await asyncio.to_thread(relay.metric, "sidehook_pending_deliveries")
        code = await asyncio.to_thread(relay.kill, signal.SIGTERM)
        if code != 0:
            failures.append(f"{damage}: exit code {code}: {relay.errors()}")
        self.judge(damage, wanted, pending, failures)

    def judge(self, damage, wanted, pending, failures):
        receiver = self.receiver
        got = {event for path, event in receiver.received if path == "/b"}
        lost = {event for _, event in wanted} - got
        self.counts["lost although not hit"] += len(lost)
        self.counts["lost by a hit"] += len(self.sender.accepted) - len(got) - len(lost)
        self.counts["delivered again"] += sum(path == "/a" for path, _ in receiver.received)
        false = [key for key, digest in receiver.digests.items() if self.sender.accepted.get(key[1]) != digest]
        self.counts["bodies never posted"] += len(false)
        if lost:
            self.counts["damages that cost more"] += 1
            failures.append(f"{damage}: {len(lost)} lost that were not hit, {pending:.0f} still pending, such as {sorted(lost)[:3]}: {self.relay.errors()}")
        if false:
            failures.append(f"{damage}: delivered what was not posted: {false[:3]}")
        if receiver.invalid:
            failures.append(f"{damage}: signatures are wrong: {receiver.invalid[:3]}")


async def main():
    chosen = arguments(__doc__, flips=3000, cuts=600, zeros=400, events=256, size=4096)
    random.seed(chosen.seed)
    refusing, failures = asyncio.Event(), []
    refusing.set()
    receiver = await Receiver(lambda path, event: 409 if path == "/b" and refusing.is_set() else 200).start()
    relay = Relay(chosen.sidehook, "")
    try:
        # What is due is due at once in every copy, however long ago the store was made.
        relay.write("".join(subscription(path[1:], receiver.url(path), retry=RETRY, concurrency=64) for path in PATHS))
        counts = collections.Counter()
        for ending in (signal.SIGKILL, signal.SIGTERM):
            refusing.set()
            shutil.rmtree(relay.store, ignore_errors=True)
            sender = await made(chosen, relay, receiver, ending)
            refusing.clear()
            template = os.path.join(relay.folder, f"template-{ending}")
            shutil.copytree(relay.store, template)
            files = sorted(os.path.relpath(path, template) for path in glob.glob(template + "/**", recursive=True)
                           if os.path.isfile(path) and os.path.getsize(path) and ("journal/" in path or "index.sqlite3" in path))
            bench = Bench(relay, receiver, sender, template)
            for damage in [None, *plan(template, files, chosen), None]:
                if len(failures) < 50:
                    await bench.one(damage, failures)
            counts += bench.counts
            print(f"{NAME}: {'killed' if ending == signal.SIGKILL else 'stopped'}: files {', '.join(f'{path} {os.path.getsize(os.path.join(template, path)) >> 10} KiB' for path in files)}")
            for line, count in bench.refusals.items():
                print(f"{NAME}: refused {count}: {line}")
        counts = {name: counts[name] for name in COUNTED} | counts
        print(f"{NAME}: flips {chosen.flips}, cuts {chosen.cuts}, zeroed blocks {chosen.zeros}, accepted {len(sender.accepted)}, " +
              ", ".join(f"{key} {count}" for key, count in counts.items()))
        if len(sender.accepted) != chosen.events:
            failures.append(f"only {len(sender.accepted)} accepted: the suite proved nothing")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
