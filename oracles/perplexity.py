"""Perplexity of a public-domain text against llama.cpp's, on the same file and context: within 0.3 %.

Both round activations to int8 for quantised weights, and each errs in its own way. Where the two are further apart,
llama.cpp computes the same weights widened to f32, without that rounding; ours passes if it is nearer to that figure
than llama.cpp's own.

usage: perplexity.py MODEL..
"""

import re
import sys
import tempfile
from pathlib import Path

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
    if error <= RELATIVE_ERROR_MAX:
        return None
    exact = without_rounding(model)
    if exact is None:
        return f"more than {RELATIVE_ERROR_MAX} apart, and there is no llama-quantize to judge"
    print(f"rounding: {model}: without it {exact:.4f}; ours is {ours - exact:+.4f} off, llama.cpp {peers - exact:+.4f}")
    nearer = abs(ours - exact) < abs(peers - exact)
    return None if nearer else f"more than {RELATIVE_ERROR_MAX} apart, and further from the figure without rounding"


def without_rounding(model):
    """llama.cpp's perplexity for the same weights, widened to f32 so that no activation is rounded to int8."""
    quantize = peer("llama-quantize")
    if quantize is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        wide = Path(folder) / "wide.gguf"
        run(quantize, "--allow-requantize", model, wide, "F32")
        return theirs(wide)


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
