#!/usr/bin/env python3
"""promtool accepts /metrics, a real Prometheus scrapes it, and every name and fixed label of the contract is there."""
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

from harness import Receiver, Relay, Sender, arguments, drained, finish, free_port, subscription, until

NAME = "prometheus"
REASONS = {
    "dead_letters_total": ["exhausted", "expired", "gave_up", "aborted", "overflow", "template"],
    "attempt_failures_total": ["dns", "blocked", "connect", "tls", "auth", "proxy", "timeout", "reset", "protocol", "template",
                               "http_3xx", "http_4xx", "http_410", "http_429", "http_5xx"],
}
# Name -> label sets that must be there from the start; {} for a metric without fixed labels.
SUBSCRIPTION = {"subscription": ["a"]}
EXPECTED = {
    "sidehook_events_received_total": {"outcome": ["accepted", "duplicate", "rejected", "overloaded"]},
    "sidehook_events_unmatched_total": {},
    "sidehook_deliveries_total": {"outcome": ["delivered", "dead"], **SUBSCRIPTION},
    "sidehook_attempts_total": {"status": ["success", "failed", "timeout"], **SUBSCRIPTION},
    "sidehook_ingest_duration_seconds_bucket": {},
    "sidehook_store_commit_seconds_bucket": {},
    "sidehook_store_commit_events_bucket": {},
    "sidehook_config_reloads_total": {"outcome": ["success", "failure"]},
    "sidehook_build_info": {},
    "process_resident_memory_bytes": {}, "process_cpu_seconds_total": {}, "process_open_fds": {}, "process_start_time_seconds": {},
}
GAUGES = ["pending_deliveries", "oldest_pending_age_seconds", "dead_deliveries", "in_flight_attempts", "consecutive_failures", "subscription_enabled"]
EXPECTED |= {f"sidehook_{name}": SUBSCRIPTION for name in GAUGES}
EXPECTED |= {f"sidehook_{name}": {} for name in ("store_size_bytes", "store_pending_bytes", "store_healthy", "config_last_reload_successful",
                                                 "config_last_reload_success_timestamp_seconds")}
EXPECTED |= {f"sidehook_all_{name}": {"reason": reasons} for name, reasons in REASONS.items()}
# Likewise, once something was delivered and something failed.
LATER = {
    "sidehook_attempt_duration_seconds_bucket": SUBSCRIPTION,
    "sidehook_delivery_delay_seconds_bucket": SUBSCRIPTION,
    "sidehook_attempt_failures_total": {"reason": ["http_4xx"], **SUBSCRIPTION},
    "sidehook_dead_letters_total": {"reason": ["gave_up"], **SUBSCRIPTION},
}


def absent(text, expected):
    """What of the expected the rendering lacks."""
    lacking = []
    for name, labels in expected.items():
        lines = [line for line in text.splitlines() if re.match(re.escape(name) + r"[{ ]", line)]
        if not lines:
            lacking.append(name)
        lacking += [f'{name}{{{label}="{value}"}}' for label, values in labels.items() for value in values
                    if not any(f'{label}="{value}"' in line for line in lines)]
    return lacking


def scrape(relay, failures):
    """Runs a real Prometheus until it has scraped the relay, and asks it for a counter."""
    port = free_port()
    config = os.path.join(relay.folder, "prometheus.yml")
    with open(config, "w") as file:
        file.write("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n  - job_name: sidehook\n"
                   f"    static_configs: [{{targets: ['127.0.0.1:{relay.admin}']}}]\n")
    with open(os.path.join(relay.folder, "prometheus.log"), "w") as log:
        process = subprocess.Popen(["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}",
                                    f"--storage.tsdb.path={relay.folder}/tsdb"], stdout=log, stderr=log)
    try:
        query = "http://127.0.0.1:%d/api/v1/query?query=%s" % (port, urllib.parse.quote('sidehook_deliveries_total{outcome="delivered"}'))
        for _ in range(300):
            time.sleep(0.1)
            try:
                with urllib.request.urlopen(query, timeout=2) as answer:
                    result = json.load(answer)["data"]["result"]
            except OSError:
                continue
            if result:
                print(f"{NAME}: scraped {result[0]['metric']} = {result[0]['value'][1]}")
                return
        failures.append("Prometheus did not scrape within 30 s")
    finally:
        process.terminate()
        process.wait(20)


async def main():
    chosen = arguments(__doc__, events=200)
    failures = []
    for tool in ("promtool", "prometheus"):
        if shutil.which(tool) is None:
            print(f"{NAME}: {tool} is not installed (Debian package prometheus)")
            return 1
    receiver = await Receiver(lambda path, event_id: 400 if event_id.startswith("wrong") else 200).start()
    relay = Relay(chosen.sidehook, subscription("a", receiver.url("/a"), give_up_on="[400]")).start()
    try:
        fresh = relay.get("/metrics")
        failures += [f"absent at the start: {what}" for what in absent(fresh, EXPECTED)]
        sender = Sender(relay.events)
        await sender.run(4, chosen.events)
        await drained(relay, receiver, sender, ["/a"])
        died = lambda: relay.metric("sidehook_deliveries_total", subscription="a", outcome="dead") == 1
        await Sender(relay.events, prefix="wrong").run(1, 1)
        if not await until(died):
            failures.append("one is not dead")
        text = relay.get("/metrics")
        failures += [f"absent after traffic: {what}" for what in absent(text, EXPECTED | LATER)]
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
        if checked.returncode or checked.stderr.strip():
            failures.append(f"promtool: {checked.stdout}{checked.stderr}")
        delivered = relay.metric("sidehook_deliveries_total", subscription="a", outcome="delivered")
        if delivered != chosen.events:
            failures.append(f"deliveries_total is {delivered}, {chosen.events} were delivered")
        await asyncio.to_thread(scrape, relay, failures)
        print(f"{NAME}: {len(text.splitlines())} lines of metrics, {len(EXPECTED | LATER)} names checked")
        return finish(NAME, chosen.seed, failures)
    finally:
        relay.remove()


sys.exit(asyncio.run(main()))
