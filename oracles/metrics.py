"""What `ballast serve` tells Prometheus, read by Prometheus' own Python parser of OpenMetrics.

usage: metrics.py --model FILE           starts the server itself
       metrics.py --url URL --key KEY    uses one that runs
"""

import urllib.request

from clients import main, run
from programs import call

try:
    from prometheus_client.openmetrics import parser
except ImportError:
    parser = None

# What gateways, autoscalers and dashboards ask for.
NEEDED = {
    "vllm:num_requests_running": "gauge", "vllm:num_requests_waiting": "gauge", "vllm:kv_cache_usage_perc": "gauge",
    "vllm:prompt_tokens": "counter", "vllm:generation_tokens": "counter", "vllm:request_success": "counter",
    "vllm:prefix_cache_queries": "counter", "vllm:prefix_cache_hits": "counter", "vllm:num_preemptions": "counter",
    "vllm:time_to_first_token_seconds": "histogram", "vllm:inter_token_latency_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram", "vllm:request_queue_time_seconds": "histogram",
}


def scraped(url, key):
    request = urllib.request.Request(f"{url}/metrics", headers={
        "authorization": f"Bearer {key}", "accept": "application/openmetrics-text"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {family.name: family for family in parser.text_string_to_metric_families(answer.read().decode())}


def needed(families):
    """Everything is there, and of its type."""
    for name, kind in NEEDED.items():
        if name not in families:
            return f"{name} is missing"
        if families[name].type != kind or not families[name].samples:
            return f"{name}: {families[name].type} with {len(families[name].samples)} samples"
    return None


def counts(url, key):
    """An answer moves what counts answers and tokens by what the answer says of itself."""
    def value(name):
        return sum(sample.value for sample in scraped(url, key)[name].samples if not sample.name.endswith("_created"))

    model = call(f"{url}/v1/models", key=key)["data"][0]["id"]
    before = value("vllm:generation_tokens"), value("vllm:prompt_tokens"), value("vllm:request_success")
    ask = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "temperature": 0}
    usage = call(f"{url}/v1/chat/completions", ask, key=key)["usage"]
    after = value("vllm:generation_tokens"), value("vllm:prompt_tokens"), value("vllm:request_success")
    moved = tuple(b - a for a, b in zip(before, after))
    expected = usage["completion_tokens"], usage["prompt_tokens"], 1
    return None if moved == expected else f"moved by {moved}, expected {expected}"


def compare(report, url, key):
    checks = {
        "names and types": lambda: needed(scraped(url, key)),
        "an answer is counted": lambda: counts(url, key),
    }
    run(report, checks, ValueError)


if __name__ == "__main__":
    main("prometheus-client", parser, compare)
