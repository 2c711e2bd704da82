#!/usr/bin/env python3
"""A bulk replay of many dead letters: at the pace asked, stopped in between, over kills, with its progress to be seen.

Every dead letter is delivered by it, and none but those in flight at a kill comes twice. Counting before (`dry_run`) changes
nothing.
"""
import asyncio
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request

from harness import Receiver, Relay, arguments, finish, post_lines, subscription, until

NAME, CONCURRENCY = "bulk replay", 64
TYPES = ["order.created", "order.paid.late", "invoice.paid"]


class Endpoint(Receiver):
    """Refuses until it is mended, and remembers when each success came. 409 does not make the relay probe, as 500 would."""

    def __init__(self):
        super().__init__(lambda path, event: 200 if self.mended else 409)
        self.mended, self.times = False, []

    def take(self, path, headers, body):
        status = super().take(path, headers, body)
        if status == 200:
            self.times.append(time.monotonic())
        return status

    def between(self, start, end):
        return sum(start <= at < end for at in self.times)


class Api:
    """The admin API of a relay, with its token."""

    def __init__(self, relay):
        self.relay = relay

    def call(self, method, path, body=None):
        """Status and answer."""
        with open(os.path.join(self.relay.store, "admin.token")) as file:
            headers = {"authorization": "Bearer " + file.read().strip()}
        data = None if body is None else json.dumps(body).encode()
        if data:
            headers["content-type"] = "application/json"
        request = urllib.request.Request(f"http://127.0.0.1:{self.relay.admin}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    async def __call__(self, method, path, body=None):
        return await asyncio.to_thread(self.call, method, path, body)


class Scene:
    """One relay with dead letters of a subscription, and what was found wrong."""

    def __init__(self, chosen, failures):
        self.chosen, self.failures = chosen, failures
        self.endpoint = Endpoint()
        self.relay = Relay(chosen.sidehook, "")
        self.api = Api(self.relay)
        self.kills = 0

    def expect(self, holds, what):
        if not holds:
            self.failures.append(what)

    async def progress(self, replay):
        status, answer = await self.api("GET", f"/v1/replays/{replay}")
        self.expect(status == 200, f"the progress of {replay} is answered {status}: {answer}")
        return answer

    async def die(self):
        """Makes the dead letters."""
        await self.endpoint.start()
        self.relay.write(subscription("one", self.endpoint.url("/one"), retry="none", auto_disable="never", concurrency=CONCURRENCY))
        self.relay.start()
        lines = [json.dumps({"type": TYPES[number % 3], "number": number}).encode() for number in range(self.chosen.dead)]
        await post_lines(self.relay.events, lines)
        dead = lambda: self.relay.metric("sidehook_dead_deliveries", subscription="one") == self.chosen.dead
        if not await until(dead, 300 + self.chosen.dead / 200):
            raise SystemExit(f"the deliveries do not die: {self.relay.tail(500)}")
        self.endpoint.mended = True

    async def count(self):
        """`dry_run`, with patterns and times, counts what there is and replays nothing."""
        each = [len(range(first, self.chosen.dead, 3)) for first in range(3)]
        past, future = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00.000Z"
        for body, expected in (({}, self.chosen.dead), ({"event_type": "order.created"}, each[0]), ({"event_type": "order.*"}, each[0] + each[1]),
                               ({"event_type": "order"}, 0), ({"until": past}, 0), ({"since": future}, 0), ({"since": past, "until": future}, self.chosen.dead),
                               ({"state": "delivered"}, 0), ({"state": "cancelled"}, 0)):
            began = time.monotonic()
            answer = await self.api("POST", "/v1/replays", {"subscription": "one", "dry_run": True, **body})
            self.expect(answer == (200, {"matched": expected}), f"a dry run of {body} is answered {answer}, expected {expected}")
            self.expect(time.monotonic() - began < 20, f"a dry run of {body} took {time.monotonic() - began:.1f} s")
        status, answer = await self.api("GET", "/v1/replays")
        self.expect((status, answer.get("data")) == (200, []), f"dry runs began something: {answer}")
        for path in ("/v1/replays/1", "/v1/replays/x"):
            status, _ = await self.api("GET", path)
            self.expect(status == 404, f"{path} is answered {status}")

    async def begin(self, expected):
        pace = f"{self.chosen.pace}/s"
        status, answer = await self.api("POST", "/v1/replays", {"subscription": "one", "state": "dead", "rate_limit": pace})
        self.expect(status == 202 and answer.get("matched") == expected, f"a bulk replay is answered {status} {answer}, expected {expected} matched")
        return answer["id"]

    async def watch(self, replay, enough, seconds, least=1):
        """Looks at the progress until it is enough; it never goes back, and there are so many different ones."""
        last, end, looks = 0, time.monotonic() + seconds, set()
        while time.monotonic() < end:
            seen = await self.progress(replay)
            self.expect(seen["replayed"] >= last, f"the progress went from {last} back to {seen['replayed']}")
            last = seen["replayed"]
            looks.add(last)
            if enough(seen):
                self.expect(len(looks) >= least, f"no progress was to be seen: {sorted(looks)}")
                return seen
            await asyncio.sleep(0.2)
        raise SystemExit(f"the bulk replay does not go on: {seen}\n{self.relay.tail(500)}")

    def judge_pace(self, what, start, end):
        """Whether what came in this time came at the pace, give or take the tolerance."""
        came = self.endpoint.between(start, end)
        pace = came / (end - start)
        print(f"{NAME} ({what}): {came} in {end - start:.1f} s, {pace:.0f}/s of {self.chosen.pace}/s", flush=True)
        self.expect(abs(pace / self.chosen.pace - 1) <= self.chosen.tolerance, f"{what}: {pace:.0f} a second came, {self.chosen.pace} were asked for")

    async def stopped(self):
        """Begins one, measures its pace, and stops it; what it has replayed."""
        replay = await self.begin(self.chosen.dead)
        await self.watch(replay, lambda seen: seen["replayed"] >= self.chosen.pace, 30)
        start = time.monotonic()
        await self.watch(replay, lambda seen: time.monotonic() >= start + self.chosen.seconds, self.chosen.seconds + 10, 3)
        self.judge_pace("before the stop", start, time.monotonic())
        status, answer = await self.api("DELETE", f"/v1/replays/{replay}")
        self.expect(status == 200 and answer["status"] == "stopped", f"stopping is answered {status} {answer}")
        arrived = await until(lambda: len(self.endpoint.received) >= answer["replayed"], 10)
        self.expect(arrived, f"{answer['replayed']} were replayed, {len(self.endpoint.received)} came")
        await asyncio.sleep(2)
        again = await self.progress(replay)
        self.expect(again == answer, f"it went on after it was stopped: {again}")
        self.expect(len(self.endpoint.received) == again["replayed"], f"{len(self.endpoint.received)} came of {again['replayed']} replayed")
        dead = self.relay.metric("sidehook_dead_deliveries", subscription="one")
        self.expect(dead == self.chosen.dead - again["replayed"], f"{dead} are dead after {again['replayed']} were replayed")
        return again["replayed"]

    async def killed(self, already):
        """Begins another, kills the relay in the middle of it, and waits until it is through."""
        left = self.chosen.dead - already
        replay = await self.begin(left)
        for round in range(1, self.chosen.kills + 1):
            aim = left * round / (self.chosen.kills + 2)
            before = await self.watch(replay, lambda seen: seen["replayed"] >= aim, 30 + left / self.chosen.pace * 2)
            await asyncio.sleep(random.random() * 0.5)
            await asyncio.to_thread(self.relay.kill)
            self.kills += 1
            self.relay.start()
            start = time.monotonic()
            seen = await self.progress(replay)
            self.expect(seen["status"] == "running" and seen["replayed"] >= before["replayed"], f"after a kill it is {seen}, before it was {before}")
            await asyncio.sleep(2)
            # What was under way at the kill comes again, and what the kill held up is not made up for.
            most = self.chosen.pace * 2.2 + 500 + CONCURRENCY + self.chosen.pace
            came = self.endpoint.between(start, start + 2)
            self.expect(came <= most, f"{came} came in the 2 s after a kill at a pace of {self.chosen.pace}/s")
        start = time.monotonic()
        await self.watch(replay, lambda seen: time.monotonic() >= start + self.chosen.seconds or seen["status"] == "done", self.chosen.seconds + 20)
        self.judge_pace("after the kills", start, time.monotonic())
        seen = await self.watch(replay, lambda seen: seen["status"] == "done", 30 + left / self.chosen.pace * 2)
        self.expect((seen["matched"], seen["replayed"], seen["skipped"]) == (left, left, 0), f"at its end it is {seen}, expected {left}")

    async def settle(self):
        """Everything has come, and the relay shows no dead letter and nothing pending."""
        figures = lambda: [self.relay.metric(f"sidehook_{what}_deliveries", subscription="one") for what in ("dead", "pending")]
        if not await until(lambda: figures() == [0.0, 0.0], 60):
            self.failures.append(f"dead and pending are {figures()}")
        await asyncio.sleep(0.5)
        came, twice = len(self.endpoint.received), self.endpoint.duplicates()
        print(f"{NAME}: dead {self.chosen.dead}, delivered {came}, kills {self.kills}, duplicates {twice}, bad signatures {len(self.endpoint.invalid)}")
        self.expect(came == self.chosen.dead, f"{came} of {self.chosen.dead} came")
        self.expect(twice <= CONCURRENCY * self.kills, f"{twice} came twice")
        self.expect(not self.endpoint.invalid, f"bad signatures: {self.endpoint.invalid[:3]}")


async def main():
    chosen = arguments(__doc__, dead=100_000, pace=2_000, seconds=10.0, kills=2, tolerance=0.1)
    random.seed(chosen.seed)
    failures = []
    scene = Scene(chosen, failures)
    try:
        await scene.die()
        await scene.count()
        await scene.killed(await scene.stopped())
        await scene.settle()
    finally:
        scene.relay.remove()
    return finish(NAME, chosen.seed, failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
