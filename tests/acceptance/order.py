#!/usr/bin/env python3
"""`order: key` and `strict` under random failures and kill -9: an event of a key is never attempted before its predecessor
succeeded, nor again after its successor was; no healthy key waits for a failing one; a dead letter blocks or is skipped.

Each key's events are posted one after another, the next after the 202 of the one before, so that their order is known.
"""
import asyncio
import random
import signal
import sys
import time

from harness import RESET, Receiver, Relay, Sender, arguments, finish, post_lines, subscription, until, verdict

NAME, KEYED, STRICT = "order", "/keyed", "/strict"
QUICK = "{initial: 100ms, factor: 1, max_interval: 100ms, max_attempts: 1000}"


class Endpoint(Receiver):
    """Remembers all attempts of each key in order. An event is `KEY:NUMBER`; `failing` keys are refused, others fail at random."""

    def __init__(self):
        super().__init__(self.judge)
        self.failing, self.chaos, self.attempts, self.tries = set(), 0.0, {}, {}

    def judge(self, path, event):
        key, number = event.split(":")
        if key in self.failing:
            status = 409  # not a failure that starts probing: that would hold up all keys
        elif random.random() < self.chaos:
            status = random.choice((500, 503, 409, RESET, None))
        else:
            status = 200
        self.attempts.setdefault((path, key), []).append((int(number), status))
        return status

    def disorder(self):
        """What was attempted before its predecessor succeeded, and what again although its successor was attempted."""
        early, again = [], []
        for (path, key), attempts in self.attempts.items():
            if key == "none":
                continue
            done, newest = 0, 0
            for number, status in attempts:
                if number > done + 1:
                    early.append(f"{path} {key}:{number} after {done}")
                if number < newest:
                    again.append(f"{path} {key}:{number} after {newest}")
                newest = max(newest, number)
                if status == 200:
                    done = max(done, number)
        return early, again


class Keyed(Sender):
    """Posts the events of keys; each again until it is answered 202, and only then the next of its key."""

    def __init__(self, port, event_type="keyed.event"):
        super().__init__(port, 400, event_type=event_type)
        self.header = lambda event: b"" if event.startswith("none:") else b"sidehook-key: %s\r\n" % event.split(":")[0].encode()
        self.numbers, self.bodies = {}, {}

    def body(self, event):
        self.prefix, self.number = "filler", 0
        return self.bodies.setdefault(event, self.next_event()[1].replace(b"filler-1", event.encode()))

    async def worker(self, keys, each):
        """`each` events of every key, the keys in random order."""
        plan = [key for key in keys for _ in range(each)]
        random.shuffle(plan)
        writer = None
        for key in plan:
            number = self.numbers[key] = self.numbers.get(key, 0) + 1
            event = f"{key}:{number}"
            body = self.body(event)
            while event not in self.accepted:
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    await self.post(reader, writer, event, body)
                except (OSError, asyncio.IncompleteReadError):
                    writer = None
                    self.broken += 1
                    await asyncio.sleep(0.05)
        if writer:
            writer.close()

    async def run_keys(self, keys, each, connections=8):
        await asyncio.gather(*(self.worker(keys[one::connections], each) for one in range(connections)))


async def all_arrive(endpoint, sender, path, events, seconds=60):
    return await until(lambda: all((path, event) in endpoint.received for event in events), seconds)


async def failing_keys(chosen, relay, endpoint, sender, failures):
    """Some keys fail all the time: the events of the others come at once."""
    keys = [f"k{number}" for number in range(chosen.keys)]
    endpoint.failing = set(random.sample(keys, max(1, chosen.keys // 20)))
    await sender.run_keys([*keys, "none"], chosen.each)
    healthy = [event for event in sender.accepted if event.split(":")[0] not in endpoint.failing]
    if not await all_arrive(endpoint, sender, KEYED, healthy, 20):
        failures.append(f"{sum((KEYED, event) not in endpoint.received for event in healthy)} events of healthy keys wait while {len(endpoint.failing)} keys fail")
    delays = sorted(endpoint.arrived[KEYED, event] - sender.sent_at[event] for event in healthy if (KEYED, event) in endpoint.arrived)
    passed = [event for event in sender.accepted if event not in set(healthy) and (KEYED, event) in endpoint.received]
    if passed:
        failures.append(f"failing keys were delivered: {passed[:3]}")
    slowest, middle = (delays[-1], delays[len(delays) // 2]) if delays else (99.0, 99.0)
    print(f"{NAME} (failing keys): keys {chosen.keys}, failing {len(endpoint.failing)}, healthy events {len(healthy)}, their delay p50 {1000 * middle:.1f} ms, at most {1000 * slowest:.0f} ms", flush=True)
    if slowest > chosen.wait:
        failures.append(f"an event of a healthy key waited {slowest:.1f} s")
    endpoint.failing = set()


async def flooded_key(chosen, relay, endpoint, sender, failures):
    """One failing key has more events than fit into memory: other keys' events, posted behind them, come at once, also after
    a kill; then the key recovers."""
    endpoint.failing = {"flood"}
    flood = [f"flood:{number}" for number in range(1, chosen.flood + 1)]
    await post_lines(relay.events, [b'{"type":"keyed.event","id":"%s","key":"flood","data":"%s"}' % (one.encode(), b"x" * 400) for one in flood])
    slowest = []
    for ends in range(2):
        before = set(sender.accepted)
        await sender.run_keys([f"f{number}" for number in range(200)], 1)
        behind = [event for event in sender.accepted if event not in before]
        if not await all_arrive(endpoint, sender, KEYED, behind, 20):
            failures.append(f"{sum((KEYED, event) not in endpoint.received for event in behind)} of {len(behind)} events wait behind a flooded key that fails")
        slowest.append(max((endpoint.arrived[KEYED, event] - sender.sent_at[event] for event in behind if (KEYED, event) in endpoint.arrived), default=99.0))
        if ends == 0:
            await asyncio.to_thread(relay.kill)
            await asyncio.to_thread(relay.start)
    attempts = len(endpoint.attempts.get((KEYED, "flood"), []))
    endpoint.failing = set()
    began = time.monotonic()
    healed = await all_arrive(endpoint, sender, KEYED, flood, chosen.settle)
    seconds = time.monotonic() - began
    print(f"{NAME} (flooded key): events of the failing key {len(flood)}, attempted {attempts} times, others came within {[round(1000 * one) for one in slowest]} ms, "
          f"delivered once it answers {'in order' if healed else 'NOT'} at {len(flood) / seconds:.0f}/s, resident memory {relay.status('VmHWM'):.0f} MiB", flush=True)
    if not healed:
        failures.append(f"of the flooded key {sum((KEYED, event) not in endpoint.received for event in flood)} events did not come")
    if max(slowest) > chosen.wait:
        failures.append(f"an event waited {max(slowest):.1f} s behind a flooded key")
    sender.sent |= set(flood)


async def chaos(chosen, relay, endpoint, sender, failures):
    """Failures at random, keys that fail for a while, kill -9 in between; then all comes."""
    keys = [f"k{number}" for number in range(chosen.keys)]
    endpoint.chaos, kills, running = chosen.failure, 0, True

    async def killer():
        nonlocal kills
        while running and kills < chosen.kills:
            await asyncio.sleep(random.uniform(0.3, 1.0))
            endpoint.failing = set(random.sample(keys, random.randint(0, chosen.keys // 10)))
            await asyncio.to_thread(relay.kill, random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            await asyncio.to_thread(relay.start)
            kills += 1

    async def strictly():
        while running:
            await strict.run_keys(["s"], 5, 1)
            await asyncio.sleep(0.05)

    strict = Keyed(relay.events, "strict.event")
    killing, posting = asyncio.create_task(killer()), asyncio.create_task(strictly())
    while not killing.done():
        await sender.run_keys([*random.sample(keys, min(200, len(keys))), "none"], 2)
    running = False
    await killing
    await posting
    # Stuck keys and the failures of the endpoint end; a probing pause may be left of them.
    endpoint.failing, endpoint.chaos = set(), 0.0
    await all_arrive(endpoint, sender, KEYED, sender.accepted, chosen.settle)
    await all_arrive(endpoint, strict, STRICT, strict.accepted, chosen.settle)
    early, again = endpoint.disorder()
    attempts = sum(len(one) for one in endpoint.attempts.values())
    keyed, strictly = Receiver(), Receiver()
    for view, path in ((keyed, KEYED), (strictly, STRICT)):
        view.received = {key: count for key, count in endpoint.received.items() if key[0] == path}
        view.digests = {key: digest for key, digest in endpoint.digests.items() if key[0] == path}
    keyed.invalid = endpoint.invalid
    failures += verdict(f"{NAME} (keyed)", keyed, sender, [KEYED], ends=kills, attempts=attempts, attempted_early=len(early), again_after_successor=len(again))
    failures += verdict(f"{NAME} (strict)", strictly, strict, [STRICT])
    failures += [f"{len(items)} attempted {what}, such as {items[:3]}" for what, items in (("before its predecessor succeeded", early), ("again after its successor", again)) if items]


async def dead_letters(chosen, failures):
    """A delivery that dies: `block` holds back what follows of its key, or all with `strict`, over a kill too; `skip` goes on."""
    endpoint = Endpoint()
    await endpoint.start()
    text = "".join(subscription(f"{order}-{stuck}", endpoint.url(f"/{order}-{stuck}"), "dead.*", retry="none", order=order, when_stuck=stuck)
                   for order in ("key", "strict") for stuck in ("block", "skip"))
    relay = Relay(chosen.sidehook, text).start()
    try:
        sender = Keyed(relay.events, "dead.event")
        await sender.run_keys(["a", "b"], 1, 1)
        await until(lambda: len(endpoint.received) == 8, 10)
        endpoint.failing = {"a"}
        await sender.run_keys(["a"], 1)
        await until(lambda: relay.metric("sidehook_dead_deliveries") == 4, 10)
        endpoint.failing = set()
        for ends in range(2):
            await sender.run_keys(["a", "b"], 10, 1)
            if ends == 0:
                await asyncio.to_thread(relay.kill)
                await asyncio.to_thread(relay.start)
        expected = {("key-block", "a"): {1}, ("strict-block", "a"): {1}, ("strict-block", "b"): {1}}
        wanted = {}
        for name in ("key-block", "key-skip", "strict-block", "strict-skip"):
            for key, newest in sender.numbers.items():
                usual = set(range(1, newest + 1)) - ({2} if key == "a" else set())
                wanted[name, key] = expected.get((name, key), usual)
        got = lambda: {(name, key): {int(event.split(":")[1]) for path, event in list(endpoint.received) if path == "/" + name and event.split(":")[0] == key} for name, key in wanted}
        await until(lambda: got() == wanted, 10)
        await asyncio.sleep(0.5)
        wrong = {pair: sorted(numbers ^ wanted[pair])[:5] for pair, numbers in got().items() if numbers != wanted[pair]}
        blocked = {name: int(relay.metric("sidehook_blocked_deliveries", subscription=name)) for name in ("key-block", "strict-block", "key-skip", "strict-skip")}
        early = [one for one in endpoint.disorder()[1]]
        print(f"{NAME} (dead letters): accepted {len(sender.accepted)}, delivered {len(endpoint.received)}, blocked {blocked}, wrong {wrong}")
        if wrong or early:
            failures.append(f"behind a dead letter: more or less than due came {wrong}, {early[:3]}")
        if blocked != {"key-block": 20, "strict-block": 40, "key-skip": 0, "strict-skip": 0}:
            failures.append(f"blocked deliveries are counted as {blocked}, not 20, 40, 0 and 0")
    finally:
        relay.remove()


async def main():
    chosen = arguments(__doc__, keys=1000, each=5, flood=50_000, kills=100, failure=0.03, wait=3.0, settle=300)
    random.seed(chosen.seed)
    failures, endpoint = [], Endpoint()
    await endpoint.start()
    relay = Relay(chosen.sidehook, "")
    never = {"auto_disable": "never"} if relay.knows("auto_disable", "never") else {}
    relay.write(subscription("keyed", endpoint.url(KEYED), "keyed.*", order="key", retry=QUICK, timeout="1s", concurrency=64, **never) +
                subscription("strict", endpoint.url(STRICT), "strict.*", order="strict", retry=QUICK, timeout="1s", **never), "ingest: {id_pointer: /id, key_pointer: /key}\n")
    try:
        await asyncio.to_thread(relay.start)
        sender = Keyed(relay.events)
        await failing_keys(chosen, relay, endpoint, sender, failures)
        await flooded_key(chosen, relay, endpoint, sender, failures)
        await chaos(chosen, relay, endpoint, sender, failures)
        await dead_letters(chosen, failures)
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
