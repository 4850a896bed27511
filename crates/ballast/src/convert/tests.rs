//! Folders that are converted, and folders that lie.

use super::{ConvertError, ConvertType, convert};
use ballast_gguf::{Gguf, TensorType};
use ballast_llm::tensor_to_f32;
use ballast_testkit::SplitMix;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const DIM: usize = 32;
const FFN: usize = 64;
const TOKENS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##s", "cat"];
/// One more than there are tokens.
const ROWS: usize = 9;

/// A folder with one layer, to be changed by a test.
struct House {
    dir: TempDir,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
    config: Value,
}

fn shapes(n_labels: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![ROWS, DIM]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![16, DIM]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, DIM]),
        ("pooler.dense.weight".to_owned(), vec![DIM, DIM]),
        ("pooler.dense.bias".to_owned(), vec![DIM]),
    ];
    let affine =
        |name: &str, rows, cols| [(format!("{name}.weight"), vec![rows, cols]), (format!("{name}.bias"), vec![rows])];
    let norm = |name: &str| [(format!("{name}.weight"), vec![DIM]), (format!("{name}.bias"), vec![DIM])];
    shapes.extend(norm("embeddings.LayerNorm"));
    for name in ["self.query", "self.key", "self.value", "output.dense"] {
        shapes.extend(affine(&format!("encoder.layer.0.attention.{name}"), DIM, DIM));
    }
    shapes.extend(affine("encoder.layer.0.intermediate.dense", FFN, DIM));
    shapes.extend(affine("encoder.layer.0.output.dense", DIM, FFN));
    shapes.extend(norm("encoder.layer.0.attention.output.LayerNorm"));
    shapes.extend(norm("encoder.layer.0.output.LayerNorm"));
    if n_labels > 0 {
        shapes.extend(affine("classifier", n_labels, DIM));
    }
    shapes
}

impl House {
    fn new(n_labels: usize) -> Self {
        let mut random = SplitMix::new(3);
        let mut tensor = |(name, shape): (String, Vec<usize>)| {
            let n: usize = shape.iter().product();
            let bytes = (0..n).flat_map(|_| random.next_f32().to_le_bytes()).collect();
            (name, (shape, bytes))
        };
        let tensors = shapes(n_labels).into_iter().map(&mut tensor).collect();
        let mut config = json!({
            "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": DIM,
            "intermediate_size": FFN, "layer_norm_eps": 1e-12, "max_position_embeddings": 16,
            "num_attention_heads": 4, "num_hidden_layers": 1, "type_vocab_size": 2, "vocab_size": ROWS,
        });
        if n_labels > 0 {
            config["architectures"] = json!(["BertForSequenceClassification"]);
            config["id2label"] = (0..n_labels).map(|n| (n.to_string(), json!(format!("label {n}")))).collect();
        }
        let house = Self { dir: TempDir::new().unwrap(), tensors, config };
        house.put("vocab.txt", &TOKENS.join("\n"));
        house
    }

    fn put(&self, part: &str, text: &str) {
        let path = self.dir.path().join(part);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out.gguf")
    }

    fn convert_as(&self, weight_type: ConvertType) -> Result<Gguf, ConvertError> {
        self.put("config.json", &self.config.to_string());
        let view = |(shape, bytes): &'_ (Vec<usize>, Vec<u8>)| (shape.clone(), bytes.clone());
        let owned: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name, view(tensor))).collect();
        let views = owned
            .iter()
            .map(|(name, (shape, bytes))| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        fs::write(self.dir.path().join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
        convert(self.dir.path(), &self.out(), weight_type)?;
        Ok(Gguf::open(&self.out()).unwrap())
    }

    fn convert(&self) -> Result<Gguf, ConvertError> {
        self.convert_as(ConvertType::F32)
    }

    /// The refusal; and nothing is left.
    fn refused(&self) -> ConvertError {
        let error = self.convert().map(|_| ()).unwrap_err();
        assert!(!self.out().exists() && !self.out().with_extension("part").exists(), "{error}");
        error
    }
}

#[test]
fn a_folder_becomes_a_file_with_the_same_elements() {
    let house = House::new(0);
    for (weight_type, stored, tolerance) in [
        (ConvertType::F32, TensorType::F32, 0.0),
        (ConvertType::F16, TensorType::F16, 1e-3),
        (ConvertType::Q8_0, TensorType::Q8_0, 1e-2),
    ] {
        let gguf = house.convert_as(weight_type).unwrap();
        let tensor = gguf.tensor("blk.0.ffn_up.weight").unwrap();
        assert_eq!((tensor.tensor_type, tensor.shape.as_slice()), (stored, &[DIM as u64, FFN as u64][..]));
        let (_, bytes) = &house.tensors["encoder.layer.0.intermediate.dense.weight"];
        let expected = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        for (got, expected) in tensor_to_f32(&gguf, tensor).unwrap().into_iter().zip(expected) {
            assert!((got - expected).abs() <= tolerance, "{got} {expected}");
        }
        assert_eq!(gguf.tensor("position_embd.weight").unwrap().tensor_type, TensorType::F32);
        assert_eq!(gguf.tensor("blk.0.attn_q.bias").unwrap().tensor_type, TensorType::F32);
        assert!(gguf.tensor("cls.weight").is_none(), "the pooler is of no use");
    }
}

#[test]
fn the_vocabulary_is_spelled_as_the_format_has_it() {
    let house = House::new(0);
    let tokens = |gguf: &Gguf| -> Vec<String> {
        let strings = gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap();
        strings.strs().map(|token| token.unwrap().to_owned()).collect()
    };
    let spelled = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁the", "s", "▁cat", "[PAD8]"];
    let gguf = house.convert().unwrap();
    assert_eq!(tokens(&gguf), spelled);
    assert_eq!(gguf.metadata().u32("tokenizer.ggml.seperator_token_id").unwrap(), Some(3));
    assert_eq!(gguf.metadata().bool("tokenizer.ggml.normalizer.lowercase").unwrap(), Some(true));

    let vocab: Value = TOKENS.iter().zip(0..).map(|(token, id)| ((*token).to_owned(), json!(id))).collect();
    let added: Vec<Value> = (0..5).map(|id| json!({ "id": id, "content": TOKENS[id], "special": true })).collect();
    let tokenizer = json!({
        "model": { "type": "WordPiece", "vocab": vocab }, "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "lowercase": false, "strip_accents": null },
    });
    house.put("tokenizer.json", &tokenizer.to_string());
    let gguf = house.convert().unwrap();
    assert_eq!(tokens(&gguf), spelled);
    assert_eq!(gguf.metadata().bool("tokenizer.ggml.normalizer.strip_accents").unwrap(), Some(false));
}

#[test]
fn pooling_and_classifier_are_taken_over() {
    let pooling = |gguf: &Gguf| gguf.metadata().u32("bert.pooling_type").unwrap();
    let house = House::new(0);
    assert_eq!(pooling(&house.convert().unwrap()), None);
    house.put("modules.json", r#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]"#);
    house.put("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#);
    assert_eq!(pooling(&house.convert().unwrap()), Some(2));
    let house = House::new(1);
    let gguf = house.convert().unwrap();
    assert_eq!(pooling(&gguf), Some(4));
    assert!(
        ["cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias"]
            .iter()
            .all(|name| gguf.tensor(name).is_some())
    );
}

#[test]
fn settings_that_are_not_known_are_refused_by_name() {
    let cases = [
        ("model_type", json!("roberta")),
        ("hidden_act", json!("relu")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("architectures", json!(["BertForQuestionAnswering"])),
    ];
    for (name, value) in cases {
        let mut house = House::new(0);
        house.config[name] = value;
        let error = house.refused();
        assert!(matches!(error, ConvertError::Unsupported { key, .. } if key == name), "{error}");
    }
}

#[test]
fn folders_whose_parts_contradict_each_other_are_refused() {
    let refused = |change: &dyn Fn(&mut House)| {
        let mut house = House::new(0);
        change(&mut house);
        house.refused()
    };
    let with = |key: &'static str, value: Value| refused(&move |house| house.config[key] = value.clone());
    assert!(matches!(with("hidden_size", json!(64)), ConvertError::Model(_)));
    assert!(matches!(with("hidden_size", json!(-1)), ConvertError::Json { .. }));
    assert!(matches!(with("num_hidden_layers", json!(2)), ConvertError::Model(_)));
    assert!(matches!(with("num_attention_heads", json!(0)), ConvertError::Model(_)));
    assert!(matches!(with("vocab_size", json!(7)), ConvertError::Vocabulary { .. }));
    assert!(matches!(with("vocab_size", json!(20)), ConvertError::Vocabulary { .. }));
    let more = refused(&|house| drop(house.tensors.insert("lora.weight".to_owned(), (vec![1], vec![0; 4]))));
    assert!(matches!(more, ConvertError::TensorUnknown { .. }), "{more}");
}

#[test]
fn a_missing_matrix_is_refused() {
    let mut house = House::new(0);
    house.tensors.remove("encoder.layer.0.output.dense.weight");
    assert!(matches!(house.refused(), ConvertError::Model(_)));
    let mut twice = House::new(0);
    let gamma = twice.tensors["embeddings.LayerNorm.weight"].clone();
    twice.tensors.insert("embeddings.LayerNorm.gamma".to_owned(), gamma);
    assert!(matches!(twice.refused(), ConvertError::TensorTwice { .. }));
}

#[test]
fn parts_that_lead_out_of_the_folder_or_are_not_what_they_say_are_refused() {
    for path in ["", "../secret", "/etc", "a/../../b"] {
        let house = House::new(0);
        house.put("modules.json", &json!([{ "path": path, "type": "a.Pooling" }]).to_string());
        assert!(matches!(house.refused(), ConvertError::Unsupported { key: "path", .. }), "{path}");
    }
    let dense = House::new(0);
    dense.put("modules.json", r#"[{"path": "2_Dense", "type": "a.Dense"}]"#);
    assert!(matches!(dense.refused(), ConvertError::Unsupported { key: "type", .. }));
    let both = House::new(0);
    both.put("modules.json", r#"[{"path": "p", "type": "a.Pooling"}]"#);
    both.put("p/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#);
    assert!(matches!(both.refused(), ConvertError::Unsupported { key: "pooling", .. }));
    let text = House::new(0);
    text.put("tokenizer.json", "{");
    assert!(matches!(text.refused(), ConvertError::Json { .. }));
    let unigram = House::new(0);
    unigram.put("tokenizer.json", r#"{"model": {"type": "Unigram", "vocab": {}}}"#);
    assert!(matches!(unigram.refused(), ConvertError::Unsupported { key: "model.type", .. }));
    let gap = House::new(0);
    let tokenizer = r#"{"model": {"vocab": {"a": 0, "b": 4294967295}}, "normalizer": {"type": "BertNormalizer"}}"#;
    gap.put("tokenizer.json", tokenizer);
    assert!(matches!(gap.refused(), ConvertError::Vocabulary { .. }));
}

#[test]
fn weights_that_are_cut_or_garbled_are_refused() {
    let house = House::new(0);
    house.convert().unwrap();
    fs::remove_file(house.out()).unwrap();
    let path = house.dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let garbled = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    let cases =
        [Vec::new(), bytes[..7].to_vec(), bytes[..bytes.len() - 1].to_vec(), garbled(7, 0xff), garbled(8, b'[')];
    for bytes in cases {
        fs::write(&path, &bytes).unwrap();
        let error = convert(house.dir.path(), &house.out(), ConvertType::F32).unwrap_err();
        assert!(matches!(error, ConvertError::Safetensors { .. }), "{error}");
        assert!(!house.out().exists());
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(convert(house.dir.path(), &house.out(), ConvertType::F32), Err(ConvertError::Read { .. })));
    house.put("model.safetensors.index.json", "{}");
    assert!(matches!(convert(house.dir.path(), &house.out(), ConvertType::F32), Err(ConvertError::Sharded)));
}
