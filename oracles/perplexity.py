"""Perplexity of a public-domain text against llama.cpp's, on the same file and context: within 0.3 %.

usage: perplexity.py MODEL..
"""

import re
import sys

from programs import ROOT, ballast, peer, run, run_json
from report import Report

TEXT = ROOT / "oracles/data/alice.txt"
CONTEXT_LEN = 512
RELATIVE_ERROR_MAX = 0.003


def theirs(model):
    # Flash attention off and f16 KV: the arithmetic that ours is compared with elsewhere too.
    out, err = run(peer("llama-perplexity"), "-m", model, "-f", TEXT, "-c", CONTEXT_LEN, "-b", CONTEXT_LEN, "-fa", "off")
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", out + err)
    if not found:
        raise RuntimeError("llama-perplexity printed no final estimate")
    return float(found[1])


def compare(model):
    ours = run_json(ballast(), "perplexity", model, "--file", TEXT, "--context", CONTEXT_LEN, "--json")["perplexity"]
    peers = theirs(model)
    error = abs(ours - peers) / peers
    print(f"{model}: ours {ours:.4f}, llama.cpp {peers:.4f}, relative difference {error:.5f}")
    return f"more than {RELATIVE_ERROR_MAX} apart" if error > RELATIVE_ERROR_MAX else None


def main():
    report = Report()
    models = sys.argv[1:]
    if not models:
        report.skipped("perplexity", "no model files were given")
    elif ballast() is None:
        report.skipped("perplexity", "there is no ballast program; set BALLAST")
    elif peer("llama-perplexity") is None:
        report.skipped("perplexity", "there is no llama-perplexity; set BALLAST_LLAMA_BIN")
    else:
        for model in models:
            try:
                fault = compare(model)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                fault = str(error)
            report.check(model, fault)
    report.end()


if __name__ == "__main__":
    main()
