#!/usr/bin/env python3
"""What each mode of `bench-telemetry` costs: medians of paired ratios with 95 % bootstrap intervals.

    python3 benches/telemetry/ratios.py benches/runs/DATE-telemetry/results.csv
"""

import csv
import random
import statistics
import sys


def interval(ratios):
    draws = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000))
    return f"{statistics.median(ratios):.3f} ({draws[50]:.3f} to {draws[1949]:.3f})"


def main():
    random.seed(1)
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))

    def of(measure, mode, field="value"):
        return [float(row[field]) for row in rows if (row["measure"], row["mode"]) == (measure, mode)]

    none = of("saturated_runs_per_s", "none")
    for mode in ("live", "dead", "silent") if none else ():
        found, left_out = of("saturated_runs_per_s", mode), of("saturated_runs_per_s", mode, "left_out")
        ratios = [one / other for one, other in zip(found, none)]
        print(f"80,000 runs  {mode:6} {statistics.median(found):9,.0f} runs/s, {interval(ratios)} of {statistics.median(none):,.0f}"
              f"; left out {statistics.median(left_out):,.0f}")
    for mode in ("none", "dead", "silent"):
        before, after = of("burst_runs_per_s", f"none before {mode}"), of("burst_runs_per_s", f"{mode} after none")
        ratios = [one / other for one, other in zip(after, before)]
        # Who begins changes from pair to pair, so two of them cancel what that does.
        both = [(one * other) ** 0.5 for one, other in zip(ratios[::2], ratios[1::2])]
        print(f"bursts       {mode:6} {statistics.median(after):9,.0f} runs/s, {interval(both)} of {statistics.median(before):,.0f}")
    for mode in ("none", "live", "dead", "silent"):
        found = of("paced_cpu_us_per_step", mode)
        if found:
            print(f"10 steps/ms  {mode:6} {statistics.median(found):9.1f} µs of a processor per step")


if __name__ == "__main__":
    main()
