//! Encoders: against a plain forward pass in f64, in any company, on any number of threads, and files that lie.
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use ballast_backend::{
    EncoderText, Pooling, Predictor, Pulse, TensorMap, TokenId, encoder_inputs, encoder_output_name,
};
use ballast_gguf::{Gguf, TensorType, Value};
use ballast_llm::{EncoderConfig, EncoderEngine, EncoderOptions, LlmError, kernel_set, kernel_sets, tensor_to_f32};
use ballast_testkit::{SplitMix, TinyBert};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tempfile::TempDir;

struct House {
    dir: TempDir,
}

impl House {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("tiny.gguf")
    }

    fn gguf(&self, tiny: &TinyBert) -> Gguf {
        tiny.write_file(&self.path()).unwrap();
        Gguf::open(&self.path()).unwrap()
    }
}

fn options(pooling: Option<Pooling>, n_threads: usize) -> EncoderOptions {
    EncoderOptions { pooling, n_threads: NonZeroUsize::new(n_threads).unwrap(), ..EncoderOptions::default() }
}

/// Texts of the lengths given, every other one in two parts.
fn texts(lengths: &[usize]) -> Vec<(Vec<i32>, usize)> {
    let mut random = SplitMix::new(7);
    let mut token = || i32::from(random.next_u8() % 70);
    let text =
        |(idx, &len): (usize, &usize)| ((0..len).map(|_| token()).collect(), if idx % 2 == 0 { len } else { len / 2 });
    lengths.iter().enumerate().map(text).collect()
}

fn encode(engine: &mut EncoderEngine, texts: &[(Vec<i32>, usize)]) -> Vec<f32> {
    let texts: Vec<_> = texts.iter().map(|(tokens, n_first)| (tokens.as_slice(), *n_first)).collect();
    let mut out = Vec::new();
    engine.encode(&texts, &mut out, &Pulse::new()).unwrap();
    out
}

/// BERT's forward pass over one text as the paper has it, in f64: every token's vector, and the classifier's scores.
struct Reference {
    tensors: BTreeMap<String, Vec<f64>>,
    config: EncoderConfig,
}

impl Reference {
    fn new(gguf: &Gguf) -> Self {
        let values = |tensor| tensor_to_f32(gguf, tensor).unwrap().into_iter().map(f64::from).collect();
        let tensors = gguf.tensors().iter().map(|tensor| (tensor.name.to_string(), values(tensor))).collect();
        Self { tensors, config: EncoderConfig::from_gguf(gguf).unwrap() }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    fn affine(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |(row, bias): (&[f64], &f64)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias;
        weight.chunks(x.len()).zip(bias).map(row).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64 + 1e-12).sqrt();
        x.iter().zip(weight.iter().zip(bias)).map(|(x, (w, b))| (x - mean) / deviation * w + b).collect()
    }

    fn text(&self, tokens: &[i32], n_first: usize) -> Vec<Vec<f64>> {
        let dim = self.config.embed_dim;
        let tables = ["token_embd.weight", "position_embd.weight", "token_types.weight"].map(|name| self.tensor(name));
        let row = |table: &[f64], at: usize| table[at * dim..(at + 1) * dim].to_vec();
        let embed = |(at, token): (usize, &i32)| {
            let rows = [usize::try_from(*token).unwrap(), at, usize::from(at >= n_first)];
            let rows = [0, 1, 2].map(|idx| row(tables[idx], rows[idx]));
            self.norm("token_embd_norm", &sum(&rows))
        };
        let mut h: Vec<Vec<f64>> = tokens.iter().enumerate().map(embed).collect();
        for layer in 0..self.config.n_layers {
            let named = |name: &str| format!("blk.{layer}.{name}");
            let all = |name: &str| h.iter().map(|x| self.affine(&named(name), x)).collect::<Vec<_>>();
            let attended = self.attend(&all("attn_q"), &all("attn_k"), &all("attn_v"));
            let after = |(x, attended): (&Vec<f64>, &Vec<f64>)| {
                let out = self.affine(&named("attn_output"), attended);
                let x = self.norm(&named("attn_output_norm"), &sum(&[out, x.clone()]));
                let up = self.affine(&named("ffn_up"), &x).into_iter().map(gelu).collect::<Vec<_>>();
                self.norm(&named("layer_output_norm"), &sum(&[self.affine(&named("ffn_down"), &up), x]))
            };
            h = h.iter().zip(&attended).map(after).collect();
        }
        h
    }

    fn attend(&self, q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let head_dim = self.config.head_dim;
        let mut out = vec![vec![0.0; self.config.embed_dim]; q.len()];
        for (q, out) in q.iter().zip(&mut out) {
            for at in (0..self.config.embed_dim).step_by(head_dim) {
                let head = at..at + head_dim;
                let dot = |k: &Vec<f64>| q[head.clone()].iter().zip(&k[head.clone()]).map(|(q, k)| q * k).sum::<f64>();
                let weights: Vec<f64> = k.iter().map(|k| (dot(k) / (head_dim as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (weight, v) in weights.iter().zip(v) {
                    out[head.clone()].iter_mut().zip(&v[head.clone()]).for_each(|(out, v)| *out += weight / total * v);
                }
            }
        }
        out
    }
}

fn sum(rows: &[Vec<f64>]) -> Vec<f64> {
    (0..rows[0].len()).map(|idx| rows.iter().map(|row| row[idx]).sum()).collect()
}

/// By the series of the error function, which converges everywhere.
fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut term, mut erf) = (z, z);
    for n in 1..200 {
        term *= -z * z / f64::from(n);
        erf += term / f64::from(2 * n + 1);
    }
    let erf = if z.abs() > 5.0 { z.signum() } else { erf * std::f64::consts::FRAC_2_SQRT_PI };
    0.5 * x * (1.0 + erf)
}

fn cosine(got: &[f32], expected: &[f64]) -> f64 {
    let got: Vec<f64> = got.iter().copied().map(f64::from).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert_eq!(got.len(), expected.len());
    dot(&got, expected) / (dot(&got, &got) * dot(expected, expected)).sqrt()
}

#[test]
fn vectors_agree_with_a_reference_in_f64() {
    let house = House::new();
    let types =
        [(TensorType::F32, 0.999_99), (TensorType::F16, 0.999_99), (TensorType::Q8_0, 0.999), (TensorType::Q4_K, 0.99)];
    for (weight_type, least) in types {
        let gguf = house.gguf(&TinyBert { context_len: 300, ..TinyBert::new(weight_type) });
        let reference = Reference::new(&gguf);
        let mut engine = EncoderEngine::open(&gguf, &options(Some(Pooling::None), 2), None).unwrap();
        // Beyond a tile, a block and a span of attention.
        for (tokens, n_first) in texts(&[1, 17, 290]) {
            let got = encode(&mut engine, &[(tokens.clone(), n_first)]);
            let expected = reference.text(&tokens, n_first);
            for (got, expected) in got.chunks(64.max(engine.shape().width)).zip(&expected) {
                let cosine = cosine(got, expected);
                assert!(cosine > least, "{weight_type}, {} tokens: {cosine}", tokens.len());
            }
            assert_eq!(got.len(), tokens.len() * engine.shape().width);
        }
    }
}

#[test]
fn poolings_are_of_the_tokens_vectors() {
    let house = House::new();
    let gguf = house.gguf(&TinyBert::new(TensorType::F32));
    let text = texts(&[9]);
    let pooled = |pooling| encode(&mut EncoderEngine::open(&gguf, &options(pooling, 1), None).unwrap(), &text);
    let all = pooled(Some(Pooling::None));
    let rows: Vec<&[f32]> = all.chunks(64).collect();
    assert_eq!((pooled(Some(Pooling::Cls)), pooled(Some(Pooling::Last))), (rows[0].to_vec(), rows[8].to_vec()));
    let mean = pooled(Some(Pooling::Mean));
    for (idx, mean) in mean.iter().enumerate() {
        let expected: f32 = rows.iter().map(|row| row[idx]).sum::<f32>() / 9.0;
        assert!((mean - expected).abs() < 1e-5);
    }
    assert_eq!(pooled(None), mean, "the file wants the mean");
}

#[test]
fn a_classifier_scores_the_first_tokens_vector() {
    let house = House::new();
    let gguf = house.gguf(&TinyBert { n_labels: 3, ..TinyBert::reranker(TensorType::F32) });
    let reference = Reference::new(&gguf);
    let mut engine = EncoderEngine::open(&gguf, &options(None, 2), None).unwrap();
    assert_eq!((engine.shape().pooling, engine.shape().width), (Pooling::Rank, 3));
    let texts = texts(&[12, 30, 5]);
    let got = encode(&mut engine, &texts);
    for ((tokens, n_first), got) in texts.iter().zip(got.chunks(3)) {
        let first = reference.text(tokens, *n_first).swap_remove(0);
        let hidden: Vec<f64> = reference.affine("cls", &first).into_iter().map(f64::tanh).collect();
        for (got, expected) in got.iter().zip(reference.affine("cls.output", &hidden)) {
            assert!((f64::from(*got) - expected).abs() < 1e-3, "{got}, {expected}");
        }
    }
}

#[test]
fn company_and_threads_and_kernel_sets_change_nothing() {
    let house = House::new();
    for weight_type in [TensorType::F32, TensorType::Q8_0] {
        let gguf = house.gguf(&TinyBert::new(weight_type));
        let texts = texts(&[1, 16, 33, 2, 64, 17, 5]);
        let mut alone = EncoderEngine::open(&gguf, &options(None, 1), None).unwrap();
        let expected: Vec<f32> = texts.iter().flat_map(|text| encode(&mut alone, std::slice::from_ref(text))).collect();
        for n_threads in [1, 2, 3, 5] {
            let mut engine = EncoderEngine::open(&gguf, &options(None, n_threads), None).unwrap();
            assert_eq!(encode(&mut engine, &texts), expected, "{weight_type}, {n_threads} threads");
            let (mut backwards, mut from_the_end) = (texts.clone(), expected.chunks(64).rev().flatten().copied());
            backwards.reverse();
            assert!(encode(&mut engine, &backwards).into_iter().all(|x| Some(x) == from_the_end.next()));
        }
        for set in kernel_sets() {
            let kernels = kernel_set(set).unwrap();
            let mut engine = EncoderEngine::open(&gguf, &EncoderOptions { kernels, ..options(None, 2) }, None).unwrap();
            assert_eq!(encode(&mut engine, &texts), expected, "{weight_type}, {set}");
        }
    }
}

#[test]
fn the_engine_is_a_tensor_model() {
    let house = House::new();
    let gguf = house.gguf(&TinyBert::new(TensorType::F16));
    let mut engine = EncoderEngine::open(&gguf, &options(None, 1), None).unwrap();
    let tokens = [5, 6, 7].map(TokenId);
    let inputs = encoder_inputs(&[
        EncoderText { tokens: &tokens, n_first: 3 },
        EncoderText { tokens: &tokens[..1], n_first: 0 },
    ]);
    let inputs = inputs.unwrap();
    assert_eq!(engine.io_schema().check_inputs(&inputs), Ok(()));
    let mut outputs = TensorMap::new();
    engine.predict(&inputs, &mut outputs, &Pulse::new()).unwrap();
    let vectors = &outputs[encoder_output_name()];
    assert_eq!(vectors.shape(), [2, 64]);
    assert_eq!(vectors.as_f32().unwrap(), encode(&mut engine, &[(vec![5, 6, 7], 3), (vec![5], 0)]));
}

#[test]
fn calls_outside_the_shape_are_refused_and_leave_the_engine_whole() {
    let house = House::new();
    let gguf = house.gguf(&TinyBert::new(TensorType::F32));
    let options = EncoderOptions { max_batch_tokens: 100, max_batch_texts: 3, ..options(None, 1) };
    let mut engine = EncoderEngine::open(&gguf, &options, None).unwrap();
    let text = |len: usize| (vec![7; len], len);
    let cases = [
        vec![text(0)],
        vec![text(65)],
        vec![text(60), text(41)],
        vec![text(1); 4],
        vec![(vec![-1], 1)],
        vec![(vec![i32::MAX], 1)],
    ];
    for case in cases {
        let texts: Vec<_> = case.iter().map(|(tokens, n_first)| (tokens.as_slice(), *n_first)).collect();
        let error = engine.encode(&texts, &mut Vec::new(), &Pulse::new()).unwrap_err();
        assert!(matches!(error, LlmError::Step { .. }), "{error}");
    }
    assert_eq!(encode(&mut engine, &[text(64)]).len(), 64);
    assert!(encode(&mut engine, &[]).is_empty());
}

#[test]
fn files_that_lie_are_refused_by_type() {
    let house = House::new();
    let tiny = TinyBert::new(TensorType::F32);
    let open = |instead: &[(&str, Value)], more: Option<&str>| {
        let mut writer = tiny.writer(instead).unwrap();
        if let Some(name) = more {
            writer.tensor(name, &[1], TensorType::F32, vec![0; 4]);
        }
        writer.write_file(&house.path()).unwrap();
        let gguf = Gguf::open(&house.path()).unwrap();
        EncoderEngine::open(&gguf, &options(None, 1), None).map(|_| ()).unwrap_err()
    };
    let with = |key: &'static str, value: Value| open(&[(key, value)], None);
    let u32s = [
        ("bert.block_count", 3_u32),
        ("bert.embedding_length", 0),
        ("bert.embedding_length", u32::MAX),
        ("bert.context_length", 65),
        ("bert.feed_forward_length", 64),
        ("bert.attention.head_count", 7),
        ("bert.attention.head_count_kv", 2),
        ("bert.pooling_type", 4),
        ("bert.pooling_type", 9),
        ("bert.expert_count", 8),
    ];
    for (key, value) in u32s {
        let error = with(key, value.into());
        assert_eq!(error.kind(), ballast_backend::ErrorKind::Invalid, "{key}: {error}");
    }
    assert!(matches!(with("bert.attention.causal", true.into()), LlmError::UnsupportedFeature { .. }));
    assert!(matches!(with("general.architecture", "nomic-bert".into()), LlmError::UnsupportedArchitecture { .. }));
    assert!(matches!(with("bert.attention.layer_norm_epsilon", f32::NAN.into()), LlmError::UnsupportedFeature { .. }));
    let more = open(&[], Some("blk.0.attn_q_norm.weight"));
    assert!(matches!(more, LlmError::TensorUnexpected { .. }), "{more}");
    let rank = EncoderEngine::open(&house.gguf(&tiny), &options(Some(Pooling::Rank), 1), None).map(|_| ()).unwrap_err();
    assert!(matches!(rank, LlmError::UnsupportedOption { .. }), "{rank}");
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let house = House::new();
    let bytes = TinyBert::new(TensorType::F32).to_bytes().unwrap();
    for len in [bytes.len() - 1, bytes.len() / 2, 40] {
        std::fs::write(house.path(), &bytes[..len]).unwrap();
        let opened = Gguf::open(&house.path()).map_err(LlmError::from);
        let opened = opened.and_then(|gguf| EncoderEngine::open(&gguf, &options(None, 1), None));
        assert!(matches!(opened.map(|_| ()), Err(LlmError::Gguf(_))), "{len} bytes");
    }
}
