//! Which models are served, and under which names.

use crate::failure::Failure;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct ModelsArgs {
    /// Models: each a path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store; NAME=MODEL gives
    /// it another name for clients. The first is the one that is meant where a client names none.
    #[arg(id = "models", num_args = 1.., value_name = "MODEL", value_parser = parse)]
    models: Vec<NamedModel>,
    /// The first model's name for clients [default: the name given].
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    /// Where one model is served, let requests name any model or none on every wire.
    #[arg(long)]
    any_model: bool,
}

/// A model, and what clients call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedModel {
    /// For clients.
    pub(crate) id: String,
    /// As the store knows it.
    pub(crate) model: String,
}

impl NamedModel {
    /// The file's name without its folder, where it was named by its path.
    fn file_name_of(model: &str) -> Option<&str> {
        let path = std::path::Path::new(model);
        path.extension().filter(|extension| *extension == "gguf").and(path.file_name())?.to_str()
    }

    /// The file's name without its folder; empty where the model was not named by a path.
    pub(crate) fn file_name(&self) -> String {
        Self::file_name_of(&self.model).unwrap_or_default().to_owned()
    }
}

impl ModelsArgs {
    /// Whether requests may name any model.
    pub(crate) fn any(&self) -> bool {
        self.any_model
    }

    /// The models in order; there may be none where `others` are served.
    pub(crate) fn named(&self, others: bool) -> Result<Vec<NamedModel>, Failure> {
        let mut models = self.models.clone();
        if let (Some(first), Some(alias)) = (models.first_mut(), &self.alias) {
            first.id.clone_from(alias);
        }
        if models.is_empty() && !others {
            return Err(Failure::usage("no model to serve is named").try_this("ballast serve default"));
        }
        Ok(models)
    }
}

/// What stands before a `=` is a name, unless it is a part of a path.
fn parse(text: &str) -> Result<NamedModel, String> {
    let (id, model) = match text.split_once('=') {
        Some((id, model)) if !id.contains(['/', '\\']) => (id, model),
        Some(_) | None => (text, text),
    };
    if id.is_empty() || model.is_empty() {
        return Err(format!("expected MODEL or NAME=MODEL, got {text:?}"));
    }
    Ok(NamedModel { id: id.to_owned(), model: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        models: ModelsArgs,
    }

    fn named(args: &[&str]) -> Option<Vec<(String, String)>> {
        let line = Line::try_parse_from(args).ok()?;
        Some(line.models.named(false).ok()?.into_iter().map(|named| (named.id, named.model)).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(id, model)| ((*id).to_owned(), (*model).to_owned())).collect())
    }

    #[test]
    fn models_have_the_name_given_or_another() {
        assert_eq!(named(&["default"]), pairs(&[("default", "default")]));
        assert_eq!(named(&["a=x.gguf", "hf:u/r:Q4_1"]), pairs(&[("a", "x.gguf"), ("hf:u/r:Q4_1", "hf:u/r:Q4_1")]));
        assert_eq!(named(&["x.gguf", "y.gguf", "--alias", "b"]), pairs(&[("b", "x.gguf"), ("y.gguf", "y.gguf")]));
        assert_eq!(named(&["./odd=name.gguf"]), pairs(&[("./odd=name.gguf", "./odd=name.gguf")]));
        for wrong in [&[][..], &["=x"], &["x="], &[""]] {
            assert_eq!(named(wrong), None, "{wrong:?}");
        }
    }
}
