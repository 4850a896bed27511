//! What a token costs beside the forward pass, measured on this machine.
//!
//!     cargo run --release -p ballast-tokens --example speed -- MODEL.gguf [TEXT...]
//!
//! Sampling over realistic logits, encoding beside the `tokenizers` crate, decoding. The texts are those of the files
//! given, each measured by itself; without any, this repository's documents and code. One thread; every figure is the
//! median of [`table::N_ROUNDS`] rounds, with the best of them beside it.

mod decoding;
mod encoding;
mod sampling;
mod table;

use ballast_gguf::Gguf;
use ballast_tokens::{Tokenizer, TokenizerOptions, TokenizerSource};
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use table::Table;

/// A text and what it is called in the table.
pub(crate) struct Text {
    pub(crate) name: String,
    pub(crate) text: String,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let told = match args.split_first().map(|(model, texts)| measure(Path::new(model), texts)) {
        Some(Ok(table)) => std::io::stdout().write_all(table.as_bytes()).map(|()| ExitCode::SUCCESS),
        Some(Err(error)) => writeln!(std::io::stderr(), "speed: {error}").map(|()| ExitCode::FAILURE),
        None => writeln!(std::io::stderr(), "speed: expected MODEL.gguf [TEXT...]").map(|()| ExitCode::from(2)),
    };
    told.unwrap_or(ExitCode::FAILURE)
}

fn measure(model: &Path, paths: &[String]) -> Result<String, Box<dyn Error>> {
    let gguf = Gguf::open(model)?;
    let source = TokenizerSource::from_metadata(gguf.metadata())?;
    let (tokenizer, _) = Tokenizer::new(&source, &TokenizerOptions::default())?;
    let tokenizer = Arc::new(tokenizer);
    let texts = if paths.is_empty() { own_texts()? } else { given_texts(paths)? };
    let mut table = Table::default();
    sampling::measure(&mut table)?;
    encoding::measure(&mut table, &tokenizer, &source, &texts)?;
    decoding::measure(&mut table, &tokenizer, &texts);
    Ok(table.text())
}

fn given_texts(paths: &[String]) -> Result<Vec<Text>, Box<dyn Error>> {
    let read = |path: &String| Ok(Text { name: path.clone(), text: std::fs::read_to_string(path)? });
    paths.iter().map(read).collect()
}

/// The documents, the code, and both in turn with lines of other scripts between.
fn own_texts() -> Result<Vec<Text>, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut english, mut code) = (String::new(), String::new());
    gather(&root.join("docs"), "md", &mut english)?;
    gather(&root.join("crates"), "rs", &mut code)?;
    let lines = english.lines().cycle().zip(code.lines()).zip(OTHER_SCRIPTS.iter().cycle());
    let mixed = lines.map(|((prose, code), other)| format!("{prose}\n{code}\n{other}\n")).collect();
    let named = |name: &str, text| Text { name: name.to_owned(), text };
    Ok(vec![named("english", english), named("code", code), named("mixed", mixed)])
}

const OTHER_SCRIPTS: [&str; 6] = [
    "Größe, Überprüfung und façade: ½ Liter für 3,50 €.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "我能吞下玻璃而不伤身体。今天是2026年11月21日。",
    "私はガラスを食べられます。それは私を傷つけません。",
    "أنا قادر على أكل الزجاج و هذا لا يؤلمني.",
    "🦙🚢 e\u{301} ≤ 42 → ∑ xᵢ",
];

/// Appends every file with this extension, in the order of names, so that the text is the same everywhere.
fn gather(folder: &Path, extension: &str, text: &mut String) -> std::io::Result<()> {
    let mut paths = std::fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, extension, text)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            text.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
