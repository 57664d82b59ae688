#!/usr/bin/env python3
"""A rate-limited API, simulated beside the fault server that enforces the same limits.

    python3 benches/api/run.py OUT --lumos BINARY --server BINARY [--repeats N]

`--server` is the example `limited` of lumos-faults. Each case offers more than the API takes: with lumos's own limiter, where
throughput counts, and without, where 429s do. Writes OUT/results.csv, a row per case, figure and repetition.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
URL = "http://127.0.0.1:8094"
LIMITS = "limits: (rpm: 600, tpm: 48000)"
# What binds, requests and tokens per minute.
CASES = [("tokens", 600, 48_000), ("requests", 600, 200_000)]


def measure(arguments, binding, rpm, tpm, deployment):
    command = [arguments.server, str(rpm), str(tpm), "200", "50"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().strip()
    with tempfile.TemporaryDirectory() as folder:
        for path in HERE.rglob("*.ron"):
            copy = Path(folder) / path.relative_to(HERE)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(path.read_text().replace(URL, url).replace(LIMITS, f"limits: (rpm: {rpm}, tpm: {tpm})"))
        command = [arguments.lumos, "load", "scenario.ron", "-d", f"{deployment}.ron", "--against", "simulated", "--format", "json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    counted = json.loads(server.communicate("")[0])
    if done.returncode:
        sys.exit(done.stderr)
    measured, simulated = json.loads(done.stdout)["results"]
    figures = {
        "throughput_per_s": [result["throughput_per_s"] for result in (measured, simulated)],
        "succeeded": [result["succeeded"] for result in (measured, simulated)],
        "rate_limited": [result["nodes"][0]["rate_limited"] for result in (measured, simulated)],
        "attempts": [result["nodes"][0]["attempts"] for result in (measured, simulated)],
    }
    assert counted["refused"] == figures["rate_limited"][0], "the server counts what lumos counts"
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--lumos", type=Path, required=True, help="the binary, built with --release")
    parser.add_argument("--server", type=Path, required=True, help="the example `limited`, built with --release")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    arguments.lumos, arguments.server = arguments.lumos.resolve(), arguments.server.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for repeat in range(arguments.repeats):
        for binding, rpm, tpm in CASES:
            for deployment in ("limited", "unlimited"):
                for figure, (measured, simulated) in measure(arguments, binding, rpm, tpm, deployment).items():
                    error = f"{(simulated / measured - 1) * 100:.2f}" if measured else ""
                    row = [deployment, binding, rpm, tpm, figure, repeat, measured, simulated, error]
                    rows.append(row)
                    print(*row, flush=True)
    with open(arguments.out / "results.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow("deployment binding rpm tpm figure repeat measured simulated error_percent".split())
        writer.writerows(rows)


if __name__ == "__main__":
    main()
