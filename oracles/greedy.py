"""Greedy text against llama.cpp's, token for token: 10 prompts, 128 tokens each, for every model file given.

Two implementations round differently, so two tokens whose logits nearly tie may swap. Where the tokens part, the gap
between the two candidates is read from the peer's log probabilities. A gap under 1e-2 is reported and accepted, and
the comparison goes on from our token; a larger one fails. With --spread, to say what such a gap is worth, the peer is
also compared with itself, with and without flash attention, and the number of prompts on which it agrees is printed.

usage: greedy.py [--spread] MODEL..
"""

import sys

from programs import ballast, call, peer, run_json, serving_peer
from report import Report

N_TOKENS = 128
GAP_MAX = 1e-2
N_CANDIDATES = 20

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


def compare(model, url, prompt):
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
        if gap >= GAP_MAX:
            return f"at token {done + at} we chose {mine}, the peer {theirs}, {gap:.4f} more likely (log)", gaps
        done += at + 1
    return None, gaps


def agreement_of_peer(model):
    """On how many prompts the peer says the same with and without flash attention."""
    texts = []
    for flash_attention in ("off", "on"):
        with serving_peer(model, flash_attention) as url:
            prompts = [call(f"{url}/tokenize", {"content": p, "add_special": True})["tokens"] for p in PROMPTS]
            texts.append([peers(url, tokens, N_TOKENS)[0] for tokens in prompts])
    return sum(a == b for a, b in zip(*texts))


def compare_model(report, model):
    with serving_peer(model) as url:
        for idx, prompt in enumerate(PROMPTS):
            try:
                fault, gaps = compare(model, url, prompt)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                fault, gaps = f"{type(error).__name__}: {error}", []
            for at, mine, theirs, gap in gaps:
                print(f"near tie: prompt {idx}, token {at}: {mine} or {theirs}, {gap:.5f} apart")
            report.check(f"{model}, prompt {idx}", fault)


def main():
    report = Report()
    models = [word for word in sys.argv[1:] if word != "--spread"]
    if not models:
        report.skipped("greedy text", "no model files were given")
    elif ballast() is None:
        report.skipped("greedy text", "there is no ballast program; set BALLAST")
    elif peer("llama-server") is None:
        report.skipped("greedy text", "there is no llama-server; set BALLAST_LLAMA_BIN")
    else:
        for model in models:
            try:
                compare_model(report, model)
                if "--spread" in sys.argv:
                    print(f"note: {model}: llama.cpp agrees with itself on {agreement_of_peer(model)} of {len(PROMPTS)} prompts")
            except RuntimeError as error:
                report.check(model, str(error))
    report.end()


if __name__ == "__main__":
    main()
