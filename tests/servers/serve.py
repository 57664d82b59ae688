#!/usr/bin/env python3
"""Starts the servers that backends are tested against, and ends them when standard input is closed.

A llama.cpp server over a GGUF file, another one of the same model that embeds, and LiteLLM in front of the first,
which speaks OpenAI's, Anthropic's and Gemini's protocols. They come from PyPI into an environment below `--cache`.
Prints one line of JSON: `{"llama": URL, "embedder": URL, "litellm": URL, "key": KEY}`. What the servers say is in
`llama.log`, `embedder.log` and `litellm.log` in the same folder.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import venv

HERE = pathlib.Path(__file__).resolve()
REQUIREMENTS = HERE.parent / "requirements.txt"
MODEL = "smollm2"


def environment(cache, requirements=REQUIREMENTS, name="servers"):
    """The Python of an environment with the requirements; made once per version of them and of Python."""
    wanted = requirements.read_bytes() + sys.version.encode()
    folder = cache / f"{name}-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            venv.create(folder, clear=True, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
            subprocess.run(install, check=True, stdout=sys.stderr)
            (folder / "complete").touch()
    return python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def llama(model, port, embeds, threads, context):
    """Serves `model` in this process until it is killed."""
    from xllamacpp import CommonParams, Server, llama_pooling_type

    params = CommonParams()
    params.model.path = model
    params.port = port
    params.n_parallel = 4
    # Divided among the slots.
    params.n_ctx = params.n_parallel * context
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.warmup = False
    if embeds:
        params.embedding = True
        params.pooling_type = llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = Server(params)
    signal.pause()
    del server


def wait(name, url, child, limit):
    """Until `url` answers; an exit of `child` or `limit` seconds end the wait."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + limit
    while True:
        try:
            with opener.open(url, timeout=2):
                return
        except OSError as error:
            if child.poll() is not None:
                sys.exit(f"{name} ended with {child.returncode}")
            if time.monotonic() > end:
                sys.exit(f"{name} does not answer at {url}: {error}")
            time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GGUF file of a chat model")
    parser.add_argument("--cache", type=pathlib.Path, help="folder for the environment")
    parser.add_argument("--threads", type=int, default=1, help="threads of each llama.cpp server")
    parser.add_argument("--context", type=int, default=512, help="tokens of each slot of a llama.cpp server")
    parser.add_argument("--llama", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--embeds", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.llama:
        llama(arguments.model, arguments.llama, arguments.embeds, arguments.threads, arguments.context)
        return
    if arguments.cache is None:
        parser.error("--cache is missing")

    python = environment(arguments.cache)
    key = f"sk-{secrets.token_hex(24)}"
    ports = {name: free_port() for name in ("llama", "embedder", "litellm")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    config = arguments.cache / f"litellm-{os.getpid()}.yaml"
    # JSON is YAML.
    config.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": MODEL,
                        "litellm_params": {
                            "model": f"openai/{MODEL}",
                            "api_base": f"{urls['llama']}/v1",
                            "api_key": "none",
                        },
                    }
                ],
                "litellm_settings": {"drop_params": True, "num_retries": 0, "telemetry": False},
            }
        )
    )
    variables = {
        **os.environ,
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # Otherwise Anthropic's requests go to OpenAI's newer interface, which has a least number of tokens.
        "LITELLM_USE_CHAT_COMPLETIONS_URL_FOR_ANTHROPIC_MESSAGES": "True",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    children = []

    def start(name, command):
        # What a server says is kept for whoever looks for the cause of a failure.
        log = open(arguments.cache / f"{name}.log", "wb")
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        children.append(child)
        return child

    # A signal ends the children as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        own = [python, HERE, "--model", arguments.model, "--threads", str(arguments.threads)]
        first = start("llama", [*own, "--llama", str(ports["llama"])])
        second = start("embedder", [*own, "--llama", str(ports["embedder"]), "--embeds"])
        command = [python.parent / "litellm", "--config", config, "--host", "127.0.0.1"]
        third = start("litellm", [*command, "--port", str(ports["litellm"])])
        wait("the llama.cpp server", f"{urls['llama']}/health", first, 120)
        wait("the embedding llama.cpp server", f"{urls['embedder']}/health", second, 120)
        wait("LiteLLM", f"{urls['litellm']}/health/liveliness", third, 180)
        print(json.dumps({**urls, "key": key}), flush=True)
        sys.stdin.read()
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.wait()
        config.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
