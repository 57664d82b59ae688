"""LiteLLM's Python SDK, measured as `src/main.rs` measures the others: `python litellm_bench.py URL`."""

import asyncio
import sys
import time

import litellm

WARM_UP, ONE_BY_ONE, IN_FLIGHT, TOGETHER_FOR = 20, 300, 32, 3.0


async def call(url):
    stream = await litellm.acompletion(
        model="openai/m",
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


async def main(url):
    for _ in range(WARM_UP):
        await call(url)
    latencies = []
    for _ in range(ONE_BY_ONE):
        start = time.perf_counter()
        await call(url)
        latencies.append((time.perf_counter() - start) * 1e6)
    latencies.sort()
    start = time.perf_counter()

    async def repeat():
        calls = 0
        while time.perf_counter() - start < TOGETHER_FOR:
            await call(url)
            calls += 1
        return calls

    calls = sum(await asyncio.gather(*[repeat() for _ in range(IN_FLIGHT)]))
    per_second = calls / (time.perf_counter() - start)
    print(f"{latencies[len(latencies) // 2]:.1f} {latencies[int(len(latencies) * 0.99)]:.1f} {per_second:.0f}")


asyncio.run(main(sys.argv[1]))
