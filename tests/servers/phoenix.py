#!/usr/bin/env python3
"""Starts Arize Phoenix, a receiver of OpenTelemetry traces, and ends it when standard input is closed.

It comes from PyPI into an environment below `--cache`. Prints one line of JSON: `{"http": URL, "grpc": URL}`. What it
says is in `phoenix.log` in the same folder.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from serve import HERE, environment, free_port, wait


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder for the environment")
    arguments = parser.parse_args()
    python = environment(arguments.cache, HERE.parent / "phoenix.txt", "phoenix")
    http, grpc = free_port(), free_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as folder, open(arguments.cache / "phoenix.log", "wb") as log:
        variables = {
            **os.environ,
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(http),
            "PHOENIX_GRPC_PORT": str(grpc),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        command = [python.parent / "phoenix", "serve"]
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait("Phoenix", f"http://127.0.0.1:{http}/healthz", child, 180)
            print(json.dumps({"http": f"http://127.0.0.1:{http}", "grpc": f"http://127.0.0.1:{grpc}"}), flush=True)
            sys.stdin.read()
        finally:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
