"""Chat templates against Python's jinja2: every *.jinja of a folder, rendered on every conversation below.

Python renders in the environment that Python tools use for chat templates: sandboxed, blocks trimmed, loop controls,
`generation` blocks, Python's tojson, raise_exception and strftime_now. Ours renders through the example program
render_template of the crate tokens. A template passes if all its renderings agree: the same text, the same message
of raise_exception, or a failure of another kind on both sides. Those in KNOWN differ in so many renderings and no more,
for the reason given.

usage: templates.py FOLDER [PROGRAM]     PROGRAM: render_template, built where it is not given
"""

import copy
import datetime
import functools
import json
import pathlib
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
from report import Report

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOW = 1_763_715_600
BOS, EOS = "<s>", "</s>"
RENDER_SECONDS = 600

NONE = "Python fails where None is iterated, minijinja takes it as empty"
KNOWN = {
    "Cohere2MoE.jinja": (4, NONE),
    "CohereForAI-c4ai-command-r-plus-tool_use.jinja": (42, NONE),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja": (2, NONE),
    "LFM2.5-8B-A1B.jinja": (2, NONE),
    "Mistral-Small-3.2-24B-Instruct-2506.jinja": (2, NONE),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja": (40, NONE),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja": (40, NONE),
    "Reka-Edge.jinja": (2, "minijinja panics on a reversed slice of an empty list; told as a template error"),
    "llama-cpp-deepseek-r1.jinja": (14, "Python cannot serialise a generator, minijinja can"),
    "meetkai-functionary-medium-v3.1.jinja": (14, "Python escapes what is added to a safe string"),
}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Tells the weather at a place, \"now\" & <later>.",
    "parameters": {"type": "object", "required": ["place"], "properties": {
        "place": {"type": "string", "description": "A town, such as Zürich"},
        "days": {"type": ["integer", "null"], "default": 1.5, "enum": [1, 2, None, True]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "at": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}}}}}}
CLOCK = {"type": "function", "function": {
    "name": "clock", "description": "Tells the time.", "parameters": {"type": "object", "properties": {}}}}


def turn(role, content, **more):
    return {"role": role, "content": content} | more


def call(arguments, name="get_weather"):
    return {"id": "call00001", "type": "function", "function": {"name": name, "arguments": arguments}}


PLACE = {"place": "Zürich", "days": 2, "tags": ["a", "b"], "at": {"lat": 47.4, "lon": 8.5}}
USER, SYSTEM = turn("user", "What is 2 + 2?"), turn("system", "You are terse.")
ANSWER = turn("assistant", "It is 4.")
ASKED = [turn("user", "How is the weather?"),
         turn("assistant", "", tool_calls=[call(PLACE)]),
         turn("tool", "{\"sky\": \"clear\"}", name="get_weather", tool_call_id="call00001")]

CONVERSATIONS = {
    "user": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "turns": {"messages": [USER, ANSWER, turn("user", "And 3 + 3?")]},
    "system and turns": {"messages": [SYSTEM, USER, ANSWER, turn("user", "And 3 + 3?"), turn("assistant", "6")]},
    "unicode": {"messages": [turn("system", "Répondez en français. 🦙"), turn("user", "  \n日本語とemoji 👩‍👩‍👧 \t\u00a0"),
                             turn("assistant", "\nПривет <b>&\"'</b>\n\n"), turn("user", "\u2028end\\n{{ x }}{% y %}")]},
    "empty content": {"messages": [turn("user", ""), turn("assistant", ""), turn("user", "?")]},
    "two users": {"messages": [USER, USER]},
    "assistant first": {"messages": [ANSWER, USER]},
    "late system": {"messages": [USER, ANSWER, SYSTEM, USER]},
    "unknown role": {"messages": [turn("oracle", "Beware."), USER]},
    "developer": {"messages": [turn("developer", "Be brief."), USER]},
    "no messages": {"messages": []},
    "content in parts": {"messages": [turn("user", [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}])]},
    "content is null": {"messages": [USER, turn("assistant", None), USER]},
    "no content": {"messages": [USER, {"role": "assistant", "tool_calls": [call(PLACE)]}]},
    "thought in text": {"messages": [USER, turn("assistant", "<think>\nAdd.\n</think>\n\nIt is 4."), turn("user", "Sure?")]},
    "thought apart": {"messages": [USER, turn("assistant", "It is 4.", reasoning_content="Add them."), turn("user", "Sure?")]},
    "thinking off": {"messages": [USER], "extra": {"enable_thinking": False}},
    "thinking on": {"messages": [USER], "extra": {"enable_thinking": True, "thinking": True}},
    "effort": {"messages": [SYSTEM, USER], "extra": {"reasoning_effort": "high"}},
    "tools": {"messages": [USER], "tools": [WEATHER]},
    "two tools and system": {"messages": [SYSTEM, USER], "tools": [WEATHER, CLOCK]},
    "no tools": {"messages": [USER], "tools": []},
    "tool call": {"messages": ASKED[:2], "tools": [WEATHER]},
    "tool answer": {"messages": ASKED, "tools": [WEATHER]},
    "tool answer and turns": {"messages": [SYSTEM, *ASKED, turn("assistant", "Clear."), USER], "tools": [WEATHER, CLOCK]},
    "arguments as text": {"messages": [ASKED[0], turn("assistant", "", tool_calls=[call(json.dumps(PLACE))]), ASKED[2]],
                          "tools": [WEATHER]},
    "two calls": {"messages": [ASKED[0], turn("assistant", "Both.", tool_calls=[call(PLACE), call({}, "clock")]),
                               ASKED[2], turn("tool", "noon", name="clock", tool_call_id="call00002")],
                  "tools": [WEATHER, CLOCK]},
    "call without tools": {"messages": ASKED},
    "documents": {"messages": [USER], "extra": {"documents": [{"title": "Sums", "text": "2 + 2 is 4.", "doc_id": 1}]}},
}


class Generation(jinja2.ext.Extension):
    """`generation` blocks: they print their body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Raised(jinja2.TemplateError):
    """The template refused the conversation."""


def raise_exception(message):
    raise Raised(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(pattern):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(pattern)


def python_environment():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    return environment


@functools.lru_cache(maxsize=1)
def compiled(environment, source):
    return environment.from_string(source)


def expected(environment, request):
    """Python's rendering: a text, a refusal or a failure."""
    variables = {"tools": None, "documents": None, "bos_token": BOS, "eos_token": EOS} | request["extra"]
    variables |= {key: request[key] for key in ("messages", "tools", "add_generation_prompt")}
    try:
        return "text", compiled(environment, request["template"]).render(copy.deepcopy(variables))
    except Raised as refusal:
        return "refusal", str(refusal)
    except Exception as failure:
        return "failure", f"{type(failure).__name__}: {failure}"


def got(answer):
    if "text" in answer:
        return "text", answer["text"]
    return "refusal" if answer["raised"] else "failure", answer["error"]


def difference(want, have):
    """What differs between two renderings, or None."""
    if want == have or want[0] == have[0] == "failure":
        return None
    if want[0] != "text" or have[0] != "text":
        return f"expected {want[0]} {want[1][:200]!r}, got {have[0]} {have[1][:200]!r}"
    at = next((i for i, (a, b) in enumerate(zip(want[1], have[1])) if a != b), min(len(want[1]), len(have[1])))
    near = slice(max(0, at - 40), at + 40)
    return f"at character {at} expected {want[1][near]!r}, got {have[1][near]!r}"


def requests(template):
    for name, conversation in CONVERSATIONS.items():
        for prompted in (False, True):
            label = f"{name}, prompted" if prompted else name
            request = {"template": template, "tools": None, "extra": {}, "now": NOW, "bos_token": BOS, "eos_token": EOS}
            yield label, request | conversation | {"add_generation_prompt": prompted}


def program():
    command = ["cargo", "build", "--quiet", "--package", "ballast-tokens", "--example", "render_template",
               "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    artifacts = (json.loads(line) for line in built.splitlines())
    return next(a["executable"] for a in artifacts if a.get("target", {}).get("name") == "render_template")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.jinja"))
    cases = [(file.name, *case) for file in files for case in requests(file.read_text(encoding="utf-8"))]
    lines = "".join(json.dumps(request) + "\n" for _, _, request in cases)
    ours = subprocess.run([sys.argv[2] if len(sys.argv) == 3 else program()], input=lines, stdout=subprocess.PIPE,
                          text=True, check=True, timeout=RENDER_SECONDS).stdout.rstrip("\n").split("\n")
    environment, report = python_environment(), Report()
    faults = {file.name: [] for file in files}
    n_texts = n_refusals = n_failures = 0
    for (file, label, request), line in zip(cases, ours, strict=True):
        want = expected(environment, request)
        n_texts, n_refusals, n_failures = (
            n + (want[0] == kind) for n, kind in
            ((n_texts, "text"), (n_refusals, "refusal"), (n_failures, "failure")))
        if fault := difference(want, got(json.loads(line))):
            faults[file].append(f"{label}: {fault}")
    for file, found in faults.items():
        n_known, why = KNOWN.get(file, (0, ""))
        if len(found) == n_known:
            report.check(f"{file}, but for {n_known} renderings: {why}" if n_known else file, None)
        else:
            report.check(file, "\n  ".join([f"{len(found)} renderings differ, {n_known} are known to", *found]))
    print(f"{len(cases)} renderings: {n_texts} texts, {n_refusals} refusals, {n_failures} failures in Python; "
          f"{len(cases) - sum(map(len, faults.values()))} agree")
    report.end()


if __name__ == "__main__":
    main()
