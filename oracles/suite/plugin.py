"""A pytest plug-in for llama.cpp's server tests: local model files for the hub's, and one line of JSON for each test.

What a test expects of the text of particular weights is let go, because the weights are others; everything else it
expects stands. A test whose model cannot be had here is skipped with that reason.
"""

import functools
import json
import os
import sys

import pytest
from requests.structures import CaseInsensitiveDict

# Tests whose regular expressions are words that the original weights happen to say.
WORDS_OF_WEIGHTS = (
    "test_completion", "test_completion_stream", "test_completion_with_openai_library",
    "test_completion_stream_with_openai_library", "test_chat_completion", "test_chat_completion_stream",
    "test_chat_completion_with_openai_library", "test_slot_save_restore", "test_slot_erase",
    "test_infill_without_input_extra", "test_infill_with_input_extra",
)
MESSAGE_CHARS_MAX = 300

current = {"name": ""}


def pytest_configure(config):
    sys.path.insert(0, str(config.rootpath))
    import utils

    models = json.loads(os.environ["SUITE_MODELS"])
    utils.ServerPreset.load_all = staticmethod(lambda: None)
    start, match = utils.ServerProcess.start, utils.match_regex

    @functools.wraps(start)
    def start_on_local_file(server, *args, **kwargs):
        if server.model_hf_repo:
            names = [server.model_hf_repo, f"{server.model_hf_repo}/{server.model_hf_file}"]
            found = [models[name] for name in reversed(names) if name in models]
            if not found:
                pytest.skip(f"model: {names[1 if server.model_hf_file else 0]} cannot be had")
            server.model_file, server.model_hf_repo, server.model_hf_file = found[0], None, None
        server.offline = False
        return start(server, *args, **kwargs)

    def match_words(regex, text):
        return match(regex, text) or (current["name"] in WORDS_OF_WEIGHTS and len(text) > 0)

    make_request = utils.ServerProcess.make_request

    @functools.wraps(make_request)
    def make_request_with_named_headers(server, *args, **kwargs):
        response = make_request(server, *args, **kwargs)
        # Names of headers have no case, and ours are sent as HTTP/2 wants them (RFC 9110, section 5.1).
        response.headers = CaseInsensitiveDict(response.headers)
        return response

    utils.ServerProcess.start = start_on_local_file
    utils.ServerProcess.make_request = make_request_with_named_headers
    utils.match_regex = match_words


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    current["name"] = item.originalname
    return (yield)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        note(report.nodeid, report.outcome, report)


def note(nodeid, outcome, report):
    message = ""
    if outcome == "skipped" and isinstance(report.longrepr, tuple):
        message = report.longrepr[2].removeprefix("Skipped: ")
    elif outcome == "failed":
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr)
    line = {"test": nodeid, "outcome": outcome, "message": message.splitlines()[0][:MESSAGE_CHARS_MAX] if message else ""}
    with open(os.environ["SUITE_RESULTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
