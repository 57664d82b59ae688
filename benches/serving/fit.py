"""Fits the coefficients of catalog/hardware/{a100,h100,h200}-sxm.ron to kernel tables.

    python -m venv venv && venv/bin/pip install numpy scipy pandas pyarrow
    venv/bin/python benches/serving/fit.py --data DIR --out catalog/hardware

DIR holds `kernels/{a100,h100,h200}_sxm/*.parquet` and `systems.json`, as AIConfigurator publishes them (see README.md).
Times in here are microseconds. The forms are those of crates/sim/src/profile/kernel.rs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

SOURCE = (
    "fitted by benches/serving/fit.py to the kernel tables of NVIDIA AIConfigurator"
    " (github.com/ai-dynamo/aiconfigurator, Apache-2.0, commit 095f58a5 of 2026-08-21; {version})"
)
AS_OF = "2026-11-27"
# Rows of a GEMM at which the correction is tabulated.
NODES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
SYSTEMS = {
    "a100_sxm": dict(
        name="a100-sxm", aliases=["a100", "a100-80gb"], version="vLLM 0.14.0, NCCL 2.27.3",
        # Total memory as the driver tells it, MiB.
        memory_mib=81920,
    ),
    "h100_sxm": dict(name="h100-sxm", aliases=["h100"], version="vLLM 0.24.0, NCCL 2.29.2", memory_mib=81559),
    "h200_sxm": dict(name="h200-sxm", aliases=["h200"], version="vLLM 0.24.0, NCCL 2.29.2", memory_mib=143771),
}


def fit(form, start, latency, least=None):
    """Positive parameters of `form` with the least relative error, and each row's signed log error."""

    def residual(p):
        return np.log(form(np.exp(p)) / latency)

    lower = np.full(len(start), -12.0) if least is None else np.log(least)
    starts = [np.log(start), np.log(start) * 0.5, np.log(start) + 0.5]
    found = min(
        (least_squares(residual, np.maximum(at, lower + 1e-6), loss="soft_l1", f_scale=0.1, bounds=(lower, 14)) for at in starts),
        key=lambda it: it.cost,
    )
    p = np.exp(found.x)
    return p, np.log(form(p) / latency)


def error(log_errors):
    e = np.abs(np.expm1(log_errors)) * 100
    return f"(mean_pct: {e.mean():.1f}, median_pct: {np.median(e):.1f}, rows: {len(e)})"


def number(x):
    return f"{x:.4g}"


def numbers(names, values):
    return ", ".join(f"{name}: {float(f'{value:.4g}')}" for name, value in zip(names, values))


def gemm(table, bandwidth, flops, kind):
    width = 2 if kind == "bfloat16" else 1
    x = table[(table.gemm_dtype == kind) & (table.n >= 512) & (table.k >= 512) & (table.m <= 16384)]
    if kind == "fp8_block":
        # Its rows were timed without CUDA graphs: below this size they are the host's time, not the kernel's.
        x = x[x.m * x.n * x.k > 1.2e11]
    m, n, k = (x[c].to_numpy(float) for c in ("m", "n", "k"))
    latency = x.latency.to_numpy() * 1e3

    def form(p):
        fixed, per_k, memory, compute, rows, n_half, k_half, power = p
        t_memory = memory * (n * k * width + m * k * width + 2 * m * n) / bandwidth * 1e6
        t_compute = compute * 2 * (m**4 + rows**4) ** 0.25 * (n + n_half) * (k + k_half) / flops * 1e6
        return fixed + per_k * k / 1024 + (t_memory**power + t_compute**power) ** (1 / power)

    p, errors = fit(form, [3, 0.3, 1.2, 1.4, 50, 50, 50, 3], latency)
    node = np.abs(np.log2(m)[:, None] - np.log2(NODES)[None, :]).argmin(1)
    correction = [float(np.median(-errors[node == i])) if (node == i).sum() > 20 else 0.0 for i in range(len(NODES))]
    errors = errors + np.interp(np.log2(m), np.log2(NODES), correction)
    table = ", ".join(f"{np.exp(c):.3f}" for c in correction)
    names = ["fixed_us", "per_k_us", "memory", "compute", "rows", "n_half", "k_half", "power"]
    return f"({numbers(names, p)}, correction: [{table}], error: {error(errors)})"


def prefill(table, head_dim, kv):
    x = table[(table.head_dim == head_dim) & (table.kv_cache_dtype == kv) & (table.num_heads >= 4)]
    if "window_size" in x:
        x = x[x.window_size == 0]
    x = x[(x.batch_size * x.isl >= 256) & (x.batch_size * x.isl <= 32768)]
    tokens = (x.batch_size * x.isl).to_numpy(float)
    work = x.num_heads.to_numpy(float) * head_dim
    pairs = x.batch_size.to_numpy(float) * x.isl * (x.isl + 1) / 2
    cache = x.num_key_value_heads.to_numpy(float) * head_dim
    latency = x.latency.to_numpy() * 1e3

    def form(p):
        fixed, per_token, per_cached, per_pair = p
        return fixed + (per_token * tokens * work + per_cached * tokens * cache + per_pair * pairs * work) * 1e-6

    p, errors = fit(form, [14, 2, 1, 0.01], latency)
    return f"({numbers(['fixed_us', 'per_token_ps', 'per_cached_ps', 'per_pair_ps'], p)}, error: {error(errors)})"


def decode(table, head_dim, kv, bandwidth):
    x = table[(table.head_dim == head_dim) & (table.kv_cache_dtype == kv) & (table.num_heads >= 4)]
    if "window_size" in x:
        x = x[x.window_size == 0]
    length = x.step + x.isl
    x = x[(length >= 128) & (length <= 32768) & (x.batch_size <= 512)]
    length = (x.step + x.isl).to_numpy(float)
    batch = x.batch_size.to_numpy(float)
    heads = x.num_heads.to_numpy(float) * head_dim
    cache = x.num_key_value_heads.to_numpy(float) * head_dim
    width = 1 if kv == "fp8" else 2
    latency = x.latency.to_numpy() * 1e3

    def form(p):
        fixed, per_head, per_kv_head, memory = p
        read = 2 * batch * length * cache * width / bandwidth * 1e6
        return fixed + (per_head * batch * heads + per_kv_head * batch * cache) * 1e-6 + memory * read

    p, errors = fit(form, [11, 1, 10, 1.1], latency)
    return f"({numbers(['fixed_us', 'per_head_ps', 'per_kv_head_ps', 'memory'], p)}, error: {error(errors)})"


# Kernels for experts by name in the catalog: the type, the implementations and the bytes per weight of the rows that they
# are fitted to, and what they compute in. Marlin multiplies 4-bit weights of either kind alike.
EXPERTS = {
    "bf16": ([("bfloat16", ["unquantizedfusedmoe_triton", "fused_moe"], 2.0)], "bf16"),
    "fp8": ([("fp8_block", ["fp8moe_triton", "fp8moe_flashinfer_cutlass"], 1.0)], "fp8"),
    "mxfp4": ([("w4a16_mxfp4", ["gptossmxfp4moe_triton"], 0.53125)], "bf16"),
    "marlin": ([("w4a16_mxfp4", ["marlin"], 0.53125), ("int4_wo", ["marlin"], 0.515625)], "bf16"),
}


def experts(table, name, bandwidth, flops):
    kinds, compute_in = EXPERTS[name]
    parts = []
    for kind, kernels, width in kinds:
        is_kernel = table.kernel_source.str.contains("|".join(kernels))
        parts.append(table[(table.moe_dtype == kind) & is_kernel].assign(width=width))
    x = pd.concat(parts)
    x = x[(x.distribution == "power_law_1.01") & (x.moe_ep_size <= 8) & (x.moe_tp_size <= 8) & (x.num_tokens <= 16384)]
    if x.empty:
        return None
    tokens, hidden, inter, topk, count, width = (
        x[c].to_numpy(float) for c in ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "width")
    )
    inter, local = inter / x.moe_tp_size, count / x.moe_ep_size
    active = local * (1 - (1 - topk / count) ** tokens)
    rows = tokens * topk * local / count
    rate = flops[compute_in]
    latency = x.latency.to_numpy() * 1e3

    def form(p):
        fixed, memory, spread, compute, per_expert, per_row, power = p
        read = active * 3 * hidden * inter * width / bandwidth * 1e6
        t_memory = memory * read + spread * np.sqrt(read)
        t_compute = compute * 6 * hidden * inter * (rows + per_expert * active) / rate * 1e6
        t_rows = per_row * rows * hidden * 1e-6
        return fixed + t_rows + (t_memory**power + t_compute**power) ** (1 / power)

    tiny = 1e-5
    p, errors = fit(form, [20, 1.2, 3, 2, 1, 1, 1.5], latency, [tiny, tiny, tiny, tiny, tiny, tiny, 0.99])
    names = ["fixed_us", "memory", "spread", "compute", "per_expert", "per_row_ps", "power"]
    return f"({numbers(names, p)}, error: {error(errors)})"


def all_reduce(custom, nccl, gpus):
    x = custom[(custom.num_gpus == gpus) & (custom.backend == "vllm_graph")]
    y = nccl[(nccl.num_gpus == gpus) & (nccl.op_name == "all_reduce") & (nccl.nccl_dtype == "half")]
    # The custom kernel up to 8 MiB, NCCL above: the engine's own choice.
    x = x[x.message_size * 2 <= 8 << 20]
    y = y[(y.message_size * 2 > 8 << 20) & (y.message_size * 2 <= 512 << 20)]
    size = np.concatenate([x.message_size, y.message_size]).astype(float) * 2
    latency = np.concatenate([x.latency, y.latency]) * 1e3
    keep = size >= 4096
    size, latency = size[keep], latency[keep]

    def form(p):
        fixed, rate, power = p
        return (fixed**power + (size / rate) ** power) ** (1 / power)

    p, errors = fit(form, [6, 2e5, 1.5], latency)
    return f"(gpus: {gpus}, {numbers(['fixed_us', 'bytes_per_us', 'power'], p)}, error: {error(errors)})"


def hardware(data, system):
    about = SYSTEMS[system]
    rated = json.loads((data / "systems.json").read_text())["systems"][system]
    read = lambda name: pd.read_parquet(data / "kernels" / system / f"{name}_perf.parquet")
    bandwidth = rated["gpu_mem_bw_bytes_per_s"]
    flops = {"bf16": rated["bf16_dense_flops"], "fp8": rated["fp8_dense_flops"]}
    out = [
        f"// {SOURCE.format(version=about['version'])}.",
        "// Do not edit: run benches/serving/fit.py. Errors are of the fit, over the rows of the table it was fitted to.",
        "Hardware(",
        "    version: 1,",
        f"    name: \"{about['name']}\",",
        f"    aliases: {json.dumps(about['aliases'])},",
        "    basis: Fitted,",
        f"    memory_bytes: {about['memory_mib'] << 20},",
        f"    bandwidth: {bandwidth},",
        f"    flops: (bf16: {flops['bf16']}{', fp8: ' + str(flops['fp8']) if flops['fp8'] else ''}),",
        f"    link_bandwidth: {rated['intra_node_bw_bytes_per_s_per_gpu_one_direction']},",
        f"    gpus_per_node: {rated['gpus_per_node']},",
        f"    as_of: \"{AS_OF}\",",
        f"    source: \"{SOURCE.format(version=about['version'])}; rated peaks: NVIDIA's data sheet; memory: as the driver tells it\",",
    ]
    table = read("gemm")
    out.append("    gemm: {")
    for kind, name in [("bfloat16", "Bf16"), ("fp8", "Fp8"), ("fp8_block", "Fp8Block")]:
        if (table.gemm_dtype == kind).any():
            out.append(f"        {name}: {gemm(table, bandwidth, flops['bf16' if kind == 'bfloat16' else 'fp8'], kind)},")
    out.append("    },")
    for title, name, form in [
        ("prefill", "context_attention", prefill),
        ("decode", "generation_attention", lambda t, d, kv: decode(t, d, kv, bandwidth)),
    ]:
        table = read(name)
        out.append(f"    {title}: [")
        for head_dim in [64, 128]:
            for kv, shown in [("bfloat16", "Bf16"), ("fp8", "Fp8")]:
                if ((table.head_dim == head_dim) & (table.kv_cache_dtype == kv)).any():
                    out.append(f"        (head_dim: {head_dim}, kv: {shown}, time: {form(table, head_dim, kv)}),")
        out.append("    ],")
    table = read("moe")
    out.append("    experts: {")
    for name in EXPERTS:
        found = experts(table, name, bandwidth, flops)
        if found:
            out.append(f"        \"{name}\": {found},")
    out.append("    },")
    custom, nccl = read("custom_allreduce"), read("nccl")
    out.append("    all_reduce: [")
    out += [f"        {all_reduce(custom, nccl, gpus)}," for gpus in (2, 4, 8)]
    out += ["    ],", ")"]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("catalog/hardware"))
    options = parser.parse_args()
    for system, about in SYSTEMS.items():
        text = hardware(options.data, system)
        (options.out / f"{about['name']}.ron").write_text(text)
        print(text)


main()
