#!/usr/bin/env python3
"""How far off a simulation of this machine's own models is: SmolLM2 in this process (candle) and in a llama.cpp server.

    python3 benches/home/run.py OUT --lumos BINARY --model MODEL.gguf [--threads N] [--repeats N] [--only BACKEND/WORKFLOW]

Calibrates both backends, finds what each carries of `rag` and `research` when all runs arrive at once, and then makes 40 %, 70 %
and 90 % of it for real, beside the simulation of the same arrivals and lengths, as fast as single requests before and after were.
The repetitions of a load have the same arrivals. Writes OUT/profiles/*.ron, OUT/calibration.json, OUT/capacity.csv and
OUT/loads.csv; what is there already is not measured again. Nothing else should run on the machine.
"""

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/servers"))
import serve  # noqa: E402

BACKENDS = ["candle", "llama"]
WORKFLOWS = ["rag", "research"]
LEVELS = [0.4, 0.7, 0.9]
# In the deployment, and replaced by a free one.
PORT = "8093"


@contextlib.contextmanager
def llama(arguments):
    """A llama.cpp server with four slots of 1,024 tokens."""
    python = arguments.python or serve.environment(arguments.cache)
    port = serve.free_port()
    text = (HERE / "llama.ron").read_text()
    deployment_of(arguments, "llama").write_text(text.replace(PORT, str(port)))
    command = [python, serve.HERE, "--model", arguments.model, "--threads", str(arguments.threads)]
    log = open(arguments.out / "llama.log", "wb")
    child = subprocess.Popen([*command, "--llama", str(port), "--context", "1024"], stdout=log, stderr=log)
    try:
        serve.wait("the llama.cpp server", f"http://127.0.0.1:{port}/health", child, 120)
        yield
    finally:
        child.kill()
        child.wait()


def deployment_of(arguments, backend):
    return arguments.out / f"{backend}.ron" if backend == "llama" else HERE / f"{backend}.ron"


def lumos(arguments, *rest):
    command = [arguments.lumos, *map(str, rest), "--format", "json"]
    variables = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, cwd=arguments.out, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    sys.stderr.write(done.stderr)
    return json.loads(done.stdout)


def calibrate(arguments, backend):
    deployment = deployment_of(arguments, backend)
    quick = ["--quick"] if arguments.quick else []
    found = lumos(arguments, "calibrate", backend, "-d", deployment, "-o", f"profiles/{backend}.ron", *quick)
    path = arguments.out / "calibration.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[backend] = found["calibration"]
    path.write_text(json.dumps(known, indent=1) + "\n")
    print(f"{backend}: {json.dumps(found['calibration']['profile']['held_out'])}", flush=True)


def load(arguments, backend, workflow, factor, *rest):
    deployment = deployment_of(arguments, backend)
    return lumos(arguments, "load", HERE / f"{workflow}.ron", "-d", deployment, "--load-factor", f"{factor:.4f}", *rest)


def capacity(arguments, backend, workflow):
    """Runs per second when all arrive at once."""
    result = load(arguments, backend, workflow, 1000, "--runs", arguments.runs or 24)["results"][0]
    return result["throughput_per_s"]


def append(path, row):
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def rows(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--lumos", type=Path, required=True, help="the binary, built with --release")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file of SmolLM2, for llama.cpp")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/lumos-bench", help="folder of llama.cpp's environment")
    parser.add_argument("--python", type=Path, help="a Python that has xllamacpp, in place of that environment")
    parser.add_argument("--threads", type=int, default=2, help="threads of a model")
    parser.add_argument("--repeats", type=int, default=3, help="loads of each level")
    parser.add_argument("--runs", type=int, help="runs of each load, in place of the scenario's")
    parser.add_argument("--recheck", type=int, default=8, help="single requests before and after each load; 0: none")
    parser.add_argument("--level", action="append", type=float, help="measure this share of the capacity only")
    parser.add_argument("--only", action="append", metavar="BACKEND/WORKFLOW", help="measure these only")
    parser.add_argument("--quick", action="store_true", help="a short calibration")
    arguments = parser.parse_args()
    for name in ("out", "lumos", "model", "cache"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    (arguments.out / "profiles").mkdir(parents=True, exist_ok=True)

    named = [name.split("/") for name in arguments.only or []]
    for backend in BACKENDS:
        if named and all(backend != name for name, _ in named):
            continue
        with llama(arguments) if backend == "llama" else contextlib.nullcontext():
            if not (arguments.out / f"profiles/{backend}.ron").exists():
                calibrate(arguments, backend)
            for repeat in range(arguments.repeats):
                for workflow in WORKFLOWS:
                    if not arguments.only or f"{backend}/{workflow}" in arguments.only:
                        measure(arguments, backend, workflow, repeat)


def measure(arguments, backend, workflow, repeat):
    found = [row for row in rows(arguments.out / "capacity.csv") if (row["backend"], row["workflow"]) == (backend, workflow)]
    if found:
        most = float(found[0]["runs_per_s"])
    else:
        most = capacity(arguments, backend, workflow)
        append(arguments.out / "capacity.csv", {"backend": backend, "workflow": workflow, "runs_per_s": f"{most:.4f}"})
    for level in arguments.level or LEVELS:
        key = {"backend": backend, "workflow": workflow, "level": str(level), "repeat": str(repeat)}
        if any(all(row[name] == value for name, value in key.items()) for row in rows(arguments.out / "loads.csv")):
            continue
        start = time.monotonic()
        runs = ["--runs", arguments.runs] if arguments.runs else []
        recheck = ["--recheck", arguments.recheck] if arguments.recheck else []
        found = load(arguments, backend, workflow, most * level, "--against", "simulated", *recheck, *runs)
        for compared in found["errors"]:
            figures = {name: compared[name] for name in ("measured", "simulated", "error_percent")}
            row = {**key, "node": compared["node"] or "run", "figure": compared["figure"], **figures}
            append(arguments.out / "loads.csv", row)
        for checked in found["rechecked"]:
            row = {**key, "node": "", "figure": "recheck", "measured": checked["factor"], "simulated": 1}
            append(arguments.out / "loads.csv", {**row, "error_percent": (1 / checked["factor"] - 1) * 100})
        shown = {
            (compared["node"] or "run") + " " + compared["figure"]: round(compared["error_percent"], 1)
            for compared in found["errors"]
        }
        shown["recheck"] = [round(checked["factor"], 3) for checked in found["rechecked"]]
        print(f"{' '.join(key.values())} in {time.monotonic() - start:.0f} s: {json.dumps(shown)}", flush=True)


if __name__ == "__main__":
    main()
