#!/usr/bin/env python3
"""10,000 subscriptions in one relay: a scrape (time, bytes, series), `status`, a reload, resident memory; while all are idle,
and when each of them has failed."""
import asyncio
import collections
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

from harness import ROOT, Receiver, Relay, arguments, finish, post_lines, subscription, until

NAME = "ten_thousand"
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)$')


def documented():
    """How many series an idle subscription has, as docs/operations.md says."""
    with open(os.path.join(ROOT, "docs", "operations.md")) as file:
        found = re.search(r"An idle subscription has (\d+) series", file.read())
    return int(found.group(1)) if found else None


def invalid(text):
    """What is wrong with the text: a family in two blocks, a sample outside of its family, a series twice."""
    wrong, heads, series, family = [], collections.Counter(), set(), None
    for line in text.splitlines():
        if line.startswith("# "):
            _, kind, name, _ = line.split(" ", 3)
            heads[kind, name] += 1
            family = name
            continue
        sample = SAMPLE.match(line)
        if not sample:
            wrong.append(f"not a sample: {line[:80]}")
            continue
        if re.sub("_(bucket|sum|count)$", "", sample.group(1)) != family and sample.group(1) != family:
            wrong.append(f"outside of its family: {line[:80]}")
        float(sample.group(3))
        if sample.group(1, 2) in series:
            wrong.append(f"twice: {line[:80]}")
        series.add(sample.group(1, 2))
    return wrong + [f"{kind} of {name} {count} times" for (kind, name), count in heads.items() if count > 1]


class Measured:
    """Figures of a relay, and those that are out of their bounds."""

    def __init__(self, relay, chosen):
        self.relay, self.chosen, self.failures = relay, chosen, []

    def at_most(self, what, value, bound, unit):
        if value > bound:
            self.failures.append(f"{what}: {value:,.0f} {unit}, at most {bound:,.0f}")

    def scrape(self, when, name="s00007"):
        """The median of several scrapes; the series of one subscription."""
        times, text = [], ""
        for _ in range(7):
            began = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{self.relay.admin}/metrics", timeout=60) as answer:
                body = answer.read()
            times.append((time.monotonic() - began) * 1000)
            text = body.decode()
        took, lines = sorted(times)[len(times) // 2], [line for line in text.splitlines() if not line.startswith("#")]
        own = [line for line in lines if f'subscription="{name}"' in line]
        print(f"{NAME}: {when}: scraped in {took:.0f} ms ({min(times):.0f} to {max(times):.0f}), {len(body) / 1e6:.2f} MB, {len(lines):,} series, "
              f"{len(own)} of one subscription", flush=True)
        self.at_most(f"{when}, scrape", took, self.chosen.scrape_ms, "ms")
        self.at_most(f"{when}, scrape", len(body), self.chosen.subscriptions * 1000 + 50_000, "bytes")
        self.failures += [f"{when}: {what}" for what in invalid(text)[:5]]
        return own

    def command(self, when, *words, bound):
        """How long a command takes; what it prints."""
        began = time.monotonic()
        done = subprocess.run([self.relay.binary, *words, "--config", self.relay.config], capture_output=True, text=True, timeout=120)
        took = (time.monotonic() - began) * 1000
        print(f"{NAME}: {when}: `{words[0]}` took {took:.0f} ms", flush=True)
        self.at_most(f"{when}, {words[0]}", took, bound, "ms")
        if done.returncode:
            self.failures.append(f"{when}: {words[0]} ended with {done.returncode}: {done.stderr[:300]}")
        return done.stdout

    def status(self, when):
        printed = self.command(when, "status", bound=self.chosen.status_ms)
        listed = sum(1 for line in printed.splitlines() if re.match(r"\s*s\d{5}\b", line))
        if listed != self.chosen.subscriptions:
            self.failures.append(f"{when}: status lists {listed} subscriptions")

    def memory(self, when):
        now, peak = self.relay.status(), self.relay.status("VmHWM")
        print(f"{NAME}: {when}: {now:.0f} MiB resident, {peak:.0f} at most so far", flush=True)
        self.at_most(f"{when}, resident", peak, self.chosen.memory_mib, "MiB")


async def main():
    chosen = arguments(__doc__, subscriptions=10_000, scrape_ms=1500, status_ms=20_000, reload_ms=15_000, memory_mib=512)
    receiver = await Receiver(lambda path, event: 500).start()
    written = lambda text: "".join(subscription(f"s{number:05}", receiver.url("/"), retry="none", description=text) for number in range(chosen.subscriptions))
    relay = Relay(chosen.sidehook, written("first"))
    measured = Measured(relay, chosen)
    run = lambda *call, **named: asyncio.to_thread(*call, **named)
    try:
        began = time.monotonic()
        await run(relay.start, seconds=60)
        print(f"{NAME}: {chosen.subscriptions:,} subscriptions, ready after {time.monotonic() - began:.1f} s", flush=True)
        measured.memory("idle")
        own = await run(measured.scrape, "idle")
        if len(own) != documented():
            measured.failures.append(f"{len(own)} series of an idle subscription, docs/operations.md says {documented()}: {own}")
        await run(measured.status, "idle")
        relay.write(written("second"))
        await run(measured.command, "idle", "reload", bound=chosen.reload_ms)
        if relay.metric("sidehook_config_last_reload_successful") != 1.0:
            measured.failures.append("the reload failed")
        await post_lines(relay.events, [b'{"type":"order.created","id":"e-%d"}' % number for number in range(2)])
        dead = lambda: relay.metric("sidehook_deliveries_total", outcome="dead")
        if not await until(lambda: dead() >= 2 * chosen.subscriptions, 180):
            measured.failures.append(f"{dead():.0f} of {2 * chosen.subscriptions} deliveries are dead")
        await run(measured.scrape, "all have failed")
        await run(measured.status, "all have failed")
        measured.memory("all have failed")
        took = time.monotonic()
        code = await run(relay.kill, signal.SIGTERM)
        print(f"{NAME}: stopped after {time.monotonic() - took:.1f} s, exit {code}", flush=True)
        return finish(NAME, chosen.seed, measured.failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
