"""Small model files for llama.cpp's server tests, of the sizes and token counts of the ones they fetch from a hub.

The weights are random, so no text is to be expected of them; rows of the output for tokens without text are zero, so
that answers are text and do not end by themselves. The vocabulary is made so that the prompts of the tests have as many
tokens as with the original (vocabulary.json says which pieces, in the order of their ranks).
"""

import json
import pathlib

import gguf
import numpy

VOCABULARY = pathlib.Path(__file__).with_name("vocabulary.json")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
N_LAYERS, N_HEADS, N_KV_HEADS, EMBED_DIM, FFN_DIM, CONTEXT_LEN = 5, 4, 2, 64, 192, 8192
FILL_IN_MIDDLE = {"fim_pre": "<fim_prefix>", "fim_suf": "<fim_suffix>", "fim_mid": "<fim_middle>"}
TYPE = gguf.TokenType


def byte_characters():
    """The character that stands for each byte in byte-level vocabularies, as GPT-2 chose them."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    characters = dict(zip(shown, map(chr, shown))) | {byte: chr(256 + idx) for idx, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]


def vocabulary(extra):
    """Tokens with their types, and merges: three control tokens, all bytes, pieces, and then `extra` control tokens."""
    pieces, characters = json.loads(VOCABULARY.read_text()), byte_characters()
    rows = [(text, TYPE.CONTROL) for text in ("<unk>", "<s>", "</s>")]
    rows += [(text, TYPE.NORMAL) for text in characters + pieces] + [(text, TYPE.CONTROL) for text in extra]
    tokens = {text for text, _ in rows}
    halves = lambda piece: ((piece[:idx], piece[idx:]) for idx in range(1, len(piece)))
    merges = [f"{a} {b}" for piece in pieces for a, b in halves(piece) if a in tokens and b in tokens]
    return rows, merges


def is_text(text, kind):
    """Whether an answer may be made of the token: it is text by itself, and no control token."""
    return kind == TYPE.NORMAL and all(c.isascii() or c in "\u0120\u010a" for c in text)


def tensors(random, spoken):
    """The weights by name; `spoken` says which tokens an answer may be made of."""
    def matrix(n_rows, n_columns):
        return random.normal(0, n_columns**-0.5, (n_rows, n_columns)).astype(numpy.float32)
    ones, head_dim = numpy.ones(EMBED_DIM, numpy.float32), EMBED_DIM // N_HEADS
    output = matrix(len(spoken), EMBED_DIM) * 1.5 * numpy.array(spoken, numpy.float32)[:, None]
    yield "token_embd.weight", matrix(len(spoken), EMBED_DIM)
    for idx in range(N_LAYERS):
        yield f"blk.{idx}.attn_norm.weight", ones
        yield f"blk.{idx}.attn_q.weight", matrix(EMBED_DIM, EMBED_DIM)
        yield f"blk.{idx}.attn_k.weight", matrix(N_KV_HEADS * head_dim, EMBED_DIM)
        yield f"blk.{idx}.attn_v.weight", matrix(N_KV_HEADS * head_dim, EMBED_DIM)
        yield f"blk.{idx}.attn_output.weight", matrix(EMBED_DIM, EMBED_DIM)
        yield f"blk.{idx}.ffn_norm.weight", ones
        yield f"blk.{idx}.ffn_gate.weight", matrix(FFN_DIM, EMBED_DIM)
        yield f"blk.{idx}.ffn_up.weight", matrix(FFN_DIM, EMBED_DIM)
        yield f"blk.{idx}.ffn_down.weight", matrix(EMBED_DIM, FFN_DIM)
    yield "output_norm.weight", ones
    yield "output.weight", output


def write(path, extra=None):
    """Writes a model whose further control tokens are the values of `extra`, each under its key."""
    extra = extra or {}
    rows, merges = vocabulary(extra.values())
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny random llama")
    writer.add_context_length(CONTEXT_LEN)
    writer.add_embedding_length(EMBED_DIM)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(FFN_DIM)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(EMBED_DIM // N_HEADS)
    writer.add_vocab_size(len(rows))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text for text, _ in rows])
    writer.add_token_types([kind for _, kind in rows])
    writer.add_token_merges(merges)
    writer.add_add_bos_token(True)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHATML)
    for idx, key in enumerate(extra):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", len(rows) - len(extra) + idx)
    random = numpy.random.default_rng(42)
    for name, values in tensors(random, [is_text(*row) for row in rows]):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_all(folder):
    """The files by the hub's names for what they stand for."""
    tiny, infill = folder / "tinyllama2.gguf", folder / "tinyllama-infill.gguf"
    write(tiny)
    write(infill, FILL_IN_MIDDLE)
    return {"ggml-org/test-model-stories260K": str(tiny), "ggml-org/test-model-stories260K-infill": str(infill),
            "ggml-org/models/tinyllamas/stories260K.gguf": str(tiny)}
