#!/usr/bin/env python3
"""Runs every SQL query of a Markdown page on a database that is only read, and prints `[[row, …], …]` as JSON."""

import json
import re
import sqlite3
import sys

database, page = sys.argv[1:]
connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
with open(page, encoding="utf-8") as file:
    queries = re.findall(r"^```sql\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
print(json.dumps([connection.execute(query).fetchall() for query in queries]))
