#!/usr/bin/env python3
"""How long lumos takes to simulate, beside vllm-sr-sim, and how near it comes to queueing theory.

    python benches/simulate/run.py OUT [--target DIR] [--skip-theory]

Needs the release examples (`cargo build --release -p lumos-sim --examples`) and, in this Python, vllm-sr-sim and matplotlib.
Writes OUT/{day,peer,theory}.csv and OUT/load.svg.
"""

import argparse
import csv
import io
import math
import os
import resource
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

FACTORS = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
RUNS = 1_000_000
PEER_REQUESTS = 200_000
GAP_S = 0.054


def example(target: Path, name: str, *arguments) -> tuple[str, float]:
    """What an example prints, and the processor seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(target / "release/examples" / name), *map(str, arguments)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return text, (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def day(target: Path, out: Path) -> None:
    rows = []
    for factor in FACTORS:
        text, _ = example(target, "day", "scenarios/support_day.ron", RUNS, factor)
        rows += list(csv.DictReader(io.StringIO(text)))
        print(rows[-1], flush=True)
    few, _ = example(target, "day", "scenarios/support_day.ron", RUNS // 10, 1.0)
    rows += list(csv.DictReader(io.StringIO(few)))
    write(out / "day.csv", rows)
    plot(rows[: len(FACTORS)], out / "load.svg")


def plot(rows, path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    factors = [float(row["load_factor"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    left.plot(factors, [float(row["us_per_run"]) for row in rows], "o-")
    left.set(xlabel="load factor", ylabel="µs of processor time per simulated run", ylim=(0, None), title="cost of simulating")
    right.plot(factors, [1e3 * float(row["cost_per_run_usd"]) for row in rows], "o-")
    right.set(xlabel="load factor", ylabel="$ per 1,000 simulated runs", ylim=(0, None), title="cost of the runs (busy time and tokens)")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def splitmix(state: int) -> tuple[int, int]:
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def workload(requests: int):
    """The requests of `replica_cost`: the same numbers from the same generator."""
    state, now = 1, 0.0
    for number in range(requests):
        state, draw = splitmix(state)
        now += -math.log(max((draw >> 11) / (1 << 53), 1e-12)) * GAP_S
        state, prompt = splitmix(state)
        state, output = splitmix(state)
        yield number, now, 100 + prompt % 200, 50 + output % 200


def peer(target: Path, out: Path) -> None:
    from fleet_sim import Fleet, FleetConfig, H100_80GB, PoolConfig, Request

    arrivals = [(now, Request(number, now, prompt, output)) for number, now, prompt, output in workload(PEER_REQUESTS)]
    fleet = Fleet(FleetConfig([PoolConfig("one", H100_80GB, 1, 8192)], "LeastLoadedRouter"))
    start = time.process_time()
    found = fleet.run(arrivals)
    theirs = (time.process_time() - start) / PEER_REQUESTS * 1e6
    text, ours_s = example(target, "replica_cost", 1_000_000, GAP_S * 1e6)
    ours = ours_s
    rows = [
        {"simulator": f"vllm-sr-sim {version('vllm-sr-sim')}", "requests": len(found.completed), "us_per_request": f"{theirs:.2f}", "iterations": "none: request-level"},
        {"simulator": "lumos", "requests": 1_000_000, "us_per_request": f"{ours:.3f}", "iterations": text.split(", ")[1]},
        {"simulator": "ratio", "requests": "", "us_per_request": f"{theirs / ours:.0f}", "iterations": ""},
    ]
    print(*rows, sep="\n", flush=True)
    write(out / "peer.csv", rows)


def theory(target: Path, out: Path) -> None:
    text, _ = example(target, "theory")
    print(text, flush=True)
    (out / "theory.csv").write_text(text)


def write(path: Path, rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--target", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", "target")))
    parser.add_argument("--skip-theory", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    peer(arguments.target, arguments.out)
    day(arguments.target, arguments.out)
    if not arguments.skip_theory:
        theory(arguments.target, arguments.out)


if __name__ == "__main__":
    main()
