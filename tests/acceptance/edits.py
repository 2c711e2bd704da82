#!/usr/bin/env python3
"""Edits through the admin API while others edit: two clients at once, a hand that writes into the file, reloads in between,
a kill -9 in between. After each round: the file loads, what was answered is in it, no edit is half there, no
comment and no line by hand is gone, and nothing is left of edits that were killed."""
import glob
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

from harness import Relay, arguments, finish

NAME = "edits"
CLIENTS = 2
OWN = 3  # subscriptions of each client

STYLES = [
    # Block style with comments on and above everything.
    """  # keep-{n}-1: call them first
  {name}:   # keep-{n}-2
    title: 'Number 0'   # keep-{n}-3
    url: https://{name}.example.com/hooks
    # keep-{n}-4
    description: Number 0
    events:
      # keep-{n}-5
      - "invoice.*"   # keep-{n}-6
      - "!invoice.draft"
    headers:   # keep-{n}-7
      X-Number: "0"
      # keep-{n}-8
      X-Team: billing

""",
    # Flow style, in one line and over several.
    """  {name}: {{url: "https://{name}.example.com/hooks", events: ["*"], title: "Number 0", description: Number 0, headers: {{X-Number: "0", X-Team: billing}}}} # keep-{n}-1
""",
    """  {name}: {{
    # keep-{n}-1
    title: Number 0, # keep-{n}-2
    description: "Number 0",
    # keep-{n}-3
    headers: {{ X-Number: '0', X-Team: billing }},
    url: https://{name}.example.com/hooks, # keep-{n}-4
    events: [
      a.b, # keep-{n}-5
      c.*
    ]
  }} # keep-{n}-6
""",
    # A text over several lines, the list not indented.
    """  {name}:
    url: https://{name}.example.com/hooks
    description: >-
      Number
      0
    events:
    - x
    - y # keep-{n}-1
    # keep-{n}-2: title
    title: Number 0
    headers: {{X-Number: "0", X-Team: billing}}
    # keep-{n}-3
""",
]


def file_of(relay, names):
    text = (f'# keep-0-0\nlisten: {{events: "127.0.0.1:{relay.events}", admin: "127.0.0.1:{relay.admin}"}}  # keep-0-1\n'
            f'store: {{path: "{relay.store}"}}\n\nsubscriptions:   # keep-0-2\n')
    return text + "".join(STYLES[n % len(STYLES)].format(name=name, n=n + 1) for n, name in enumerate(names)) + "# keep-0-3\n"


class Gone(Exception):
    """The relay went away before it answered."""


class Client:
    """Edits its own subscriptions, one edit after the other, and remembers what must be there: `certain` is what was
    answered, `open` what the one edit that had no answer may have made of it."""

    def __init__(self, number, relay, names, seed):
        self.relay, self.random, self.prefix = relay, random.Random(seed * 10 + number), f"c{number}"
        self.certain = {name: {"number": 0, "fingerprint": None, "previous": 0} for name in names}
        self.open = {}
        self.edits = 0
        self.count = {}
        self.failures = []

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.relay.admin, timeout=30)
        try:
            with open(os.path.join(self.relay.store, "admin.token")) as file:
                token = file.read().strip()
            headers = {"authorization": f"Bearer {token}"}
            if body is not None:
                headers["content-type"] = "application/json"
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Gone(str(error)) from error
        finally:
            connection.close()

    def edit(self):
        self.edits += 1
        number = self.edits
        name = self.random.choice(sorted(self.certain))
        kind = self.random.choice(["patch"] * 6 + ["put", "put", "rotate", "rotate", "create", "delete"])
        before = self.certain[name]
        fields = {"title": f"Number {number}", "description": f"Number {number}", "headers": {"X-Number": str(number), "X-Team": "billing"}}
        whole = {"url": f"https://{name}.example.com/{number}", "events": ["whole.*"], **fields}
        after = {**before, "number": number}
        path = f"/v1/subscriptions/{name}"
        if kind == "patch":
            call = ("PATCH", path, fields)
        elif kind == "put":
            call = ("PUT", path, whole)
        elif kind == "rotate":
            call, after = ("POST", f"{path}/rotate-secret", {"grace": "1h"}), {**before, "fingerprint": "new"}
        elif kind == "create":
            name = f"{self.prefix}-new-{number}"
            call, before = ("POST", "/v1/subscriptions", {"name": name, **whole}), None
            after = {"number": number, "fingerprint": "new", "previous": 0}
        else:
            made = [name for name in sorted(self.certain) if "-new-" in name]
            if not made:
                return
            name = self.random.choice(made)
            call, before, after = ("DELETE", f"/v1/subscriptions/{name}", None), self.certain[name], None
        self.open = {"name": name, "states": [before, after]}
        status, answer = self.call(*call)
        self.count[f"{kind} {status}"] = self.count.get(f"{kind} {status}", 0) + 1
        if 200 <= status < 300:
            if after is None:
                self.certain.pop(name)
            else:
                after["fingerprint"] = answer["secret_fingerprint"]
                after["previous"] = len(answer["previous_secrets"])
                self.certain[name] = after
        elif status != 409:
            self.failures.append(f"{kind} of {name} was answered {status}: {answer}")
        self.open = {}

    def run(self, until):
        try:
            while time.monotonic() < until:
                self.edit()
        except Gone:
            self.count["unanswered"] = self.count.get("unanswered", 0) + 1

    def check(self):
        """Compares what the relay has with what was answered; of an edit without answer either is right."""
        status, answer = self.call("GET", "/v1/subscriptions?limit=200")
        found = {one["name"]: one for one in answer["data"] if one["name"].startswith(self.prefix)}
        unanswered = self.open.get("name")
        for name in sorted(set(found) | set(self.certain) | ({unanswered} if unanswered else set())):
            allowed = self.open["states"] if name == unanswered else [self.certain.get(name)]
            one = found.get(name)
            if one is None:
                if None not in allowed:
                    self.failures.append(f"{name} is gone")
                else:
                    self.certain.pop(name, None)
                continue
            numbers = {one["title"], one["description"], f"Number {one['headers'].get('X-Number')}"}
            if len(numbers) != 1:
                self.failures.append(f"half an edit of {name}: {numbers}")
                continue
            state = {"number": int(numbers.pop().split()[1]), "fingerprint": one["secret_fingerprint"], "previous": len(one["previous_secrets"])}
            matches = lambda wanted: wanted is not None and wanted["number"] == state["number"] and (
                wanted["fingerprint"] == "new" or (wanted["fingerprint"], wanted["previous"]) == (state["fingerprint"], state["previous"]))
            if not any(matches(wanted) for wanted in allowed):
                self.failures.append(f"{name} is {state}, expected one of {allowed}")
            self.certain[name] = state
        self.open = {}


class Hand:
    """Appends lines to the file as an editor in a shell does."""

    def __init__(self, relay, seed):
        self.relay, self.random, self.lines = relay, random.Random(seed), []

    def run(self, until):
        while time.monotonic() < until:
            time.sleep(self.random.uniform(0.02, 0.25))
            line = f"# by hand {len(self.lines) + 1}\n"
            with open(self.relay.config, "a") as file:
                file.write(line)
            self.lines.append(line)


def disturb(relay, until, rng, counts, kills):
    """Reloads, and perhaps a kill before the end."""
    end = time.monotonic() + rng.uniform(0.05, 1.0) * (until - time.monotonic()) if kills else until
    while time.monotonic() < end:
        time.sleep(min(rng.uniform(0.01, 0.2), max(end - time.monotonic(), 0)))
        if time.monotonic() < end and relay.process.poll() is None:
            relay.process.send_signal(signal.SIGHUP)
            counts["reloads"] += 1
    if kills:
        relay.kill()
        counts["kills"] += 1


def loads(relay):
    done = subprocess.run([relay.binary, "check", "--config", relay.config], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def check_file(relay, clients, hand, kept):
    """What is wrong with the file and the folders around it."""
    with open(relay.config) as file:
        text = file.read()
    failures = [f"{one} is gone from the file" for one in sorted(kept) if not re.search(rf"{one}\b", text)]
    failures += [f"{line.strip()!r} is gone from the file" for line in hand.lines if line not in text]
    leftovers = [path for folder in (relay.folder, os.path.join(relay.store, "secrets")) for path in glob.glob(f"{folder}/.sidehook-*")]
    failures += [f"{path} is left" for path in leftovers]
    secrets = set(os.listdir(os.path.join(relay.store, "secrets"))) if os.path.isdir(os.path.join(relay.store, "secrets")) else set()
    failures += [f"the secret {name} is left, which nothing names" for name in secrets if name not in text]
    if os.stat(relay.config).st_mode & 0o777 != 0o640:
        failures.append(f"the mode is {os.stat(relay.config).st_mode:o}")
    return failures


def main():
    chosen = arguments(__doc__, rounds=60, seconds=1.5)
    rng = random.Random(chosen.seed)
    relay = Relay(chosen.sidehook, "")
    names = [[f"c{client}-{number}" for number in range(OWN)] for client in range(CLIENTS)]
    text = file_of(relay, [name for own in names for name in own])
    with open(relay.config, "w") as file:
        file.write(text)
    os.chmod(relay.config, 0o640)
    kept = set(re.findall(r"keep-\d+-\d+", text))
    clients = [Client(number, relay, own, chosen.seed) for number, own in enumerate(names)]
    hand = Hand(relay, chosen.seed)
    counts, failures = {"reloads": 0, "kills": 0}, []
    try:
        relay.start()
        for number in range(chosen.rounds):
            until = time.monotonic() + chosen.seconds
            work = [(client.run, (until,)) for client in clients] + [(hand.run, (until,))]
            work.append((disturb, (relay, until, rng, counts, number % 3 != 2)))
            threads = [threading.Thread(target=target, args=args) for target, args in work]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            problem = loads(relay)
            if problem:
                failures.append(f"round {number + 1}: the file does not load: {problem}")
                break
            if relay.process.poll() is not None:
                relay.start()
            # A last edit removes what killed ones left.
            for client in clients:
                client.check()
                client.failures += [] if not client.certain else settle(client)
                failures += [f"round {number + 1}: {failure}" for failure in client.failures]
                client.failures = []
            failures += [f"round {number + 1}: {failure}" for failure in check_file(relay, clients, hand, kept)]
            if failures:
                break
        counted = {}
        for client in clients:
            for kind, count in client.count.items():
                counted[kind] = counted.get(kind, 0) + count
        made = sum(count for kind, count in counted.items() if kind.split()[1:] in (["200"], ["201"]))
        print(f"{NAME}: edits made {made}, of {dict(sorted(counted.items()))}, lines by hand {len(hand.lines)}, {counts}")
        if made < chosen.rounds:
            failures.append(f"only {made} edits were made: the suite proved nothing")
        if failures:
            print(relay.tail())
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


def settle(client):
    """An edit that must succeed, as nobody else is at work."""
    name = sorted(client.certain)[0]
    for _ in range(2):
        client.edits += 1
        number = client.edits
        body = {"title": f"Number {number}", "description": f"Number {number}", "headers": {"X-Number": str(number), "X-Team": "billing"}}
        status, answer = client.call("PATCH", f"/v1/subscriptions/{name}", body)
        if status != 200:
            return [f"an edit with nobody else at work was answered {status}: {answer}"]
        client.certain[name] = {**client.certain[name], "number": number}
    return []


sys.exit(main())
