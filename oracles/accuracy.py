"""How far quantised arithmetic is from the same weights without it, ours beside llama.cpp's.

Both round activations to int8 and so differ from each other in the first digits that matter; neither is the truth. The
truth is taken from the file's weights widened to f32, where nothing is rounded to int8. Over a public-domain text, the
log probabilities of llama.cpp's likeliest tokens are compared with it: the root mean square error of ours may be at
most 1.15 times llama.cpp's.

usage: accuracy.py MODEL..
"""

import math
import sys
import tempfile
from pathlib import Path

from programs import ROOT, ballast, call, peer, run, run_json, serving_peer
from report import Report

TEXT = (ROOT / "oracles/data/alice.txt").read_text()[3000:4200]
N_TOKENS = 240
# A place every few tokens, after enough of them to have something to say.
PLACES = range(20, N_TOKENS, 6)
N_CANDIDATES = 30
ERROR_RATIO_MAX = 1.15


def log_softmax(row):
    top = max(row)
    total = math.log(sum(math.exp(value - top) for value in row))
    return [value - top - total for value in row]


def ours(model, tokens):
    """Log probabilities of every token after each of PLACES."""
    ids = ",".join(map(str, tokens))
    rows = run_json(ballast(), "logits", model, "--ids", ids, "--all", "--json")["logits"]
    return {place: log_softmax(rows[place - 1]) for place in PLACES}


def peers(model, tokens):
    """Log probabilities of the likeliest tokens after each of PLACES."""
    found = {}
    with serving_peer(model) as url:
        for place in PLACES:
            body = {"prompt": tokens[:place], "n_predict": 1, "temperature": 0, "n_probs": N_CANDIDATES, "cache_prompt": False}
            step = call(f"{url}/completion", body)["completion_probabilities"][0]
            found[place] = {candidate["id"]: candidate["logprob"] for candidate in step["top_logprobs"]}
    return found


def rms(errors):
    return math.sqrt(sum(error * error for error in errors) / len(errors))


def compare(model):
    tokens = run_json(ballast(), "tokenize", model, "--json", TEXT)[:N_TOKENS]
    mine, theirs = ours(model, tokens), peers(model, tokens)
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide.gguf"
        run(peer("llama-quantize"), "--allow-requantize", model, wide, "F32")
        exact = ours(wide, tokens)
        exact_of_peer = peers(wide, tokens)
    cells = [(place, token) for place in PLACES for token in theirs[place]]
    my_error = rms([mine[place][token] - exact[place][token] for place, token in cells])
    their_error = rms([theirs[place][token] - exact[place][token] for place, token in cells])
    both = [(place, token) for place in PLACES for token in exact_of_peer[place]]
    apart = rms([exact[place][token] - exact_of_peer[place][token] for place, token in both])
    print(f"{model}: off by {my_error:.4f}, llama.cpp by {their_error:.4f}; without int8 the two are {apart:.5f} apart")
    if apart > 0.01:
        return "without int8 the two should agree within 0.01"
    return f"more than {ERROR_RATIO_MAX} times llama.cpp's error" if my_error > ERROR_RATIO_MAX * their_error else None


def main():
    report = Report()
    if len(sys.argv) < 2:
        report.skipped("accuracy", "no model files were given")
    elif ballast() is None:
        report.skipped("accuracy", "there is no ballast program; set BALLAST")
    elif peer("llama-server") is None or peer("llama-quantize") is None:
        report.skipped("accuracy", "there is no llama-server with llama-quantize; set BALLAST_LLAMA_BIN")
    else:
        for model in sys.argv[1:]:
            try:
                fault = compare(model)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                fault = f"{type(error).__name__}: {error}"
            report.check(model, fault)
    report.end()


if __name__ == "__main__":
    main()
