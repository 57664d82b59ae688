"""Retrieval on the tau2 banking documents: lumos's BM25, dense and hybrid beside rank_bm25 and bm25s, on the same data.

698 documents, 97 tasks with 949 labels (inspect-evals, MIT). A task's query is what the customer is told of their situation,
as it is; what should be found are the task's required documents. Lumos's figures come from `lumos eval`, with its intervals;
the peers' rankings are scored by the same definitions here, and lumos's rankings are scored here once more as a check.
"""

import argparse
import csv
import gzip
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

K = 10
BANKING = "tau2/data/domains/banking_knowledge"


def load():
    """Documents as id -> text, tasks as (id, query, wanted ids)."""
    folder = Path(find_spec("inspect_evals").submodule_search_locations[0]) / BANKING
    with gzip.open(folder / "documents.json.gz", "rt") as file:
        documents = {it["id"]: f"# {it['title']}\n\n{it['content']}\n" for it in json.load(file)}
    tasks = []
    for it in json.loads((folder / "tasks.json").read_text()):
        tasks.append((it["id"], it["user_scenario"]["instructions"], list(dict.fromkeys(it["required_documents"]))))
    return documents, tasks


def recall(found, wanted):
    return len(set(found[:K]) & set(wanted)) / len(wanted)


def ndcg(found, wanted):
    gain = sum(1 / math.log2(place + 2) for place, it in enumerate(found[:K]) if it in wanted)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(K, len(wanted))))


def words(text):
    return re.findall(r"\w+", text.lower())


def rank_bm25(documents, tasks, tokens):
    from rank_bm25 import BM25Okapi

    index = BM25Okapi([tokens(text) for text in documents.values()])
    names = list(documents)
    rankings = []
    for _, query, _ in tasks:
        scores = index.get_scores(tokens(query))
        rankings.append([names[at] for at in sorted(range(len(names)), key=lambda at: (-scores[at], at))[:K]])
    return rankings


def bm25s(documents, tasks, stemmer):
    import bm25s as peer

    index = peer.BM25()
    index.index(peer.tokenize(list(documents.values()), stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    queries = peer.tokenize([query for _, query, _ in tasks], stopwords="en", stemmer=stemmer, show_progress=False)
    found, _ = index.retrieve(queries, k=K, show_progress=False)
    names = list(documents)
    return [[names[at] for at in row] for row in found]


def lumos(binary, documents, tasks, mode, embedder, chars, more=""):
    """Rankings, and the document of `lumos eval`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ("documents", "agents", "deployments"):
            (folder / name).mkdir()
        for name, text in documents.items():
            (folder / "documents" / f"{name}.md").write_text(text)
        (folder / "agents/bank.ron").write_text(
            f'Retriever(model: "embedder", sources: ["../documents"], chunk: (max_chars: {chars}), mode: {mode}{more})'
        )
        (folder / "deployments/local.ron").write_text(
            f'Deployment(name: "local", backends: {{ "embedder": Local(model: "{embedder}") }}, bind: {{ "embedder": "embedder" }})'
        )
        (folder / "find.ron").write_text(
            'Workflow(name: "find", inputs: { "query": Text(required: true) }, nodes: { "find": Retriever(agent: "bank", '
            'query: "{{ inputs.query }}", top_k: 100) }, output: "{{ find.passages | map(attribute=\'source\') | list }}")'
        )
        rows = [{"id": id, "inputs": {"query": query}, "expected": [f"{it}.md" for it in wanted]} for id, query, wanted in tasks]
        (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [binary, "eval", "find.ron", "--dataset", "d.jsonl", "-s", f"recall_at({K})", "-s", f"ndcg({K})", "--format", "json"]
        begun = time.monotonic()
        output = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if output.returncode != 0:
            sys.exit(output.stdout + output.stderr)
        document = json.loads(output.stdout)
        document["wall_s"] = time.monotonic() - begun
    rankings = []
    for outcome in document["outcomes"]:
        distinct = list(dict.fromkeys(it.removesuffix(".md") for it in outcome["output"]))
        rankings.append(distinct[:K])
    return rankings, document


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that results are written to")
    parser.add_argument("--lumos", default="target/release/lumos")
    parser.add_argument("--embedder", action="append", help="an asset; can be given several times")
    parser.add_argument("--chars", type=int, action="append", help="most characters of a passage; can be given several times")
    arguments = parser.parse_args()
    documents, tasks = load()
    labels = sum(len(wanted) for _, _, wanted in tasks)
    print(f"{len(documents)} documents, {len(tasks)} tasks, {labels} labels")
    binary = os.path.abspath(arguments.lumos)
    rows = []

    def note(what, setting, rankings, document=None):
        scores = [(recall(found, wanted), ndcg(found, wanted)) for found, (_, _, wanted) in zip(rankings, tasks)]
        r, n = (sum(column) / len(tasks) for column in zip(*scores))
        row = {"what": what, "setting": setting, "recall_at_10": f"{r:.4f}", "ndcg_10": f"{n:.4f}"}
        # Halves of the tasks, so that a setting can be chosen by one and looked at in the other.
        for half in (0, 1):
            part = scores[half::2]
            row[f"ndcg_10_half_{half + 1}"] = f"{sum(it[1] for it in part) / len(part):.4f}"
        if document:
            for name, key in (("recall_at_10", f"recall_at({K})"), ("ndcg_10", f"ndcg({K})")):
                mean = document["scores"][key]
                assert abs(mean["value"] - float(row[name])) < 6e-5, (mean, row)
                row[f"{name}_95"] = f"{mean['low']:.4f} to {mean['high']:.4f}"
        rows.append(row)
        print(row, flush=True)

    note("rank_bm25 " + version("rank-bm25"), "words between spaces (its README)", rank_bm25(documents, tasks, lambda text: text.lower().split()))
    note("rank_bm25 " + version("rank-bm25"), "words by \\w+", rank_bm25(documents, tasks, words))
    note("bm25s " + version("bm25s"), "English stop words", bm25s(documents, tasks, None))
    import Stemmer

    note("bm25s " + version("bm25s"), "English stop words, Snowball stemmer", bm25s(documents, tasks, Stemmer.Stemmer("english")))
    for chars in arguments.chars or [1000000]:
        passages = "a passage per document" if chars >= 1000000 else f"passages of {chars} characters"
        rankings, document = lumos(binary, documents, tasks, "Bm25", "potion-base-8m", chars)
        note("lumos BM25", passages, rankings, document)
        for embedder in arguments.embedder or ["potion-base-8m"]:
            rankings, document = lumos(binary, documents, tasks, "Dense", embedder, chars)
            note("lumos dense", f"{passages}, {embedder}", rankings, document)
            weights = [f"bm25_weight: {weight}" for weight in (0.5, 0.6, 0.7, 0.8, 0.9)]
            for fusion in ("", "rrf_k: 60", *weights):
                more = fusion and f", {fusion}"
                rankings, document = lumos(binary, documents, tasks, "Hybrid", embedder, chars, more)
                note("lumos hybrid", f"{passages}, {embedder}, {fusion or 'as it comes'}", rankings, document)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "retrieval.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["what", "setting", "recall_at_10", "recall_at_10_95", "ndcg_10", "ndcg_10_95", "ndcg_10_half_1", "ndcg_10_half_2"])
        writer.writeheader()
        writer.writerows(rows)


main()
