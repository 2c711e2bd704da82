#!/usr/bin/env python3
"""Subscriptions that leave the file with a backlog, come back, are renamed and changed, with kills in between.

What matched while a name was in the file is held while it is gone and delivered once it is back; what came meanwhile is not
for it. A changed url, secret or retry applies from the next attempt.
"""
import asyncio
import base64
import random
import signal
import sys
import time

from harness import Receiver, Relay, Sender, arguments, finish, subscription, until, verified

NAME, NAMES = "removed", ["one", "two", "three", "four"]
QUICK = "{initial: 200ms, factor: 1, max_interval: 200ms, max_attempts: 1000}"
SLOW = "{initial: 1500ms, factor: 1, max_interval: 1500ms, max_attempts: 1000}"
OTHER_KEY = bytes(range(32))
OTHER_SECRET = "whsec_" + base64.b64encode(OTHER_KEY).decode()


class Endpoint(Receiver):
    """A receiver that refuses on some paths and remembers when each attempt came and which secret signed it."""

    def __init__(self):
        super().__init__(lambda path, event: 409 if path in self.refusing else 200)
        self.refusing, self.attempts = set(), []

    def take(self, path, headers, body):
        keys = [key for key in ("first", "other") if verified(headers, body, *([OTHER_KEY] if key == "other" else []))]
        self.attempts.append((time.monotonic(), path, headers.get(b"webhook-id", b"?").decode(), keys))
        return super().take(path, headers, body)


class Scene:
    """One relay and its endpoint, and which deliveries must come: those of the names that were in the file."""

    def __init__(self, binary):
        self.endpoint, self.present, self.expected = Endpoint(), set(NAMES), set()
        self.relay, self.sender = Relay(binary, ""), None

    def file(self):
        if not self.present:
            return "  none: {active: false}\n"
        return "".join(subscription(name, self.endpoint.url("/" + name), retry=QUICK) for name in sorted(self.present))

    async def post(self, number):
        already = set(self.sender.accepted)
        self.sender.stopped = False
        await self.sender.run(4, self.sender.number + number)
        self.expected |= {("/" + name, event) for name in self.present for event in set(self.sender.accepted) - already}

    def missing(self):
        return self.expected - set(self.endpoint.received)


async def restarted(relay, number):
    await asyncio.to_thread(relay.kill, number)
    await asyncio.to_thread(relay.start)


async def comings_and_goings(chosen, failures):
    """Each round removes or returns a name, ends the relay or not, and posts; nothing may come for a name that is gone."""
    scene = Scene(chosen.sidehook)
    await scene.endpoint.start()
    relay, removals, kills = scene.relay, 0, 0
    try:
        relay.write(scene.file())
        relay.start()
        scene.sender = Sender(relay.events, 512)
        for number in range(chosen.rounds):
            scene.endpoint.refusing = {"/" + name for name in random.sample(NAMES, random.randint(1, 3))}
            await scene.post(random.randint(5, 40))
            name = random.choice(NAMES)
            removals += name in scene.present
            scene.present ^= {name}
            relay.write(scene.file())
            if random.random() < 0.3:
                kills += 1
                await restarted(relay, random.choice((signal.SIGKILL, signal.SIGTERM)))
            elif not await relay.reload():
                failures.append(f"round {number}: the reload failed: {relay.tail(500)}")
            await asyncio.sleep(0.2)  # the attempts in flight
            quiet = time.monotonic()
            scene.endpoint.refusing.clear()
            await scene.post(random.randint(5, 40))
            await asyncio.sleep(random.choice((0.0, 0.3, 0.6)))
            gone = {"/" + one for one in NAMES if one not in scene.present}
            wrong = [attempt for attempt in scene.endpoint.attempts if attempt[0] > quiet and attempt[1] in gone]
            if wrong:
                failures.append(f"round {number}: {len(wrong)} attempts for a name that is gone, such as {wrong[0]}")
        scene.present = set(NAMES)
        relay.write(scene.file())
        await relay.reload()
        await until(lambda: not scene.missing())
        await asyncio.sleep(0.5)
        lost, extra = scene.missing(), set(scene.endpoint.received) - scene.expected
        print(f"{NAME} (comings and goings): rounds {chosen.rounds}, removals {removals}, ends {kills}, accepted {len(scene.sender.accepted)}, expected {len(scene.expected)}, "
              f"delivered {len(scene.endpoint.received)}, lost {len(lost)}, never due {len(extra)}, duplicates {scene.endpoint.duplicates()}, answers {scene.sender.answers}")
        failures += [f"{len(items)} {what}, such as {sorted(items)[:3]}" for what, items in (("lost", lost), ("never due", extra)) if items]
        if scene.endpoint.duplicates() > kills * 16 * len(NAMES):
            failures.append(f"{scene.endpoint.duplicates()} duplicates")
        if not scene.expected:
            failures.append("nothing was accepted: the suite proved nothing")
    finally:
        relay.remove()


async def renames(chosen, failures):
    """The backlog of a name stays that name's: the new name gets what comes from then on, the old one goes on when it is back."""
    scene = Scene(chosen.sidehook)
    await scene.endpoint.start()
    relay = scene.relay
    named = lambda *names: "".join(subscription(name, scene.endpoint.url("/" + name), retry=QUICK) for name in names)
    try:
        relay.write(named("old"))
        relay.start()
        scene.endpoint.refusing = {"/old"}
        scene.sender, scene.present = Sender(relay.events, 512, "renamed"), {"old"}
        await scene.post(50)
        scene.present = {"new"}
        relay.write(named("new"))
        await relay.reload()
        await scene.post(50)
        scene.endpoint.refusing = set()
        await restarted(relay, signal.SIGKILL)
        if not await until(lambda: sum(path == "/new" for path, _ in scene.endpoint.received) == 50, 10):
            failures.append("renamed: the new name does not get what is posted")
        early = [key for key in scene.endpoint.received if key[0] == "/old"]
        if early:
            failures.append(f"renamed: the old name was delivered to while it was gone: {early[:3]}")
        relay.write(named("new", "old"))
        await relay.reload()
        await until(lambda: not scene.missing(), 10)
        extra = set(scene.endpoint.received) - scene.expected
        print(f"{NAME} (renames): expected {len(scene.expected)}, delivered {len(scene.endpoint.received)}, lost {len(scene.missing())}, never due {len(extra)}")
        if scene.missing() or extra:
            failures.append(f"renamed: lost {sorted(scene.missing())[:3]}, never due {sorted(extra)[:3]}")
    finally:
        relay.remove()


async def changes(chosen, failures):
    """url, secret and retry of a subscription with a backlog change under it, each from the next attempt."""
    scene = Scene(chosen.sidehook)
    await scene.endpoint.start()
    relay, endpoint = scene.relay, scene.endpoint
    endpoint.refusing = {"/first", "/second"}

    async def applied(path, seconds=1.5, **fields):
        """Applies fields; the attempts that came once those in flight were over."""
        relay.write(subscription("one", endpoint.url(path), **fields))
        if not await relay.reload():
            failures.append(f"changed: the reload failed: {relay.tail(500)}")
        await asyncio.sleep(0.1)
        since = time.monotonic()
        await asyncio.sleep(seconds)
        return [attempt for attempt in endpoint.attempts if attempt[0] > since]

    def judge(what, attempts, right):
        wrong = [attempt for attempt in attempts if not right(attempt)]
        if wrong or not attempts:
            failures.append(f"changed {what}: {len(wrong)} of {len(attempts)} attempts are wrong, such as {wrong[:1]}")

    try:
        relay.write(subscription("one", endpoint.url("/first"), retry=QUICK))
        relay.start()
        scene.sender = Sender(relay.events, 512, "changed")
        await scene.sender.run(2, 5)
        judge("nothing", await applied("/first", retry=QUICK), lambda attempt: attempt[1] == "/first" and attempt[3] == ["first"])
        judge("url", await applied("/second", retry=QUICK), lambda attempt: attempt[1] == "/second" and attempt[3] == ["first"])
        judge("secret", await applied("/second", retry=QUICK, secret=OTHER_SECRET), lambda attempt: attempt[3] == ["other"])
        counts = [len(await applied("/second", seconds=3, retry=retry, secret=OTHER_SECRET)) for retry in (QUICK, SLOW, QUICK)]
        if not counts[1] < counts[0] / 3 or not counts[2] > counts[1] * 2:
            failures.append(f"changed retry: attempts in 3 s {counts}, pauses of 200 ms, 1.5 s and 200 ms")
        endpoint.refusing = set()
        await until(lambda: sum(path == "/second" for path, _ in endpoint.received) == 5, 10)
        lost = [event for event in scene.sender.accepted if ("/second", event) not in endpoint.received]
        print(f"{NAME} (changes): accepted {len(scene.sender.accepted)}, attempts {len(endpoint.attempts)}, attempts in 3 s at pauses of 0.2, 1.5, 0.2 s {counts}, lost {len(lost)}")
        if lost or len(scene.sender.accepted) != 5:
            failures.append(f"changed: lost {lost[:3]} of {len(scene.sender.accepted)}")
    finally:
        relay.remove()


async def main():
    chosen = arguments(__doc__, rounds=100)
    random.seed(chosen.seed)
    failures = []
    for suite in (comings_and_goings, renames, changes):
        await suite(chosen, failures)
    return finish(NAME, chosen.seed, failures)


sys.exit(asyncio.run(main()))
