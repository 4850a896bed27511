"""Greedy text against llama.cpp's, token for token: 10 prompts, 128 tokens each, for every model file given.

Two implementations round differently, so two tokens whose logits nearly tie may swap. Where the tokens part, the gap
between the two candidates is read from the peer's log probabilities. A gap under 1e-2 is reported and accepted, and
the comparison goes on from our token; a larger one fails.

Where activations are quantised, a difference in the last bit of one sum moves some int8 value by one step, that moves
others in the next layer, and after a few layers two implementations differ by the whole quantisation error: llama.cpp
with flash attention and without says the same on 2 of these 10 prompts for Q4_1. --rounding measures that: the change
of the gap between the peer's first two candidates when it turns flash attention on, as a root mean square over 60
places. A gap under four times that is then reported and accepted as well.

usage: greedy.py [--rounding] MODEL..
"""

import math
import sys

from programs import ballast, call, peer, run_json, serving_peer
from report import Report

N_TOKENS = 128
GAP_MAX = 1e-2
N_CANDIDATES = 20
ROUNDINGS_MAX = 4
# Tokens into the text where the peer is compared with itself.
CUTS = (0, 16, 32, 48, 64, 96)

PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a village at the edge of a forest,",
    "def fibonacci(n):\n",
    "Water boils at a lower temperature on a mountain because",
    "The three primary colours are",
    "Q: What is 17 times 23?\nA:",
    "Dear Sir or Madam,\n\nI am writing to you because",
    "The history of the steam engine begins",
    "1, 1, 2, 3, 5, 8,",
    "Ein kurzer Satz auf Deutsch: Der Hund",
]


def ours(model, prompt):
    """Our prompt's tokens and answer's tokens."""
    answer = run_json(ballast(), "run", model, "--raw", "--temperature", 0, "-n", N_TOKENS, "--json", prompt)
    return answer["prompt_token_ids"], answer["token_ids"]


def peers(url, tokens, n):
    """The peer's greedy tokens after `tokens`: for each the log probabilities of its candidates."""
    body = {"prompt": tokens, "n_predict": n, "temperature": 0, "n_probs": N_CANDIDATES, "cache_prompt": False,
            "return_tokens": True}
    answer = call(f"{url}/completion", body)
    steps = [{c["id"]: c["logprob"] for c in s["top_logprobs"]} for s in answer.get("completion_probabilities", [])]
    return answer["tokens"], steps


def first_difference(a, b):
    """Index of the first place where two lists differ, a shorter one's end included; None if they are equal."""
    pairs = zip(a, b)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)) if len(a) != len(b) else None)


def compare(model, url, prompt, gap_max):
    """What differs for one prompt, and the gaps that were accepted."""
    prompt_tokens, answer = ours(model, prompt)
    expected = call(f"{url}/tokenize", {"content": prompt, "add_special": True, "parse_special": False})["tokens"]
    if prompt_tokens != expected:
        return f"the prompt's tokens differ: expected {expected}, got {prompt_tokens}", []
    gaps, done = [], 0
    while done < len(answer):
        tokens, steps = peers(url, prompt_tokens + answer[:done], N_TOKENS - done)
        at = first_difference(answer[done:], tokens)
        if at is None:
            return None, gaps
        if at >= len(steps) or done + at >= len(answer):
            return f"one ends after {done + at} tokens, the other goes on", gaps
        candidates = steps[at]
        mine, theirs = answer[done + at], tokens[at]
        if mine not in candidates:
            return f"at token {done + at} we chose {mine}, not among the peer's first {N_CANDIDATES}", gaps
        gap = candidates[theirs] - candidates[mine]
        gaps.append((done + at, mine, theirs, gap))
        if gap >= gap_max:
            return f"at token {done + at} we chose {mine}, the peer {theirs}, {gap:.4f} more likely (log)", gaps
        done += at + 1
    return None, gaps


def rounding_of_peer(model):
    """Root mean square of how the gap between the peer's first two candidates changes with flash attention."""
    with serving_peer(model) as url:
        prompts = [call(f"{url}/tokenize", {"content": p, "add_special": True})["tokens"] for p in PROMPTS]
        texts = [tokens + peers(url, tokens, N_TOKENS)[0] for tokens in prompts]
        places = [text[: len(tokens) + cut] for text, tokens in zip(texts, prompts) for cut in CUTS]
        without = [peers(url, tokens, 1)[1][0] for tokens in places]
    with serving_peer(model, "on") as url:
        with_it = [peers(url, tokens, 1)[1][0] for tokens in places]
    changes = []
    for a, b in zip(without, with_it):
        first, second = sorted(a, key=a.get, reverse=True)[:2]
        if first in b and second in b:
            changes.append((a[first] - a[second]) - (b[first] - b[second]))
    return math.sqrt(sum(c * c for c in changes) / len(changes))


def compare_model(report, model, with_rounding):
    gap_max = GAP_MAX
    if with_rounding:
        rounding = rounding_of_peer(model)
        gap_max = max(GAP_MAX, ROUNDINGS_MAX * rounding)
        print(f"note: {model}: llama.cpp differs from itself by {rounding:.4f}; gaps under {gap_max:.4f} are accepted")
    with serving_peer(model) as url:
        for idx, prompt in enumerate(PROMPTS):
            try:
                fault, gaps = compare(model, url, prompt, gap_max)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                fault, gaps = f"{type(error).__name__}: {error}", []
            for at, mine, theirs, gap in gaps:
                kind = "near tie" if gap < GAP_MAX else "rounding"
                print(f"{kind}: prompt {idx}, token {at}: {mine} or {theirs}, {gap:.5f} apart")
            exactly = "" if gaps else ", token for token"
            report.check(f"{model}, prompt {idx}{exactly}", fault)


def main():
    report = Report()
    models = [word for word in sys.argv[1:] if word != "--rounding"]
    if not models:
        report.skipped("greedy text", "no model files were given")
    elif ballast() is None:
        report.skipped("greedy text", "there is no ballast program; set BALLAST")
    elif peer("llama-server") is None:
        report.skipped("greedy text", "there is no llama-server; set BALLAST_LLAMA_BIN")
    else:
        for model in models:
            try:
                compare_model(report, model, "--rounding" in sys.argv)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                report.check(model, f"{type(error).__name__}: {error}")
    report.end()


if __name__ == "__main__":
    main()
