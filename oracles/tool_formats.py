"""How llama.cpp's chat templates write calls of tools, as the crate tokens reads it off them: two calls, or one where a
template writes no more, and the templates whose format is not known, which get ours.

usage: tool_formats.py FOLDER [PROGRAM]     PROGRAM: the example tool_formats, built where it is not given
"""

import json
import pathlib
import subprocess
import sys

from report import Report

ROOT = pathlib.Path(__file__).resolve().parent.parent

FORMATS = {
    "<|tools_prefix|>[{\"first\": {\"a\": 1}}, {\"second\": {}}]<|tools_suffix|>": [
        "Apertus-8B-Instruct.jinja",
    ],
    "<tool_calls>[{\"name\": \"first\", \"arguments\": {\"a\": 1}}, {\"name\": \"second\", \"arguments\": {}}]</tool_calls>": [
        "Apriel-1.6-15b-Thinker-fixed.jinja",
        "unsloth-Apriel-1.5.jinja",
    ],
    "<tool_call>\n{\"name\": \"first\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"second\", \"arguments\": {}}\n</tool_call>": [
        "Bielik-11B-v3.0-Instruct.jinja",
        "MiMo-VL.jinja",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
        "Qwen-QwQ-32B.jinja",
        "Qwen-Qwen2.5-7B-Instruct.jinja",
        "Qwen-Qwen3-0.6B.jinja",
        "ibm-granite-granite-4.0.jinja",
        "ibm-granite-granite-4.1.jinja",
    ],
    "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"first\", \"parameters\": {\"a\": 1}},\n    {\"tool_call_id\": \"1\", \"tool_name\": \"second\", \"parameters\": {}}\n]<|END_ACTION|>": [
        "Cohere2MoE.jinja",
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja",
    ],
    "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"first\", \"arguments\": {\"a\": 1}}": [
        "GigaChat3-10B-A1.8B.jinja",
    ],
    "<|function_call|>{\"name\": \"first\", \"arguments\": {\"a\": 1}}": [
        "GigaChat3.1-10B-A1.8B.jinja",
    ],
    "<tool_calls>\n{\"name\": \"first\", \"arguments\": {\"a\": 1}}\n{\"name\": \"second\", \"arguments\": {}}\n</tool_calls>": [
        "MiniMax-M1.jinja",
    ],
    "[TOOL_CALLS]first[CALL_ID]abcdefgh1[ARGS]{\"a\": 1}[TOOL_CALLS]second[CALL_ID]abcdefgh1[ARGS]{}": [
        "Mistral-Small-3.2-24B-Instruct-2506.jinja",
    ],
    "<TOOLCALL>[{\"name\": \"first\", \"arguments\": {\"a\": 1}}, {\"name\": \"second\", \"arguments\": {}}]</TOOLCALL><SPECIAL_12>": [
        "NVIDIA-Nemotron-Nano-v2.jinja",
    ],
    "<tool_call>\n{\"name\": \"first\", \"arguments\": {\"a\": 1}}\n</tool_call><tool_call>\n{\"name\": \"second\", \"arguments\": {}}\n</tool_call>": [
        "Reka-Edge.jinja",
    ],
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>first\n```json\n{\"a\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>second\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>": [
        "llama-cpp-deepseek-r1.jinja",
    ],
    "<function=first>{\"a\": 1}</function><function=second>{}</function>": [
        "meetkai-functionary-medium-v3.1.jinja",
    ],
    "{\"name\": \"first\", \"parameters\": {\"a\": 1}}": [
        "meta-llama-Llama-3.1-8B-Instruct.jinja",
        "meta-llama-Llama-3.2-3B-Instruct.jinja",
        "meta-llama-Llama-3.3-70B-Instruct.jinja",
    ],
    "[TOOL_CALLS]first[ARGS]{\"a\": 1}[TOOL_CALLS]second[ARGS]{}": [
        "mistralai-Ministral-3-14B-Reasoning-2512.jinja",
        "unsloth-mistral-Devstral-Small-2507.jinja",
    ],
    "[TOOL_CALLS][{\"name\": \"first\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefgh1\"}, {\"name\": \"second\", \"arguments\": {}, \"id\": \"abcdefgh1\"}]": [
        "mistralai-Mistral-Nemo-Instruct-2407.jinja",
    ],
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.first:0<|tool_call_argument_begin|>{\"a\": 1}<|tool_call_end|><|tool_call_begin|>functions.second:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>": [
        "moonshotai-Kimi-K2.jinja",
    ],
    "to=functions.first<|channel|>commentary json<|message|>{\"a\": 1}": [
        "openai-gpt-oss-120b.jinja",
    ],
    "<|tool_calls|><|tool_call:begin|>abcdefgh1<|tool_call:name|>first<|tool_call:args|>{\"a\": 1}<|tool_call:end|><|tool_call:begin|>abcdefgh1<|tool_call:name|>second<|tool_call:args|>{}<|tool_call:end|>": [
        "upstage-Solar-Open-100B.jinja",
    ],
    "<seed:tool_call>\n<function=first>\n<parameter=a>1</parameter>\n</function>\n</seed:tool_call>\n<seed:tool_call>\n<function=second>\n</function>\n</seed:tool_call>": [
        "ByteDance-Seed-OSS.jinja",
    ],
    "<tool_call>first\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n<tool_call>second\n</tool_call>": [
        "GLM-4.6.jinja",
        "poolside-Laguna-XS-2.1.jinja",
        "poolside-Laguna-XS.2.jinja",
    ],
    "<tool_call>first<arg_key>a</arg_key><arg_value>1</arg_value></tool_call><tool_call>second</tool_call>": [
        "GLM-4.7-Flash.jinja",
        "Spark2.5.jinja",
        "poolside-Laguna-S-2.1.jinja",
    ],
    "<minimax:tool_call>\n<invoke name=\"first\">\n<parameter name=\"a\">1</parameter>\n</invoke>\n<invoke name=\"second\">\n</invoke>\n</minimax:tool_call>": [
        "MiniMax-M2.jinja",
    ],
    "<tool_call>\n<function=first>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=second>\n</function>\n</tool_call>": [
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja",
        "Qwen3-Coder.jinja",
        "Qwen3.5-4B.jinja",
    ],
    "<tool_call>\n<function=first>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call><tool_call>\n<function=second>\n</function>\n</tool_call>": [
        "StepFun3.5-Flash.jinja",
    ],
    "<tool_call>first\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>\n<tool_call>second\n\n</tool_call>": [
        "inclusionai-ling-3.0-flash.jinja",
    ],
    "<tool_calls:opensource>\n<tool_call:opensource>first<tool_sep:opensource>\n<arg_key:opensource>a</arg_key:opensource>\n<arg_value:opensource>1</arg_value:opensource>\n</tool_call:opensource>\n<tool_call:opensource>second<tool_sep:opensource>\n</tool_call:opensource>\n</tool_calls:opensource><｜hy_eos:opensource｜>": [
        "tencent-Hy3.jinja",
    ],
}
# They write arguments otherwise than as JSON or in tags after a name, show no tools or no calls, or need what is not given.
UNKNOWN = {
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja",
    "HuggingFaceTB-SmolLM3-3B.jinja",
    "Kimi-K2-Instruct.jinja",
    "Kimi-K2-Thinking.jinja",
    "Kimi-K3.jinja",
    "LFM2-8B-A1B.jinja",
    "LFM2.5-8B-A1B.jinja",
    "LFM2.5-Instruct.jinja",
    "MiniMax-M3.jinja",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
    "deepseek-ai-DeepSeek-V3.1.jinja",
    "deepseek-ai-DeepSeek-V3.2.jinja",
    "deepseek-ai-DeepSeek-V4-Flash-0731.jinja",
    "deepseek-ai-DeepSeek-V4.jinja",
    "fireworks-ai-llama-3-firefunction-v2.jinja",
    "google-gemma-2-2b-it.jinja",
    "google-gemma-4-31B-it-interleaved.jinja",
    "google-gemma-4-31B-it.jinja",
    "ibm-granite-granite-3.3-2B-Instruct.jinja",
    "llama-cpp-rwkv-world.jinja",
    "meetkai-functionary-medium-v3.2.jinja",
    "microsoft-Phi-3.5-mini-instruct.jinja",
    "muse-glimmer.jinja",
    "openbmb-MiniCPM5-1B.jinja",
}


def read(files, program):
    """What is read off each template, or None."""
    command = [program] if program else ["cargo", "run", "--quiet", "--package", "ballast-tokens", "--example", "tool_formats", "--"]
    lines = subprocess.run([*command, *files], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    pairs = (line.split(": ", 1) for line in lines)
    return {name: None if text.startswith("unknown: ") else json.loads(text) for name, text in pairs}


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    files = sorted(pathlib.Path(sys.argv[1]).resolve().glob("*.jinja"))
    expected = {name: text for text, names in FORMATS.items() for name in names} | dict.fromkeys(UNKNOWN)
    got = read(files, sys.argv[2] if len(sys.argv) == 3 else None)
    report = Report()
    for name, text in got.items():
        fault = None if text == expected.get(name, "a template that is not listed") else f"expected {expected.get(name)!r}, got {text!r}"
        report.check(name, fault)
    report.end()


if __name__ == "__main__":
    main()
