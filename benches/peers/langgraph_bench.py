"""Measures LangGraph: `langgraph_bench.py SYSTEM MEASURE` prints one figure.

Systems: `langgraph`, `langgraph-sqlite`. Measures: `chain`, `fan`, `layered`, `columns` (microseconds per node),
`diamond` (runs per second), `memory` (bytes per run in flight); of `langgraph-sqlite`, `durable-chain` (microseconds per
step), `durable` (runs per second), `size` (bytes on disk per step beyond the inputs).
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

RUNS = 10_000
DURABLE_RUNS = 200
INPUT_BYTES = 1 << 20
READERS = 50
SIZED_RUNS = 4
BUDGET_S = 1.5


class Nothing(TypedDict, total=False):
    value: int


def shape(name):
    """Names, and for each node the positions of what it depends on."""
    if name == "chain":
        dependencies = [[node - 1] if node else [] for node in range(100)]
    elif name == "fan":
        dependencies = [[]] + [[0]] * 100 + [list(range(1, 101))]
    elif name == "layered":
        dependencies = [
            list(range((node // 10 - 1) * 10, node // 10 * 10)) if node >= 10 else [] for node in range(100)
        ]
    elif name == "columns":
        dependencies = [[node - 10] if node >= 10 else [] for node in range(100)]
    elif name == "diamond":
        return ["guard", "retrieve", "plan", "generate", "release"], [[], [0], [0], [1, 2], [3]]
    else:
        sys.exit(f"there is no measure `{name}`")
    return [f"n{node}" for node in range(len(dependencies))], dependencies


def build(name, gate=None, checkpointer=None):
    names, dependencies = shape(name)
    graph = StateGraph(Nothing)

    async def nothing(state):
        return {}

    async def wait(state):
        gate["arrived"] += 1
        if gate["arrived"] >= gate["expected"]:
            gate["all"].set()
        await gate["open"].wait()
        return {}

    for node in names:
        graph.add_node(node, wait if gate and node == "generate" else nothing)
    waited_for = {before for befores in dependencies for before in befores}
    for node, befores in enumerate(dependencies):
        if not befores:
            graph.add_edge(START, names[node])
        elif len(befores) == 1:
            graph.add_edge(names[befores[0]], names[node])
        else:
            graph.add_edge([names[before] for before in befores], names[node])
        if node not in waited_for:
            graph.add_edge(names[node], END)
    return graph.compile(checkpointer=checkpointer), len(names)


def config(thread):
    return {"recursion_limit": 1_000, "configurable": {"thread_id": str(thread)}}


async def us_per_node(name):
    graph, nodes = build(name)
    samples, start = [], time.perf_counter()
    while len(samples) < 5 or time.perf_counter() - start < BUDGET_S:
        before = time.perf_counter()
        await graph.ainvoke({"value": 0}, config(0))
        samples.append((time.perf_counter() - before) * 1e6 / nodes)
    return statistics.median(samples)


async def runs_per_second():
    graph, _ = build("diamond")
    before = time.perf_counter()
    await asyncio.gather(*(graph.ainvoke({"value": 0}, config(run)) for run in range(RUNS)))
    return RUNS / (time.perf_counter() - before)


async def durable_us_per_step():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        async with AsyncSqliteSaver.from_conn_string(os.path.join(folder, "langgraph.db")) as saver:
            graph, nodes = build("chain", checkpointer=saver)
            samples = []
            # The first ones let SQLite's log grow.
            while len(samples) < 10:
                before = time.perf_counter()
                await graph.ainvoke({"value": 0}, config(len(samples)))
                samples.append((time.perf_counter() - before) * 1e6 / nodes)
            return statistics.median(samples[5:])


class Reading(TypedDict, total=False):
    value: dict
    text: str


async def bytes_per_step():
    async def read(state):
        assert state["text"]
        return {"value": {"n": 5}}

    graph = StateGraph(Reading)
    for node in range(READERS):
        graph.add_node(f"n{node}", read)
        graph.add_edge(f"n{node - 1}" if node else START, f"n{node}")
    graph.add_edge(f"n{READERS - 1}", END)
    letters = random.Random(1)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        async with AsyncSqliteSaver.from_conn_string(os.path.join(folder, "langgraph.db")) as saver:
            compiled = graph.compile(checkpointer=saver)
            for run in range(SIZED_RUNS):
                text = "".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=INPUT_BYTES))
                await compiled.ainvoke({"text": text}, config(run))
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
    return (size - SIZED_RUNS * INPUT_BYTES) / (SIZED_RUNS * READERS)


async def durable_runs_per_second():
    with tempfile.TemporaryDirectory(dir=".") as folder:
        async with AsyncSqliteSaver.from_conn_string(os.path.join(folder, "langgraph.db")) as saver:
            graph, _ = build("diamond", checkpointer=saver)
            before = time.perf_counter()
            await asyncio.gather(*(graph.ainvoke({"value": 0}, config(run)) for run in range(DURABLE_RUNS)))
            return DURABLE_RUNS / (time.perf_counter() - before)


async def bytes_per_run():
    gate = {"arrived": 0, "expected": 1, "all": asyncio.Event(), "open": asyncio.Event()}
    graph, _ = build("diamond", gate)
    warm = asyncio.create_task(graph.ainvoke({"value": 0}, config("warm")))
    await gate["all"].wait()
    gate["all"].clear()
    gate["expected"] = RUNS + 1
    before = resident_bytes()
    tasks = [asyncio.create_task(graph.ainvoke({"value": 0}, config(run))) for run in range(RUNS)]
    await gate["all"].wait()
    after = resident_bytes()
    gate["open"].set()
    await asyncio.gather(warm, *tasks)
    return (after - before) / RUNS


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
    system, measure = sys.argv[1:]
    if system == "langgraph-sqlite":
        durable = {"durable-chain": durable_us_per_step, "durable": durable_runs_per_second, "size": bytes_per_step}
        figure = durable[measure]()
    elif measure == "diamond":
        figure = runs_per_second()
    elif measure == "memory":
        figure = bytes_per_run()
    else:
        figure = us_per_node(measure)
    print(asyncio.run(figure))


main()
