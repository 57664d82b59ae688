"""What a client adds to a call: bare HTTP, lumos, genai and LiteLLM's SDK against the fault server, turn by turn.

    python3 benches/clients/run.py FOLDER [--python PYTHON] [--rounds N]

The client has one processor to itself and the server another (`taskset`). PYTHON is an interpreter with `litellm`.
FOLDER receives README.md and results.csv. A round takes about 40 seconds.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = ["bare", "lumos-remote", "lumos", "genai"]
P50, P99, FLOOR_P50, FLOOR_P99, CALLS, CPU, QUICK_CALLS, QUICK_CPU = range(8)
COLUMNS = ["p50_us", "p99_us", "floor_p50_us", "floor_p99_us", "calls_per_s", "cpu_us_per_call", "quick_calls_per_s"]
COLUMNS += ["quick_cpu_us_per_call"]
PATIENCE_S = 120


def binary():
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=HERE, check=True)
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    metadata = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout
    return str(pathlib.Path(json.loads(metadata)["target_directory"]) / "release" / "bench-clients")


def measure(program, client, python, floor):
    """One figure for each of `COLUMNS`, or None when the client could not give them. Calls of a client in Rust take turns
    with bare ones; for LiteLLM `floor` has the bare client's figures of the same round."""
    server = subprocess.Popen(["taskset", "-c", "1", program, "server"], stdout=subprocess.PIPE, text=True)
    try:
        urls = server.stdout.readline().split()
        command = [python, str(HERE / "litellm_bench.py")] if client == "litellm" else [program, client]
        command = ["taskset", "-c", "0", *command, *urls]
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        return None
    finally:
        server.kill()
        server.wait()
    figures = done.stdout.split()
    if client == "litellm" and floor:
        figures[P99 + 1 : P99 + 1] = floor[: P99 + 1]
    if done.returncode or len(figures) != len(COLUMNS):
        print(done.stderr[-400:], file=sys.stderr)
        return None
    return [float(figure) for figure in figures]


def collect(program, clients, arguments):
    """Per client the figures of each round, None where a round failed."""
    rounds = {client: [] for client in clients}
    for number in range(arguments.rounds):
        for client in clients:
            floor = rounds["bare"][number] if client == "litellm" else None
            figures = measure(program, client, arguments.python, floor)
            rounds[client].append(figures)
            print(number + 1, client, *(figures or ["gave up"]), flush=True)
    return rounds


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def version(name):
    found = re.search(rf'name = "{name}"\nversion = "([^"]+)"', (HERE / "Cargo.lock").read_text())
    return f"{name} {found[1] if found else '?'}"


def versions(python):
    found = [output("rustc", "--version"), *map(version, ["genai", "reqwest", "hyper", "tokio"])]
    if python:
        code = "import importlib.metadata as m; print('LiteLLM', m.version('litellm'))"
        found += [output(python, "-c", code), output(python, "--version")]
    return ", ".join(found)


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def table(head, rows):
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def added(rounds, client, column):
    """What a client takes more than the floor: median, least and most of the rounds."""
    more = [figures[column] - figures[column + FLOOR_P50] for figures in rounds[client] if figures]
    return [f"{statistics.median(more):,.0f}", f"{min(more):,.0f} to {max(more):,.0f}"] if more else ["", ""]


def latencies(rounds, middle):
    for client in rounds:
        cells = [client]
        for column in (P50, P99):
            shown = f"{middle[client][column]:,.0f}" if client in middle else "gave up"
            cells += [shown, *added(rounds, client, column)]
        yield cells


def throughputs(rounds, middle):
    for client in rounds:
        if client not in middle:
            yield [client, *["gave up"] * 6]
            continue
        figures = middle[client]
        others = [middle.get(other) for other in ("genai", "litellm")]
        ratios = [f"{figures[QUICK_CALLS] / other[QUICK_CALLS]:.3g}" if other else "" for other in others]
        busy = figures[QUICK_CPU] * figures[QUICK_CALLS] / 1e6
        shown = [f"{figures[column]:,.0f}" for column in (QUICK_CALLS, QUICK_CPU)]
        of_faults = [f"{figures[column]:,.0f}" for column in (CALLS, CPU)]
        yield [client, *shown, f"{busy:.0%}", *ratios, *of_faults]


def report(arguments, rounds, load):
    with open(arguments.folder / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["round", "client", *COLUMNS])
        for number in range(arguments.rounds):
            for client, figures in rounds.items():
                writer.writerow([number + 1, client, *(figures[number] or [""] * len(COLUMNS))])
    middle = {}
    for client, figures in rounds.items():
        if good := [row for row in figures if row]:
            middle[client] = [statistics.median(column) for column in zip(*good)]
    latency = ["client", "p50 µs", "added", "in all rounds", "p99 µs", "added", "in all rounds"]
    throughput = ["client", "calls/s", "CPU µs/call", "core busy", "calls/s ÷ genai", "÷ LiteLLM"]
    throughput += ["fault server: calls/s", "CPU µs/call"]
    text = f"""# What a client adds to a call

{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}. {versions(arguments.python)}.
Load average {load[0]:.1f} before and {load[1]:.1f} after, the benchmark's own included. The client has one processor, the
server the other. One call: a question, 32 tokens streamed at once, usage. Medians of {arguments.rounds} rounds, in turn.

    python3 benches/clients/run.py benches/runs/DATE-clients --python PYTHON --rounds {arguments.rounds}

## Latency of calls to the fault server, one after another

{table(latency, latencies(rounds, middle))}

`added` is the difference to the floor, with which each client takes turns call by call in the same process (LiteLLM: in
the same round); where the rounds span 0, no difference is shown. `bare` beside itself tells how well this measures. 2,000
calls a round; LiteLLM 300, so its p99 is its third slowest.

`bare` posts the same request with reqwest and reads the reply without looking at it: the floor. `lumos-remote` is the
backend alone: events parsed, usage, limits and request id read, times taken, secrets kept out. `lumos` is a run of one node
through the engine with its record made.

## Calls per second of one core, 32 in flight

{table(throughput, throughputs(rounds, middle))}

The fault server writes each token by itself, so that its processor is full before a Rust client's: calls/s there are the
server's. The first columns are of a server that sends the same bytes in one piece, and the client's core is full.

genai returns at `[DONE]`, which the fault server sends as a piece before the end of the reply: so it can be below the
floor, which waits for that end, as lumos does. Its connection may be lost by that; how often is not measured here.
"""
    (arguments.folder / "README.md").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    clients = CLIENTS + (["litellm"] if arguments.python else [])
    program, before = binary(), os.getloadavg()[0]
    rounds = collect(program, clients, arguments)
    report(arguments, rounds, (before, os.getloadavg()[0]))


if __name__ == "__main__":
    main()
