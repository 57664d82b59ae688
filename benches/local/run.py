"""SmolLM2-135M in this process (candle) and in llama.cpp, on the same file and machine, turn by turn.

    python3 benches/local/run.py FOLDER MODEL.gguf [--rounds N] [--threads N]

Needs `pip install xllamacpp` (llama.cpp with its server) and `cargo`. Both answer the same chat, greedily, 128 tokens;
each figure is the median over the rounds of the best of five answers. FOLDER receives README.md and tokens.csv.
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
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORY = "Tell a long story about a lighthouse keeper and a storm."
PLAN = "Stock is low in the north warehouse today. " * 18 + " Plan the reordering of these goods."
CASE = re.compile(r"^(.+?)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+(\d+)\s+([\d.]+|-)\s+(-?[\d.]+)$")
LLAMA = """
import json, sys, xllamacpp as x
model, threads = sys.argv[1], int(sys.argv[2])
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.port = model, 2048, 1, 0
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
server = x.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def lumos(model, threads, cache):
    """Case name to (prefill tokens/s, decode tokens/s, share outside of the network in percent)."""
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "lumos-local", "--bench", "generate", "--", model, cache]
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found = (CASE.match(line) for line in done.stdout.splitlines())
    return {
        match[1].strip(): (float(match[5]), None if match[6] == "-" else float(match[6]), float(match[7]))
        for match in found
        if match
    }


def llama_cpp(model, threads):
    """Case name to (prefill tokens/s, decode tokens/s, None)."""
    command = [sys.executable, "-c", LLAMA, model, str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL) as server:
        address = server.stdout.readline().strip()
        figures = {}
        for name, text, tokens in [("greedy", STORY, 128), ("prefill only", PLAN, 1)]:
            answers = [ask(address, text, tokens) for _ in range(6)][1:]
            prefill = max(it["prompt_per_second"] for it in answers)
            decode = max(it["predicted_per_second"] for it in answers) if tokens > 1 else None
            figures[name] = (prefill, decode, None)
        server.stdin.close()
        server.terminate()
    return figures


def ask(address, text, tokens):
    body = {
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "max_tokens": tokens,
        "cache_prompt": False,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"{address}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)["timings"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = os.path.abspath(arguments.model)
    rows, load = [], os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        for round_number in range(1, arguments.rounds + 1):
            for system, figures in [
                ("lumos", lumos(model, arguments.threads, cache)),
                ("llama.cpp", llama_cpp(model, arguments.threads)),
            ]:
                for case, (prefill, decode, outside) in figures.items():
                    rows.append([round_number, system, case, prefill, decode, outside])
                    print(*rows[-1], flush=True)
    with open(arguments.folder / "tokens.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["round", "system", "case", "prefill_tokens_per_s", "decode_tokens_per_s", "outside_percent"])
        writer.writerows(rows)
    (arguments.folder / "README.md").write_text(readme(rows, arguments, load))


def readme(rows, arguments, load):
    def median(system, case, column):
        values = [row[column] for row in rows if row[1] == system and row[2] == case and row[column] is not None]
        return statistics.median(values) if values else None

    def shown(value, digits=0):
        return "—" if value is None else f"{value:.{digits}f}"

    version = subprocess.run(
        [sys.executable, "-m", "pip", "show", "xllamacpp"], capture_output=True, text=True
    ).stdout.split("Version: ")[-1].split("\n")[0]
    lines = [
        "# SmolLM2-135M-Instruct (Q4_1): candle in lumos and llama.cpp, same file, same machine",
        "",
        f"{cpu()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}; xllamacpp {version}, candle 0.11.1.",
        f"{arguments.threads} threads each; load average {load:.1f} before. Medians of {arguments.rounds} rounds, in turn, each the",
        "best of five answers. lumos requantizes the tensors for which candle has no SIMD dot product (Q4_1, Q5_0) to Q8_0.",
        "",
        "    python3 benches/local/run.py benches/runs/DATE-local MODEL.gguf",
        "",
        "| case | lumos prefill t/s | llama.cpp | ratio | lumos decode t/s | llama.cpp | ratio | outside candle |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in dict.fromkeys(row[2] for row in rows):
        cells = []
        for column in (3, 4):
            ours, theirs = median("lumos", case, column), median("llama.cpp", case, column)
            ratio = f"{ours / theirs:.2f}" if ours and theirs else "—"
            cells += [shown(ours, column - 3), shown(theirs, column - 3), ratio]
        outside = median("lumos", case, 5)
        lines.append(f"| {case} | {' | '.join(cells)} | {shown(outside, 1)} % |")
    lines += [
        "",
        "`outside candle` is the share of an answer's time that is not spent in the network: template, tokenizer, sampling,",
        "masks of the constraint, text. `sampled`: temperature 0.8, top-p 0.95, repetition penalty 1.1.",
        "",
    ]
    return "\n".join(lines)


def cpu():
    text = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else platform.processor()


if __name__ == "__main__":
    main()
