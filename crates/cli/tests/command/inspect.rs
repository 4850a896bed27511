//! The verbs that look into a model: logits, gguf, perplexity, show, info, check.

use crate::support::{Home, comma_separated, ids};
use ballast_gguf::TensorType;
use ballast_testkit::TinyLlama;
use serde_json::{Value, json};

const PROMPT: &str = "hello the hell";

fn numbers(row: &Value) -> Vec<f64> {
    row.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn argmax(row: &[f64]) -> u32 {
    let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    u32::try_from(best.0).unwrap()
}

fn rows(logits: &Value) -> Vec<Vec<f64>> {
    logits["logits"].as_array().unwrap().iter().map(numbers).collect()
}

#[test]
fn the_highest_logit_is_the_first_greedy_token() {
    let home = Home::new();
    for prompt in [PROMPT, "x", "one two three"] {
        let answer = home.json("run", &["--raw", "--temperature", "0", "-n", "1", "--json", prompt]);
        let prompt = ids(&answer["prompt_token_ids"]);
        let logits = home.json("logits", &["--json", "--ids", &comma_separated(&prompt)]);
        assert_eq!(ids(&logits["ids"]), prompt);
        let rows = rows(&logits);
        assert_eq!((rows.len(), rows[0].len()), (1, 264));
        assert_eq!(argmax(&rows[0]), ids(&answer["token_ids"])[0]);
    }
}

#[test]
fn all_logits_are_those_of_every_beginning() {
    let home = Home::new();
    let all = rows(&home.json("logits", &["--all", "--json", "--ids", "104,105,106"]));
    assert_eq!(all.len(), 3);
    for (row, beginning) in all.iter().zip(["104", "104,105", "104,105,106"]) {
        assert_eq!(&rows(&home.json("logits", &["--json", "--ids", beginning]))[0], row);
    }
    let long = comma_separated(&(0..200).collect::<Vec<_>>());
    let all = rows(&home.json("logits", &["--all", "--json", "--ids", &long]));
    assert_eq!(all.len(), 200);
    assert_eq!(rows(&home.json("logits", &["--json", "--ids", &long, "--batch-size", "7"]))[0], all[199]);
}

#[test]
fn perplexity_is_what_the_logits_say() {
    let home = Home::new();
    let text = "the hello number is hell, he tells the others of it";
    let file = home.file("text", text);
    let found = home.json("perplexity", &["--file", &file, "--context", "16", "--json"]);
    let tokens = ids(&home.json("tokenize", &["--json", text]));
    let mut nll = Vec::new();
    for window in tokens.chunks_exact(16) {
        let rows = rows(&home.json("logits", &["--all", "--json", "--ids", &comma_separated(window)]));
        for position in 8..15 {
            let sum: f64 = rows[position].iter().map(|logit| logit.exp()).sum();
            nll.push(sum.ln() - rows[position][window[position + 1] as usize]);
        }
    }
    let n_windows = tokens.len() / 16;
    assert!(n_windows >= 2);
    assert_eq!((&found["n_windows"], &found["n_scored"]), (&json!(n_windows), &json!(7 * n_windows)));
    assert_eq!(found["context"], 16);
    let expected = (nll.iter().sum::<f64>() / nll.len() as f64).exp();
    let got = found["perplexity"].as_f64().unwrap();
    assert!((got / expected - 1.0).abs() < 1e-5, "expected {expected}, got {got}");
    assert!(found["error"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_text_too_short_for_a_perplexity_is_refused() {
    let home = Home::new();
    let file = home.file("text", "short");
    home.ballast(&["perplexity", home.model(), "--file", &file, "--context", "16"]).fails(1, "expected at least 32");
    let args = ["perplexity", home.model(), "--file", &file, "--context", "257"];
    home.ballast(&args).fails(2, "expected at most 256");
}

#[test]
fn gguf_show_lists_metadata_and_tensors() {
    let home = Home::new();
    let shown = home.ballast(&["gguf", "show", home.model(), "--json"]).json();
    assert_eq!(shown["version"], 3);
    assert_eq!(shown["file_bytes"], std::fs::metadata(home.model()).unwrap().len());
    let metadata = &shown["metadata"];
    assert_eq!(metadata["general.architecture"], json!({ "type": "string", "value": "llama" }));
    assert_eq!(metadata["llama.block_count"]["value"], 2);
    let tokens = &metadata["tokenizer.ggml.tokens"];
    assert_eq!((&tokens["item"], &tokens["len"], &tokens["value"]), (&json!("string"), &json!(264), &Value::Null));
    assert_eq!(tokens["sha256"].as_str().unwrap().len(), 64);
    let tensor = &shown["tensors"][0];
    assert_eq!((&tensor["name"], &tensor["type"]), (&json!("token_embd.weight"), &json!("F32")));
    assert_eq!((&tensor["shape"], &tensor["n_bytes"]), (&json!([64, 264]), &json!(64 * 264 * 4)));
    let full = home.ballast(&["gguf", "show", home.model(), "--json", "--full"]).json();
    assert_eq!(full["metadata"]["tokenizer.ggml.tokens"]["value"].as_array().unwrap().len(), 264);
    assert_eq!(full["metadata"]["tokenizer.ggml.merges"]["value"][0], "h e");
    let text = home.ballast(&["gguf", "show", home.model()]);
    assert!(text.stdout.contains("token_embd.weight") && text.stdout.contains("general.architecture"), "{text:?}");
}

/// Header text and data of a version 1.0 file.
fn npy(bytes: &[u8]) -> (String, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(header_len);
    let values = data.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect();
    (String::from_utf8(header.to_vec()).unwrap(), values)
}

#[test]
fn gguf_dequantize_writes_the_tensor_for_numpy() {
    for weight_type in [TensorType::F32, TensorType::Q8_0] {
        let home = Home::with(TinyLlama::new(weight_type));
        let out = home.path("tensor.npy");
        let name = "blk.1.ffn_down.weight";
        let ran = home.ballast(&["gguf", "dequantize", home.model(), name, "--out", out.to_str().unwrap()]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
        let (header, values) = npy(&std::fs::read(&out).unwrap());
        assert!(header.contains("'descr': '<f4'") && header.contains("'shape': (64,128,)"), "{header}");
        assert_eq!(values, stored(&home, name, weight_type));
    }
}

/// A tensor's values by the definition of its type, from the bytes where `gguf show` says they are.
fn stored(home: &Home, name: &str, weight_type: TensorType) -> Vec<f32> {
    let shown = home.ballast(&["gguf", "show", home.model(), "--json"]).json();
    let tensor = shown["tensors"].as_array().unwrap().iter().find(|tensor| tensor["name"] == name).unwrap().clone();
    let place = |key: &str| usize::try_from(tensor[key].as_u64().unwrap()).unwrap();
    let bytes = std::fs::read(home.model()).unwrap();
    let bytes = &bytes[place("offset")..][..place("n_bytes")];
    if weight_type == TensorType::F32 {
        return bytes.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect();
    }
    let block = |block: &[u8]| {
        let scale = half(u16::from_le_bytes([block[0], block[1]]));
        block[2..].iter().map(|&quant| f32::from(quant.cast_signed()) * scale).collect::<Vec<_>>()
    };
    bytes.chunks_exact(34).flat_map(block).collect()
}

/// A normal half-precision number; the scales of a tiny model are not less.
fn half(bits: u16) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    assert!(bits < 0x8000 && exponent > 0);
    (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15)
}

#[test]
fn gguf_dequantize_fails_without_the_tensor_or_the_place() {
    let home = Home::new();
    let out = home.path("tensor.npy");
    let out = out.to_str().unwrap();
    home.ballast(&["gguf", "dequantize", home.model(), "nothing", "--out", out]).fails(1, "nothing");
    let nowhere = home.path("missing/tensor.npy");
    let args = ["gguf", "dequantize", home.model(), "token_embd.weight", "--out", nowhere.to_str().unwrap()];
    home.ballast(&args).fails(1, "cannot be written");
}

#[test]
fn show_tells_what_a_model_is() {
    let home = Home::new();
    let facts = home.json("show", &["--json"]);
    assert_eq!((&facts["name"], &facts["architecture"]), (&json!("tiny"), &json!("llama")));
    assert_eq!((&facts["path"], &facts["source"]), (&json!(home.model()), &json!("path")));
    assert_eq!((&facts["runs"], &facts["chat_template"]), (&json!(true), &json!(true)));
    assert_eq!(facts["context"], json!({ "trained": 256, "planned": 256 }));
    assert_eq!((&facts["tokenizer"]["pre_tokenizer"], &facts["tokenizer"]["n_tokens"]), (&json!("gpt-2"), &json!(264)));
    let memory = &facts["memory"];
    let sum: u64 =
        ["weights_bytes", "kv_bytes", "scratch_bytes"].iter().map(|key| memory[*key].as_u64().unwrap()).sum();
    assert_eq!(memory["total_bytes"], sum);
    assert_eq!(home.json("show", &["--json", "--ctx-size", "64"])["context"]["planned"], 64);
    let text = home.ballast(&["show", home.model()]);
    assert!(text.stdout.contains("name: tiny\n") && text.stderr.is_empty(), "{text:?}");
    let template = home.ballast(&["show", home.model(), "--template"]);
    assert!(template.stdout.starts_with("{% for message in messages %}"), "{template:?}");
}

#[test]
fn info_tells_what_the_machine_offers() {
    let home = Home::new();
    let facts = home.ballast(&["info", "--json"]).json();
    assert!(facts["usable_cpus"].as_u64().unwrap() > 0);
    let available = facts["kernels_available"].as_array().unwrap();
    assert!(available.contains(&json!("generic")) && available.contains(&facts["kernels_in_use"]), "{facts}");
    assert_eq!(facts["data_directory"], home.data_dir().to_str().unwrap());
    assert_eq!(facts["model"], Value::Null);
    let with_model = home.json("info", &["--json"]);
    assert_eq!(with_model["model"]["name"], "tiny");
    assert!(with_model["model"]["memory"]["kv_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn info_plans_the_kv_cache_in_its_type() {
    let home = Home::new();
    let kv_bytes = |name: &str| {
        let facts = home.json("info", &["--json", "--cache-type", name]);
        facts["model"]["memory"]["kv_bytes"].as_u64().unwrap()
    };
    assert_eq!(home.json("info", &["--json"])["model"]["memory"]["kv_bytes"], kv_bytes("f16"));
    assert_eq!(kv_bytes("bf16"), kv_bytes("f16"));
    // Heads of 16 entries: 16 bytes and 2 of a scale against 32.
    assert_eq!(kv_bytes("q8_0") * 32, kv_bytes("f16") * 18);
}

#[test]
fn every_kernel_set_that_info_lists_runs() {
    let home = Home::new();
    let facts = home.ballast(&["info", "--json"]).json();
    for set in facts["kernels_available"].as_array().unwrap() {
        let answer =
            home.json("run", &["--raw", "-n", "2", "--ignore-eos", "--json", "--kernels", set.as_str().unwrap(), "x"]);
        assert_eq!(answer["usage"]["completion_tokens"], 2, "{set}");
    }
}

#[test]
fn check_tells_by_its_exit_code() {
    let home = Home::new();
    let check = |args: &[&str]| {
        let ran = home.ballast(&[&["check", "--json"], args].concat());
        let found: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(ran.code, Some(if found["ok"] == true { 0 } else { 1 }), "{ran:?}");
        found
    };
    let is_ok = |found: &Value, name: &str| {
        let checks = found["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["ok"].as_bool().unwrap()
    };
    let found = check(&[home.model()]);
    for name in ["kernels", "data directory", "model"] {
        assert!(is_ok(&found, name), "{name} in {found}");
    }
    // How much memory is free is the machine's affair.
    assert_eq!(found["ok"], is_ok(&found, "memory"));
    let found = check(&["missing.gguf"]);
    assert_eq!((found["ok"].as_bool(), is_ok(&found, "model")), (Some(false), false));
    std::fs::remove_dir_all(home.data_dir()).unwrap();
    std::fs::write(home.data_dir(), "a file where the directory should be").unwrap();
    assert!(!is_ok(&check(&[]), "data directory"));
}
