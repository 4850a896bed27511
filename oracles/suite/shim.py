#!/usr/bin/env python3
"""Takes the command line that llama.cpp's server tests give a server and runs `ballast serve` with what it means.

Most options go on as they are: our command knows llama.cpp's. Here stands only what those tests mean by them and a
person would not: one number of positions that all slots share, and switches for what is on or off anyway.
"""

import json
import os
import sys

# Switches that say what our server does by itself.
HOLDS = {"--offline", "--no-jinja", "--slots", "--no-ui"}


def ours(words):
    """The command line for `ballast serve`."""
    options, key, n_ctx, n_slots, is_unified = [], None, None, 1, False
    words = iter(words)
    for word in words:
        if word == "--ctx-size":
            n_ctx = int(next(words))
        elif word == "--parallel":
            n_slots = int(next(words))
        elif word == "--kv-unified":
            is_unified = True
        elif word == "--n-predict":
            n_predict = next(words)
            # Below 0 is until the context is full, which is ours without being said.
            options += ["--n-predict", n_predict] if int(n_predict) > 0 else []
        elif word == "--api-key":
            key = next(words)
        elif word == "--verbose":
            # What of it these tests look for.
            options.append("--tell-prompts")
        elif word not in HOLDS:
            options.append(word)
    if "--model" not in options:
        # A router, which would be told of its models later: these tests ask it for none.
        options += ["--model", next(iter(json.loads(os.environ["SUITE_MODELS"]).values()))]
    if key is not None and "--cors-origins" not in options:
        # Without a word about them llama.cpp's server lets the pages of all origins read.
        options += ["--cors-origins", "*"]
    if n_ctx:
        options += ["--ctx-size", str(n_ctx if is_unified else n_ctx // n_slots), "--kv-size", str(n_ctx)]
    # Without a key llama.cpp's server is open to everybody, and it takes any model's name.
    options += ["--no-auth"] if key is None else ["--api-key", key]
    return ["serve", *options, "--any-model", "--parallel", str(n_slots), "--no-compile-cache"]


if __name__ == "__main__":
    program = os.environ["BALLAST"]
    os.execv(program, [program, *ours(sys.argv[1:])])
