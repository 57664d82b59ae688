#!/usr/bin/env python3
"""Reads a Parquet file with DuckDB and with polars, and prints what they find as one line of JSON.

`{"duckdb": {"types": {column: type}, "rows": N, "sums": {column: text}, "nulls": {column: N}}, "polars": …}`. The sums
are of the columns of integers and of money, as decimal text. The readers come from PyPI into an environment below
`--cache`, which is made once.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve()
REQUIREMENTS = HERE.parent / "requirements.txt"


def environment(cache):
    """The Python of an environment with the requirements; made once per version of them and of Python."""
    wanted = REQUIREMENTS.read_bytes() + sys.version.encode()
    folder = cache / f"exports-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "exports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            venv.create(folder, clear=True, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS]
            subprocess.run(install, check=True, stdout=sys.stderr)
            (folder / "complete").touch()
    return python


def summed(types):
    return [name for name, kind in types.items() if kind.upper().startswith(("BIGINT", "INT64", "DECIMAL"))]


def by_duckdb(path):
    import duckdb

    connection = duckdb.connect()
    table = connection.read_parquet(path)
    types = {name: str(kind) for name, kind in zip(table.columns, table.types)}

    def one(expression):
        return table.aggregate(expression).fetchall()[0][0]

    quoted = {name: '"' + name + '"' for name in types}
    sums = {name: one(f"sum({quoted[name]})") for name in summed(types)}
    nulls = {name: one(f"count(*) - count({quoted[name]})") for name in types}
    return {
        "types": types,
        "rows": one("count(*)"),
        "sums": {name: None if total is None else format(total, "f") for name, total in sums.items()},
        "nulls": nulls,
    }


def by_polars(path):
    import polars

    table = polars.read_parquet(path)
    types = {name: str(kind) for name, kind in table.schema.items()}
    known = {name: [value for value in table[name].to_list() if value is not None] for name in summed(types)}
    return {
        "types": types,
        "rows": table.height,
        "sums": {name: format(sum(values), "f") if values else None for name, values in known.items()},
        "nulls": {name: table[name].null_count() for name in types},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--cache", type=pathlib.Path, help="folder for the environment")
    arguments = parser.parse_args()
    if arguments.cache is not None:
        python = environment(arguments.cache)
        os.execv(python, [python, HERE, arguments.file])
    print(json.dumps({"duckdb": by_duckdb(arguments.file), "polars": by_polars(arguments.file)}))


if __name__ == "__main__":
    main()
