#!/usr/bin/env python3
"""Reads a Parquet file with DuckDB and with polars, and prints what they find as one line of JSON.

`{"duckdb": {"types": {column: type}, "rows": N, "sums": {column: text}, "nulls": {column: N}}, "polars": …}`. The sums
are of the columns of integers and of money, as decimal text. The readers come from PyPI into an environment below
`--cache`, which is made once.
"""

import argparse
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / "servers"))

from serve import environment  # noqa: E402

REQUIREMENTS = HERE.parent / "requirements.txt"


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
        python = environment(arguments.cache, REQUIREMENTS, "exports")
        os.execv(python, [python, HERE, arguments.file])
    print(json.dumps({"duckdb": by_duckdb(arguments.file), "polars": by_polars(arguments.file)}))


if __name__ == "__main__":
    main()
