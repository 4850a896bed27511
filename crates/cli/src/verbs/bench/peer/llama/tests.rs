//! What llama.cpp's programs print, as recorded, and what is made of it.

use super::super::Question;
use super::{Figure, only, parse_batched, parse_bench, split};
use crate::verbs::bench::phases::tests::phases;
use std::path::Path;

/// `llama-bench -r 1 -o json -p 16 -n 4 -t 2`, build 0c1e570, without the fields that are not read; a test behind a
/// context added.
const BENCH: &str = r#"[
  { "build_commit": "0c1e570", "build_number": 1, "cpu_info": "AMD EPYC", "n_threads": 2, "n_prompt": 16, "n_gen": 0,
    "n_depth": 0, "avg_ns": 65863662, "avg_ts": 242.926061, "samples_ts": [ 242.926 ] },
  { "build_commit": "0c1e570", "build_number": 1, "cpu_info": "AMD EPYC", "n_threads": 2, "n_prompt": 0, "n_gen": 4,
    "n_depth": 0, "avg_ns": 34116926, "avg_ts": 117.243857, "samples_ts": [ 117.244 ] },
  { "build_commit": "0c1e570", "build_number": 1, "cpu_info": "AMD EPYC", "n_threads": 2, "n_prompt": 0, "n_gen": 4,
    "n_depth": 64, "avg_ns": 34116926, "avg_ts": 100.5, "samples_ts": [ 100.5 ] }
]"#;

/// `llama-batched-bench -npp 1 -ntg 4 -npl 2,4 -c 1024 --output-format jsonl` of the same build, a model of random
/// weights; a line of another kind added.
const BATCHED: &str = r#"{"n_kv_max": 1024, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 1, "tg": 4, "pl": 2, "n_kv": 10, "t_pp": 0.049281, "speed_pp": 40.583591, "t_tg": 0.019004, "speed_tg": 420.963989, "t": 0.068285, "speed": 146.445038}
{"n_kv_max": 1024, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 1, "tg": 4, "pl": 4, "n_kv": 20, "t_pp": 0.017797, "speed_pp": 224.756973, "t_tg": 0.001840, "speed_tg": 8695.652344, "t": 0.019637, "speed": 1018.485535}

llama_perf_context_print: load time = 1 ms
"#;

const PREFILL_16: Figure = Figure::Prefill { depth: 0, tokens: 16 };
const DECODE_4: Figure = Figure::Decode { sequences: 1, depth: 0, tokens: 4 };

#[test]
fn a_recorded_bench_is_read() {
    let (version, samples) = parse_bench(BENCH).unwrap();
    assert_eq!(version.as_deref(), Some("0c1e570"));
    let deep = Figure::Decode { sequences: 1, depth: 64, tokens: 4 };
    assert_eq!(samples, [(PREFILL_16, 242.926061), (DECODE_4, 117.243857), (deep, 100.5)]);
    assert!(parse_bench("Segmentation fault").unwrap_err().contains("not JSON"));
    assert_eq!(parse_bench("[]").unwrap(), (None, Vec::new()));
}

#[test]
fn what_was_asked_for_and_not_told_has_failed() {
    let (_, samples) = parse_bench(BENCH).unwrap();
    let asked = [PREFILL_16, Figure::Prefill { depth: 0, tokens: 32 }];
    let found = only(&asked, samples);
    assert_eq!(found[0], (PREFILL_16, Ok(242.926061)));
    assert!(found[1].1.is_err());
}

#[test]
fn each_of_its_programs_is_asked_what_it_can_do() {
    let phases = phases(&[16], &[4], &[1, 8], &[16, 64]);
    let model = Path::new("m.gguf");
    let question = Question { model, phases: &phases, n_threads: 2, kernels: None, load: &[] };
    let (alone, together, deep) = split(&question);
    assert_eq!(alone, [PREFILL_16, DECODE_4]);
    assert_eq!(together, [Figure::Decode { sequences: 8, depth: 0, tokens: 4 }]);
    assert_eq!(deep, [16, 64].map(|depth| Figure::Decode { sequences: 1, depth, tokens: 4 }));
}

#[test]
fn lines_of_the_batched_bench_are_found_among_others() {
    let samples = parse_batched(BATCHED);
    let decode = |sequences| Figure::Decode { sequences, depth: 0, tokens: 4 };
    assert_eq!(samples, [(decode(2), 420.963989), (decode(4), 8695.652344)]);
    assert_eq!(parse_batched("nothing"), []);
}
