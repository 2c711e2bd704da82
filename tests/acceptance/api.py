"""The admin API against its own OpenAPI document, with tokens of every scope and without.

schemathesis (PyPI, installed into a venv of its own under target/) makes calls of all operations but the endless stream: no
answer may be a 5xx, have a status, type or body that the document does not tell, or take what the document forbids. The
suite itself asks every operation without a token, with a wrong one, with the wrong scope, and as a web page of another
site would. The files are edited all the while: at the end they must load.
"""
import asyncio
import http.client
import json
import os
import subprocess
import sys
import time

import harness

TOKENS = {"reader": ["read"], "manager": ["manage"], "both": ["read", "manage"]}
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
          "ignored_auth"]
VERSION = "4.32.5"


class Receiver(harness.Receiver):
    """An endpoint that takes whatever the edits make of a delivery, signed or not."""

    def take(self, path, headers, body):
        return self.answer(path, None)


def token(name):
    return f"{name}-token-" + "0123456789abcdef" * 2


def call(relay, method, path, name=None, body=None, **headers):
    """One call; its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", relay.admin, timeout=30)
    if name:
        headers["Authorization"] = f"Bearer {token(name)}"
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def look(relay, path):
    status, _, body = call(relay, "GET", path, "both")
    if status != 200:
        raise SystemExit(f"GET {path} was answered {status}: {body[:300]}")
    return json.loads(body)


def document_of(relay):
    return look(relay, "/v1/openapi.json")


def operations(document):
    """Every operation that needs a token: method, path, scope."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for needed in operation["security"]:
                yield method.upper(), path, needed["token"][0]


def access(relay, document):
    """What is wrong with who may call what."""
    found, asked = [], 0
    for method, path, scope in operations(document):
        other = "reader" if scope == "manage" else "manager"
        # A body that is refused for itself would hide that the caller is not.
        expected = [
            (401, "unauthorized", {}),
            (401, "unauthorized", {"Authorization": "Bearer " + "x" * 40}),
            (401, "unauthorized", {"Authorization": "Basic " + "x" * 40}),
            (401, "unauthorized", {"Authorization": f"Bearer {token('both')[:-1]}"}),
            (403, "missing_scope", {"name": other}),
            (403, "foreign_host", {"name": "both", "Host": "evil.example"}),
            (403, "foreign_host", {"name": "both", "Host": f"127.0.0.1.nip.io:{relay.admin}"}),
            (403, "cross_site", {"name": "both", "Origin": "https://evil.example"}),
            (403, "cross_site", {"name": "both", "Origin": "null"}),
            (403, "cross_site", {"name": "both", "Sec-Fetch-Site": "cross-site"}),
            (403, "cross_site", {"name": "both", "Sec-Fetch-Site": "same-site"}),
        ]
        for status, code, how in expected:
            asked += 1
            answered, headers, body = call(relay, method, path, **how)
            if answered != status or json.loads(body)["code"] != code:
                found.append(f"{method} {path} with {how}: {answered} {body[:100]}")
            if headers.get("x-content-type-options") != "nosniff" or headers.get("cache-control") != "no-store":
                found.append(f"{method} {path} with {how}: {headers}")
    print(f"api: access asked {asked} times", flush=True)
    return found if asked > 200 else found + [f"only {asked} calls"]


def installed():
    """The command of schemathesis, installed if it is not yet."""
    folder = os.path.join(harness.ROOT, "target", f"schemathesis-{VERSION}")
    command = os.path.join(folder, "bin", "schemathesis")
    if not os.path.exists(command):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [os.path.join(folder, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"schemathesis=={VERSION}"], check=True)
    return command


def configuration(document, relay):
    """What schemathesis is told: ids that exist, so that not all calls end with 404, and what a value alone does not tell."""
    event = look(relay, "/v1/events")["data"][0]["id"]
    known = {"name": "billing", "event_id": event, "delivery_id": f"{event}.dead", "replay_id": "1"}
    # A precondition that fails is told before what is wrong with the body.
    lines = ["[checks.negative_data_rejection]", 'expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "415", "422"]']
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            values = {f"path.{name}": value for name, value in known.items() if "{" + name + "}" in path}
            if operation["operationId"] == "deleteSubscription":
                values["path.name"] = "held"
            if any(parameter["name"] == "If-Match" for parameter in operation["parameters"]):
                values["header.If-Match"] = "*"
            if values:
                pairs = ", ".join(f'"{name}" = "{value}"' for name, value in values.items())
                lines += ["[[operations]]", f'include-operation-id = "{operation["operationId"]}"', f"parameters = {{ {pairs} }}"]
    return "\n".join(lines) + "\n"


def run(command, relay, document, name, phases, examples, seconds, seed):
    """Lets schemathesis make its calls with this token; what it found."""
    folder = os.path.join(relay.folder, f"schemathesis-{name}")
    os.makedirs(folder)
    with open(os.path.join(folder, "openapi.json"), "w") as file:
        json.dump(document, file)
    with open(os.path.join(folder, "schemathesis.toml"), "w") as file:
        file.write(configuration(document, relay))
    checks = [check for check in CHECKS if name == "both" or check not in ("ignored_auth", "unsupported_method", "negative_data_rejection", "allow_header_conformance")]
    arguments = [command, "run", "openapi.json", "--url", f"http://127.0.0.1:{relay.admin}", "--checks", ",".join(checks),
                 "--exclude-path", "/v1/stream", "--max-examples", str(examples), "--phases", phases,
                 "--seed", str(seed), "--generation-database", "none", "--no-color", "--warnings", "off",
                 "--request-timeout", "30", "--continue-on-failure", "--suppress-health-check", "all", "--report", "json",
                 "--report-dir", folder]
    if name != "nobody":
        arguments += ["--header", f"Authorization: Bearer {token(name)}"]
    begun = time.monotonic()
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=seconds)
    tail = [line for line in done.stdout.splitlines() if "generated" in line or "passed" in line or "failed" in line][-4:]
    print(f"api: as {name} in {time.monotonic() - begun:.0f} s: " + "; ".join(line.strip() for line in tail), flush=True)
    if done.returncode == 0:
        return []
    return [f"as {name}: {done.stdout[-6000:]}{done.stderr[-1000:]}"]


async def main():
    chosen = harness.arguments(__doc__, examples=60, seconds=900, phases="coverage,fuzzing")
    receiver = await Receiver(lambda path, event_id: 500 if path == "/dead" else 200).start()
    subscriptions = "".join([
        harness.subscription("billing", receiver.url("/billing")),
        harness.subscription("dead", receiver.url("/dead"), retry="none"),
        harness.subscription("locked", receiver.url("/locked"), locked="true"),
        "  held: {url: 'https://a.example', events: ['*'], active: false}\n",
    ])
    relay = harness.Relay(chosen.sidehook, subscriptions)
    tokens = ", ".join(f'{{name: {name}, token: "{token(name)}", scopes: [{", ".join(scopes)}]}}' for name, scopes in TOKENS.items())
    # Urls that are made up are dialled by nobody: no public address listens on port 9.
    relay.write(subscriptions, f"admin: {{tokens: [{tokens}]}}\n")
    with open(relay.config) as file:
        text = file.read().replace('allow_private: ["127.0.0.0/8"]', 'allow_private: ["127.0.0.0/8"], ports: [9]')
    with open(relay.config, "w") as file:
        file.write(text)
    failures = []
    try:
        relay.start()
        sender = harness.Sender(relay.events)
        await sender.run(4, 40)
        if not await harness.until(lambda: relay.metric("sidehook_dead_deliveries", subscription="dead") >= 5):
            failures.append("no deliveries died")
        document = document_of(relay)
        failures += access(relay, document)
        begun = call(relay, "POST", "/v1/replays", "both", {"subscription": "dead", "rate_limit": "1/h"})
        if begun[0] != 202:
            failures.append(f"no bulk replay began: {begun}")
        command = installed()
        for name in ("nobody", "reader", "both"):
            # Those who may do little meet few answers.
            phases, examples = (chosen.phases, chosen.examples) if name == "both" else ("fuzzing", chosen.examples // 4 + 1)
            failures += await asyncio.to_thread(run, command, relay, document, name, phases, examples, chosen.seconds, chosen.seed)
        if relay.process.poll() is not None:
            failures.append(f"the relay ended: {relay.tail()}")
        if '"panicked' in relay.tail(200_000) or "panicked at" in relay.tail(200_000):
            failures.append("a handler panicked")
        with open(os.path.join(relay.folder, "log")) as file:
            edits = file.read().count("subscription changed by the API")
        if edits < 5:
            failures.append(f"only {edits} edits were made: the suite proved little")
        checked = subprocess.run([chosen.sidehook, "check", "--config", relay.config], capture_output=True, text=True)
        if checked.returncode != 0:
            failures.append(f"the files do not load after the edits: {checked.stderr[-500:]}")
        known = [one["name"] for one in look(relay, "/v1/subscriptions?limit=200")["data"]]
        print(f"api: {edits} edits, {len(known)} subscriptions at the end", flush=True)
        if "locked" not in known:
            failures.append("the locked subscription is gone")
    finally:
        relay.remove()
    return harness.finish("api", chosen.seed, failures)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
