"""What a client adds to a call: bare HTTP, lumos, genai and LiteLLM's SDK against the fault server, turn by turn.

    python3 benches/clients/run.py FOLDER [--python PYTHON] [--rounds N]

The client has one processor to itself and the server another (`taskset`). PYTHON is an interpreter with `litellm`.
FOLDER receives README.md and results.csv.
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

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = ["bare", "lumos-remote", "lumos", "genai"]


def binary():
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=HERE, check=True)
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"]
    metadata = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True).stdout
    return str(pathlib.Path(json.loads(metadata)["target_directory"]) / "release" / "bench-clients")


def measure(program, client, python):
    """p50 µs, p99 µs, calls per second."""
    server = subprocess.Popen(["taskset", "-c", "1", program, "server"], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        command = [python, str(HERE / "litellm_bench.py"), url] if client == "litellm" else [program, client, url]
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        done = subprocess.run(
            ["taskset", "-c", "0", *command], env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        return [float(figure) for figure in done.stdout.split()[-3:]]
    finally:
        server.kill()
        server.wait()


def version(name):
    match = re.search(rf'name = "{name}"\nversion = "([^"]+)"', (HERE / "Cargo.lock").read_text())
    return match[1] if match else "?"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    program, rows, load = binary(), [], os.getloadavg()[0]
    clients = CLIENTS + (["litellm"] if arguments.python else [])
    for round_number in range(1, arguments.rounds + 1):
        for client in clients:
            rows.append([round_number, client, *measure(program, client, arguments.python)])
            print(*rows[-1], flush=True)
    with open(arguments.folder / "results.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["round", "client", "p50_us", "p99_us", "calls_per_s"])
        writer.writerows(rows)
    (arguments.folder / "README.md").write_text(readme(rows, clients, arguments, load))


def readme(rows, clients, arguments, load):
    def median(client, column):
        return statistics.median(row[column] for row in rows if row[1] == client)

    litellm = ""
    if arguments.python:
        command = [arguments.python, "-c", "import importlib.metadata as m; print(m.version('litellm'))"]
        litellm = f", LiteLLM {subprocess.run(command, capture_output=True, text=True).stdout.strip()}"
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    floor = median("bare", 2), median("bare", 3)
    lines = [
        "# What a client adds to a call",
        "",
        f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}; "
        f"genai {version('genai')}{litellm}.",
        f"Load average {load:.1f} before. The client has one processor, the fault server the other. One call: a question, 32",
        f"tokens streamed at once, usage. Medians of {arguments.rounds} rounds, in turn.",
        "",
        "    python3 benches/clients/run.py benches/runs/DATE-clients --python PYTHON",
        "",
        "| client | p50 µs | added to the floor | p99 µs | added | calls/s, 32 in flight | ÷ genai |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for client in clients:
        p50, p99, rate = (median(client, column) for column in (2, 3, 4))
        ratio = rate / median("genai", 4)
        lines.append(
            f"| {client} | {p50:,.0f} | {p50 - floor[0]:,.0f} | {p99:,.0f} | {p99 - floor[1]:,.0f} | {rate:,.0f} | {ratio:.2f} |"
        )
    lines += [
        "",
        "`bare` posts the same request with reqwest and reads the reply without looking at it: the floor. `lumos-remote` is the",
        "backend alone: events parsed, usage, limits and request id read, times taken, secrets kept out. `lumos` is a run of",
        "one node through the engine with its record made. With 32 in flight the server's processor is as busy as the client's.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
