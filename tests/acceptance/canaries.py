"""Secrets appear nowhere but where they belong: a unique value stands in every slot of the configuration that is secret.

The relay runs with all of them at the most talkative log level, delivers, fails, is edited and reloaded, rightly and
wrongly. Then every answer of every operation, the metrics, the log, the command lines of the processes and all files of the
store but the folder for secrets are searched for each value, as it is and in base64 and hexadecimal.
"""
import asyncio
import base64
import json
import os
import secrets
import subprocess
import time

import api
import harness


class Canaries(dict):
    """Values that are found again, by slot."""

    def make(self, slot, prefix=""):
        self[slot] = prefix + "CANARY" + secrets.token_hex(16)
        return self[slot]

    def key(self, slot):
        """A secret of Standard Webhooks."""
        self[slot] = "whsec_" + base64.b64encode(b"CANARY" + secrets.token_bytes(26)).decode()
        return self[slot]

    def found_in(self, data):
        """The slots whose value is in these bytes."""
        slots = set()
        for slot, value in self.items():
            # What follows the prefix alone would do for an attacker.
            plain = value.removeprefix("whsec_").encode()
            forms = [plain, plain.hex().encode(), base64.b64encode(plain).rstrip(b"=")]
            if value.startswith("whsec_"):
                key = base64.b64decode(plain)
                forms += [key, key.hex().encode()]
            if any(form in data for form in forms):
                slots.add(slot)
        return slots


def configuration(canaries, receiver, folder):
    """The sections and subscriptions with a secret in every slot, and the environment that they need."""
    environment = {
        "CANARY_URL": receiver.url("/" + canaries.make("url")),
        "CANARY_HEADER": canaries.make("header"),
        "CANARY_SECRET": canaries.key("secret from the environment"),
    }
    with open(os.path.join(folder, "file-secret"), "w") as file:
        file.write(canaries.key("secret from a file") + "\n")
    os.chmod(os.path.join(folder, "file-secret"), 0o600)
    tokens = ", ".join(f'{{name: {name}, token: "{canaries.make("admin token " + name)}{"x" * 10}", scopes: [{", ".join(scopes)}]}}'
                       for name, scopes in api.TOKENS.items())
    sections = "".join([
        "log: {level: trace, format: json}\n",
        f'ingest: {{tokens: ["{canaries.make("ingest token")}"]}}\n',
        f"admin: {{tokens: [{tokens}]}}\n",
        f'notifications: {{smtp: {{host: 127.0.0.1, port: 9, tls: none, username: user, password: "{canaries.make("smtp password")}", from: a@example.com}}, '
        f'webhook: {{url: "{receiver.url("/notify")}", secret: "{canaries.key("notification secret")}"}}}}\n',
    ])
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    previous = f'[{{secret: "{canaries.key("previous secret")}", until: "{until}"}}]'
    subscriptions = "".join([
        harness.subscription("literal", receiver.url("/literal"), secret=f'"{canaries.key("literal secret")}"', previous_secrets=previous,
                             notify="[ops@example.com]", notify_after="1"),
        "  reference:\n    url: {env: CANARY_URL}\n    events: ['*']\n    secret: {env: CANARY_SECRET}\n"
        "    headers: {X-Key: {env: CANARY_HEADER}}\n",
        harness.subscription("file", receiver.url("/file"), secret=f"{{file: {folder}/file-secret}}"),
        harness.subscription("dead", receiver.url("/dead"), secret=f'"{canaries.key("secret of a failing one")}"', retry="none"),
        harness.subscription("refused", "http://127.0.0.1:1/x", secret=f'"{canaries.key("secret of a refused one")}"'),
    ])
    return sections, subscriptions, environment


class Look:
    """Calls, whose answers are kept to be searched."""

    def __init__(self, relay, canaries):
        self.relay, self.token, self.answers = relay, canaries["admin token both"] + "x" * 10, []

    def call(self, method, path, body=None, raw=None, expected=None):
        """One call; its status and what it says as JSON."""
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", self.relay.admin, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}"}
        if method in ("POST", "PUT", "PATCH"):
            headers["Content-Type"] = "application/json"
        connection.request(method, path, raw if raw is not None else json.dumps(body or {}) if method != "GET" else None, headers)
        answer = connection.getresponse()
        data, status = answer.read(), answer.status
        connection.close()
        if expected is not None and status != expected:
            raise SystemExit(f"{method} {path} was answered {status}: {data[:300]}")
        head = "\n".join(f"{name}: {value}" for name, value in answer.getheaders()).encode()
        self.answers.append((f"{method} {path} ({status})", head + data))
        return status, json.loads(data) if data[:1] in (b"{", b"[") else {}

    def once(self):
        """Forgets the last answer: it tells a secret on purpose."""
        self.answers.pop()


def edited(look, canaries):
    """Edits that set and make secrets, and such that are refused."""
    _, made = look.call("POST", "/v1/subscriptions", {"name": "made", "url": "https://made.example", "events": ["x"]}, expected=201)
    canaries["secret that was made"] = made["secret"]
    look.once()
    look.call("POST", "/v1/subscriptions", {"name": "given", "active": False, "secret": canaries.key("secret given to a new one")}, expected=201)
    look.call("PATCH", "/v1/subscriptions/dead", {"secret": canaries.key("secret of a patch")}, expected=200)
    look.call("POST", "/v1/subscriptions/literal/rotate-secret", {"secret": canaries.key("secret of a rotation")}, expected=200)
    _, rotated = look.call("POST", "/v1/subscriptions/file/rotate-secret", expected=200)
    canaries["secret of a rotation that was made"] = rotated["secret"]
    look.once()
    wrong = canaries.make("refused secret")
    path = "/v1/subscriptions/literal"
    for body in ({"secret": [wrong]}, {"secret": {"x": wrong}}, {"secret": {"env": wrong}}, {"secret": wrong, "signature": "standard"},
                 {"secret": wrong + "\n"}, {"headers": {"Authorization": wrong}}, {"previous_secrets": [{"secret": wrong}]}):
        look.call("PATCH", path, body, expected=422)
    look.call("POST", path + "/rotate-secret", {"secret": {"value": wrong}}, expected=422)
    look.call("PATCH", path, raw=f'{{"secret": "{wrong}", "secret": "{wrong}"}}', expected=400)
    look.call("PATCH", path, raw=f'{{"secret": "{wrong}', expected=400)
    look.call("POST", "/v1/subscriptions/reference/rotate-secret", {"secret": canaries.key("secret refused with 409")}, expected=409)
    look.call("GET", f"/v1/events?cursor={wrong}", expected=422)


async def reloaded(relay, look, canaries, sections, subscriptions):
    """Reloads of files that are wrong, in such ways that a value stands where the error is."""
    with open(relay.config) as file:
        right = file.read()
    value = canaries.make("secret in a wrong file")
    for wrong in (right + f"unknown: {value}\n", right.replace("secret: ", f"secret: !x {value} #", 1),
                  right + f"  wrong: {{secret: [{value}]}}\n", right + f'  wrong: {{secret: "{value}\n',
                  right + f"  wrong: {{active: false, secret: '{value}', signature: standard}}\n"):
        with open(relay.config, "w") as file:
            file.write(wrong)
        look.call("POST", "/v1/config/check", expected=200)
        look.call("GET", "/v1/config/diff")
        look.call("POST", "/v1/config/reload")
    # Another secret at each place: differences are shown without them.
    with open(relay.config, "w") as file:
        file.write(right.replace(canaries["smtp password"], canaries.make("another smtp password"))
                   .replace(canaries["ingest token"], canaries.make("another ingest token")))
    look.call("GET", "/v1/config/diff", expected=200)
    look.call("POST", "/v1/config/reload", expected=200)
    with open(relay.config, "w") as file:
        file.write(right)
    look.call("POST", "/v1/config/reload", expected=200)


def read_all(look):
    """Every GET of the API, and the open paths."""
    _, document = look.call("GET", "/v1/openapi.json", expected=200)
    event = look.call("GET", "/v1/events", expected=200)[1]["data"][0]["id"]
    names = [one["name"] for one in look.call("GET", "/v1/subscriptions?limit=200", expected=200)[1]["data"]]
    count = 0
    for path, methods in document["paths"].items():
        if "get" not in methods or path == "/v1/stream":
            continue
        filled = path.replace("{event_id}", event).replace("{delivery_id}", f"{event}.dead").replace("{replay_id}", "1")
        for one in names if "{name}" in path else ["-"]:
            look.call("GET", filled.replace("{name}", one))
            count += 1
    return count


def command_lines():
    """What the process list shows."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                yield f"process {pid}", file.read()
        except OSError:
            pass


def files(relay):
    """Everything below the store's folder but secrets."""
    for folder, folders, names in os.walk(relay.store):
        folders[:] = [name for name in folders if name != "secrets"]
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                yield os.path.join(folder, name), file.read()


def kept_apart(relay):
    """What is wrong with the folder where secrets belong."""
    folder = os.path.join(relay.store, "secrets")
    found = []
    if os.stat(folder).st_mode & 0o777 != 0o700:
        found.append("the folder for secrets is open to others")
    names = os.listdir(folder)
    for name in names:
        if os.stat(os.path.join(folder, name)).st_mode & 0o777 != 0o600:
            found.append(f"secrets/{name} can be read by others")
    return found if len(names) >= 4 else found + [f"only {len(names)} secrets are kept: {names}"]


def post(relay, token):
    import urllib.request
    request = urllib.request.Request(f"http://127.0.0.1:{relay.events}/events/order.created", b"{}", method="POST",
                                     headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


async def main():
    chosen = harness.arguments(__doc__, events=40)
    receiver = await api.Receiver(lambda path, event_id: 500 if path == "/dead" else 200).start()
    canaries = Canaries()
    relay = harness.Relay(chosen.sidehook, "  none: {active: false}\n")
    sections, subscriptions, environment = configuration(canaries, receiver, relay.folder)
    relay.write(subscriptions, sections)
    failures = []
    try:
        relay.start(environment=environment)
        look = Look(relay, canaries)
        for _ in range(chosen.events):
            await asyncio.to_thread(post, relay, canaries["ingest token"])
        if not await harness.until(lambda: relay.metric("sidehook_dead_deliveries", subscription="dead") >= 2):
            failures.append("nothing died")
        await asyncio.to_thread(edited, look, canaries)
        for name in ("literal", "reference", "dead", "refused"):
            await asyncio.to_thread(look.call, "POST", f"/v1/subscriptions/{name}/test", None, None, 200)
        await reloaded(relay, look, canaries, sections, subscriptions)
        reads = await asyncio.to_thread(read_all, look)
        answers = list(look.answers)
        metrics = ("metrics", relay.get("/metrics").encode())
        processes = list(command_lines())
        for command in ("check", "diff", "status"):
            done = subprocess.run([chosen.sidehook, command, "--config", relay.config], capture_output=True,
                                  env={**os.environ, **environment, "SIDEHOOK_TOKEN": look.token})
            answers.append((f"sidehook {command}", done.stdout + done.stderr))
        relay.kill(15)
        with open(os.path.join(relay.folder, "log"), "rb") as file:
            log = ("the log", file.read())
        failures += kept_apart(relay)
        stored = list(files(relay))
        for place, data in [*answers, metrics, log, *processes, *stored]:
            failures += [f"{place} has the {slot}" for slot in sorted(canaries.found_in(data))]
        # A search that finds nothing in the file that has them all is none.
        with open(relay.config, "rb") as file:
            if len(canaries.found_in(file.read())) < 8:
                failures.append("the search does not find what is there")
        print(f"canaries: {len(canaries)} secrets sought in {len(answers)} answers ({reads} of reads), {len(log[1])} bytes of log, "
              f"{len(processes)} command lines, {len(stored)} files", flush=True)
        if len(canaries) < 20 or b'"TRACE"' not in log[1] and b'"DEBUG"' not in log[1]:
            failures.append("too little was tried")
    finally:
        relay.remove()
    return harness.finish("canaries", chosen.seed, failures)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
