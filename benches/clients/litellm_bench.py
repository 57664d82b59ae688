"""LiteLLM's Python SDK, measured as `src/main.rs` measures the others: `python litellm_bench.py FAULTS QUICK`."""

import asyncio
import sys
import time

import litellm

WARM_UP, ONE_BY_ONE, IN_FLIGHT, TOGETHER_FOR = 20, 300, 32, 2.0
# One whose price LiteLLM knows: for another it looks in vain at each call, which takes it a tenth longer.
MODEL = "openai/gpt-4o-mini"


async def call(url):
    stream = await litellm.acompletion(
        model=MODEL,
        api_base=f"{url}/v1",
        api_key="sk-not-a-key",
        messages=[{"role": "user", "content": "What is the lead time of the dairy before the holidays?"}],
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
    )
    usage = None
    async for chunk in stream:
        usage = getattr(chunk, "usage", None) or usage
    assert usage.completion_tokens == 32, usage


async def together(url):
    start, processor = time.perf_counter(), time.process_time()

    async def repeat():
        calls = 0
        while time.perf_counter() - start < TOGETHER_FOR:
            await call(url)
            calls += 1
        return calls

    calls = sum(await asyncio.gather(*[repeat() for _ in range(IN_FLIGHT)]))
    return calls / (time.perf_counter() - start), (time.process_time() - processor) * 1e6 / calls


async def main(faults, quick):
    for _ in range(WARM_UP):
        await call(faults)
    latencies = []
    for _ in range(ONE_BY_ONE):
        start = time.perf_counter()
        await call(faults)
        latencies.append((time.perf_counter() - start) * 1e6)
    latencies.sort()
    figures = [latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)], *await together(faults)]
    for _ in range(WARM_UP):
        await call(quick)
    print(*[f"{figure:.1f}" for figure in [*figures, *await together(quick)]])


asyncio.run(main(*sys.argv[1:]))
