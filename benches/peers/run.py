"""Builds and runs all systems, one measure after the other and system by system, and writes README.md and runs.csv.

    python3 run.py FOLDER [--python PYTHON] [--rounds N] [--only MEASURE]...

FOLDER receives the results, of all measures or of those named. PYTHON is an interpreter with `langgraph`,
`langgraph-checkpoint-sqlite` and `aiosqlite`.
"""

import argparse
import csv
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = ["chain", "fan", "layered", "columns"]
RUST = ["bare-loop", "lumos-scheduler", "lumos", "lumos-record", "tokio-spawn", "tokio-joinset"]
GRAPHS = ["graph-flow", "adk-graph"]
MEMORY = ["lumos", "lumos-sqlite", "tokio-joinset", "graph-flow", "adk-graph", "langgraph"]
DURABLE = ["rusqlite", "lumos-sqlite", "adk-graph-sqlite", "langgraph-sqlite"]
SURVIVING = {"durable-chain": DURABLE, "durable": DURABLE, "resume-100k": ["lumos-sqlite"], "size": DURABLE[1:]}
UNITS = {
    "diamond": "runs/s",
    "memory": "bytes",
    "durable-chain": "us/step",
    "durable": "runs/s",
    "resume-100k": "s",
    "size": "bytes/step",
}
# Measure, system, what is asked of it, whether more is better, and the system of which it is a multiple.
TARGETS = [
    *[(shape, "lumos-scheduler", 0.2, False, None) for shape in SHAPES],
    *[(shape, "lumos", 1.5, False, None) for shape in SHAPES],
    ("diamond", "lumos", 200_000, True, None),
    ("memory", "lumos", 4_096, False, None),
    ("durable-chain", "lumos-sqlite", 1.5, False, "rusqlite"),
    ("durable", "lumos-sqlite", 20_000, True, None),
    ("resume-100k", "lumos-sqlite", 1, False, None),
    ("size", "lumos-sqlite", 1_024, False, None),
]
# Beyond this a measure is given up, before it takes the machine down with it.
ADDRESS_SPACE = 8 << 30
PATIENCE_S = 600


def build():
    for folder in ("lumos", "graphs"):
        subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=HERE / folder, check=True)


def binary(folder):
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    metadata = subprocess.run(command, cwd=HERE / folder, check=True, capture_output=True, text=True).stdout
    return pathlib.Path(json.loads(metadata)["target_directory"]) / "release" / f"bench-{folder}"


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def measure(command):
    """A figure, or None when the system could not give one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, preexec_fn=limited, cwd=HERE)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        print(done.stderr[-400:], file=sys.stderr)
        return None
    return float(done.stdout.split()[-1])


def plan(python):
    """What to run: measure, system, command, in the order of the tables."""
    programs = dict.fromkeys([*RUST, "rusqlite", "lumos-sqlite"], [str(binary("lumos"))])
    programs |= dict.fromkeys([*GRAPHS, "adk-graph-sqlite"], [str(binary("graphs"))])
    if python:
        programs |= dict.fromkeys(["langgraph", "langgraph-sqlite"], [python, str(HERE / "langgraph_bench.py")])
    measures = [(name, [*RUST, *GRAPHS, "langgraph"]) for name in [*SHAPES, "diamond"]]
    measures += [("memory", MEMORY), *SURVIVING.items()]
    for name, systems in measures:
        for system in systems:
            if system in programs:
                yield name, system, [*programs[system], system, name]


def collect(python, rounds, only):
    samples = {}
    for number in range(rounds):
        for name, system, command in plan(python):
            if only and name not in only:
                continue
            # LangGraph's measures take a minute each, and a system that failed fails again.
            if number and (system.startswith("langgraph") or samples[name, system] == [None]):
                continue
            figure = measure(command)
            print(f"round {number + 1}: {name} {system} {figure}", flush=True)
            samples.setdefault((name, system), []).append(figure)
    return {key: (None if values == [None] else statistics.median(values), values) for key, values in samples.items()}


def shown(figure):
    if figure is None:
        return "gave up"
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def versions(python):
    def output(*command):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    rustc = output("rustc", "--version")
    locked = (HERE / "graphs" / "Cargo.lock").read_text() + (HERE / "lumos" / "Cargo.lock").read_text()

    def crate(name):
        after = locked.split(f'name = "{name}"\nversion = "', 1)[1]
        return f"{name} {after.split(chr(34), 1)[0]}"

    found = [rustc, *map(crate, ["tokio", "graph-flow", "adk-graph", "rusqlite"])]
    if python:
        code = "from importlib.metadata import version as v; print('LangGraph', v('langgraph'))"
        found += [output(python, "-c", code), output(python, "--version")]
    return ", ".join(found)


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())


def table(results, measures, systems, base):
    if not any((name, system) in results for name in measures for system in systems):
        return "Not measured this time.\n"
    head = "| system | " + " | ".join(f"{name} | ÷ {base}" for name in measures) + " |\n"
    head += "| --- |" + " ---: | ---: |" * len(measures) + "\n"
    rows = ""
    for system in systems:
        if not any((name, system) in results for name in measures):
            continue
        cells = []
        for name in measures:
            figure = results.get((name, system), (None, []))[0]
            reference = results[name, base][0]
            cells += [shown(figure), f"{figure / reference:.2f}" if figure is not None else ""]
        rows += f"| {system} | " + " | ".join(cells) + " |\n"
    return head + rows


def sync_us():
    """µs that a write and `fdatasync` of a page takes on the disk of the working folder: 10 %, 50 % and 90 %."""
    samples = []
    with tempfile.TemporaryFile(dir=HERE) as file:
        for page in range(200):
            before = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, page % 50 * 4096)
            os.fdatasync(file.fileno())
            samples.append((time.perf_counter() - before) * 1e6)
    tenths = statistics.quantiles(samples, n=10)
    return tenths[0], tenths[4], tenths[8]


def report(folder, results, python, rounds, load, syncs):
    with open(folder / "runs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["measure", "system", "unit", "median", "rounds"])
        for (name, system), (figure, values) in results.items():
            samples = " ".join("" if value is None else f"{value:.6g}" for value in values)
            median = "" if figure is None else f"{figure:.6g}"
            writer.writerow([name, system, UNITS.get(name, "us/node"), median, samples])
    systems = [*RUST, *GRAPHS, "langgraph"]
    targets = "| measure | system | target | median | met | best round | met |\n"
    targets += "| --- | --- | ---: | ---: | --- | ---: | --- |\n"
    for name, system, target, more, base in TARGETS:
        if (name, system) not in results:
            continue
        figure, values = results[name, system]
        unit = UNITS.get(name, "us/node").replace("us", "µs")
        if base:
            # Round by round: what the disk is busy with changes from one to the next.
            values = [value / reference for value, reference in zip(values, results[name, base][1])]
            figure, unit = statistics.median(values), f"÷ {base}"
        best = max(values) if more else min(values)
        met = ["yes" if (value >= target if more else value <= target) else "no" for value in (figure, best)]
        if base and not more and min(values) < 1:
            # Nobody does less than the floor: what is seen is the disk, and says nothing about either.
            met = ["undecided: the floor was beaten"] * 2
        sign = "≥" if more else "≤"
        cells = [f"{name} ({unit})", system, f"{sign} {shown(target)}", shown(figure), met[0], shown(best), met[1]]
        targets += f"| {' | '.join(cells)} |\n"
    probe = "; ".join(f"{when} {low:,.0f} / {middle:,.0f} / {high:,.0f}" for when, (low, middle, high) in syncs.items())
    text = f"""# No-op graphs: lumos, tokio by hand, graph-flow, adk-graph, LangGraph

{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}. {versions(python)}.
Load average {load[0]} before and {load[1]} after, which other work on the machine is part of. Two tokio workers. Programs in
Rust of `benches/peers/lumos` use mimalloc, as the command `lumos` does, those of `benches/peers/graphs` the system's
allocator. Medians of {rounds} rounds (LangGraph: one), each the median of its own repetitions.

    nice -n -5 python3 benches/peers/run.py benches/runs/DATE --python PYTHON

Nodes do nothing. `chain`: 100 nodes in a row. `fan`: 1 → 100 → 1. `layered`: 10 × 10, each node after all ten of the
layer before. `columns`: 10 × 10, each node after one of the layer before. `diamond`: guard → retrieve and plan →
generate → release.

## Targets

{targets}
Throughput with both processors busy suffers most from other work: compare it with tokio by hand in the same round.

## µs per node, one run after another

{table(results, SHAPES, systems, "tokio-joinset")}
`bare-loop` counts dependencies and does nothing else: the floor. `lumos` keeps in memory what its record is made of;
`lumos-record` also makes the record of each run. graph-flow runs one task after another, so parallel nodes go into a
`FanOutTask`, which waits for all of them. adk-graph exhausts 8 GiB of memory on `layered`; that graph has 10^10 paths, so
it seems to follow each of them.

## Runs per second of the diamond, 10,000 at once

{table(results, ["diamond"], systems, "tokio-joinset")}
## What survives the process

{table(results, ["durable-chain"], DURABLE, "rusqlite")}
µs per step of the chain, one run after another, each step on disk before the next one starts. `rusqlite`: one row of 300
bytes for each step, each in a transaction of its own; the floor.

{table(results, ["durable"], DURABLE, "rusqlite")}
Runs per second of the diamond. `rusqlite`: one row of 300 bytes for each run, 4,096 to a transaction; the floor. lumos:
10,000 runs at once, each event on disk before what it leads to, and the rows that people query when the run returns.
adk-graph: 1,000 at once, a checkpoint for each super-step, one connection. LangGraph: 200 at once, `AsyncSqliteSaver`.

{table(results, ["size"], DURABLE[1:], "lumos-sqlite")}
Bytes on disk per step of chains of 50 steps that all read an input of 1 MiB, beyond that input's own bytes.

{table(results, ["resume-100k"], ["lumos-sqlite"], "lumos-sqlite")}
Seconds from opening the store until the last step of a run of 100,000 steps, all others of which have ended, is made again:
the log is read, checked and folded, and the run taken over.

SQLite in WAL mode with `synchronous=FULL` on the disk of the working folder for all systems. A write and `fdatasync` of
4 KiB there took, in µs at 10 / 50 / 90 %: {probe}. Each system waits for one such sync per step of the chain: where it
varies by more than the systems differ, the chain compares syncs and not systems.

## Bytes of memory per run in flight

{table(results, ["memory"], MEMORY, "tokio-joinset")}
Resident memory with 10,000 diamonds waiting in `generate`, less that with one, divided by 10,000; each system in a process
of its own.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    build()
    before = os.getloadavg()[0]
    syncs = {"before": sync_us()}
    results = collect(arguments.python, arguments.rounds, arguments.only)
    load = (f"{before:.1f}", f"{os.getloadavg()[0]:.1f}")
    syncs["after"] = sync_us()
    report(folder, results, arguments.python, arguments.rounds, load, syncs)


if __name__ == "__main__":
    main()
