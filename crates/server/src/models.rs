//! The models that are served, by name.

use crate::ServerError;
use crate::api_error::ApiError;
use ballast_runtime::Runtime;
use ballast_tokens::PromptFormat;
use std::ops::Deref;
use std::sync::Arc;

/// Most models that one server knows.
pub const MODELS_MAX: usize = 256;
/// Most names that a caller is told who asked for another.
const NAMES_TOLD_MAX: usize = 8;

/// A model that is served.
#[derive(Clone, Debug)]
pub struct ServedModel {
    /// Its name on the wire.
    pub id: String,
    /// Other names that find it.
    pub aliases: Vec<String>,
    /// What it does.
    pub kind: ModelKind,
    /// What else decides the bytes of an answer: model digest and kernels. Sent as `system_fingerprint`.
    pub fingerprint: String,
    /// When the model was loaded, in seconds since 1970.
    pub created: i64,
    /// What its file is.
    pub facts: ModelFacts,
}

/// What a model does, and with what.
#[derive(Clone, Debug)]
pub enum ModelKind {
    /// It answers prompts token by token.
    Generator(Generator),
}

/// A model that answers prompts. Clones are the same model.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The engine at work.
    pub runtime: Runtime,
    /// How conversations become prompts.
    pub format: PromptFormat,
}

/// What is told of a model's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFacts {
    /// As the file names it: `llama`.
    pub architecture: String,
    /// Number of weights.
    pub n_parameters: u64,
    /// The type that most weights are stored in: `Q4_1`.
    pub quantization: String,
    /// Its name without the folder; empty where it is not told.
    pub file_name: String,
    /// Length of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file in hexadecimal; empty where nobody computed it.
    pub sha256: String,
}

impl ServedModel {
    /// Whether `name` is its name, or one of its others.
    fn answers_to(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// Positions of one sequence.
    pub(crate) fn context_len(&self) -> usize {
        match &self.kind {
            ModelKind::Generator(generator) => generator.runtime.shape().context_len,
        }
    }

    /// What generates, if it does.
    pub(crate) fn generator(&self) -> Option<&Generator> {
        match &self.kind {
            ModelKind::Generator(generator) => Some(generator),
        }
    }
}

/// The models that are served. The first is the one that wires without a model's name mean.
#[derive(Clone, Debug)]
pub struct ServedModels(Arc<[Arc<ServedModel>]>);

impl ServedModels {
    /// The models, which stay as they are.
    ///
    /// # Errors
    /// If there are none or more than [`MODELS_MAX`], one has no name, or two have the same.
    pub fn new(models: Vec<ServedModel>) -> Result<Self, ServerError> {
        let wrong = |expected| Err(ServerError::Option { option: "models", expected });
        if models.is_empty() || models.len() > MODELS_MAX {
            return wrong("1 to 256 models");
        }
        let mut names: Vec<&str> = models
            .iter()
            .flat_map(|model| std::iter::once(&model.id).chain(&model.aliases))
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        if names.first().is_some_and(|name| name.is_empty()) {
            return wrong("a name for every model");
        }
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return wrong("another name for each model");
        }
        Ok(Self(models.into_iter().map(Arc::new).collect()))
    }

    /// The model of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn find(&self, name: &str) -> Result<ModelUse, ApiError> {
        let found = self.0.iter().find(|model| model.answers_to(name));
        found.map(|model| ModelUse(Arc::clone(model))).ok_or_else(|| ApiError::ModelUnknown { served: self.names() })
    }

    /// The one that is meant where none is named.
    pub(crate) fn first(&self) -> ModelUse {
        ModelUse(Arc::clone(&self.0[0]))
    }

    /// Whether there is only one.
    pub(crate) fn is_single(&self) -> bool {
        self.0.len() == 1
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ServedModel> {
        self.0.iter().map(Arc::as_ref)
    }

    /// What a caller is told who asked for another.
    fn names(&self) -> String {
        let names: Vec<String> = self.iter().take(NAMES_TOLD_MAX).map(|model| format!("`{}`", model.id)).collect();
        let n_more = self.0.len().saturating_sub(NAMES_TOLD_MAX);
        let more = if n_more > 0 { format!(" and {n_more} more") } else { String::new() };
        names.join(", ") + &more
    }
}

/// A use of a model: it stays as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct ModelUse(Arc<ServedModel>);

impl Deref for ModelUse {
    type Target = ServedModel;

    fn deref(&self) -> &ServedModel {
        &self.0
    }
}

/// A use of a model that generates.
#[derive(Clone, Debug)]
pub(crate) struct GeneratorUse {
    // Dropped before the use of the model: whoever ends that counts on nothing else holding it.
    generator: Generator,
    model: ModelUse,
}

impl TryFrom<ModelUse> for GeneratorUse {
    type Error = ApiError;

    /// # Errors
    /// If the model does something else.
    fn try_from(model: ModelUse) -> Result<Self, ApiError> {
        let generator = model.generator().cloned();
        let generator = generator.ok_or_else(|| ApiError::ModelCannot { model: model.id.clone(), what: "generate" })?;
        Ok(Self { generator, model })
    }
}

impl GeneratorUse {
    /// The engine at work.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.generator.runtime
    }

    /// How conversations become prompts.
    pub(crate) fn format(&self) -> &PromptFormat {
        &self.generator.format
    }

    /// The use of the model, for as long as its answers are in progress.
    pub(crate) fn into_model(self) -> ModelUse {
        self.model
    }
}

impl Deref for GeneratorUse {
    type Target = ServedModel;

    fn deref(&self) -> &ServedModel {
        &self.model
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_runtime::RuntimeParts;
    use ballast_testkit::{Script, VirtualClock, tiny_prompt_format};

    fn model(id: &str, alias: Option<&str>) -> ServedModel {
        let format = tiny_prompt_format();
        let tokenizer = Arc::clone(format.tokenizer());
        let parts = RuntimeParts::new(Arc::clone(&tokenizer), Arc::new(VirtualClock::new()));
        let script = Script::answering(tokenizer.vocab_size(), Vec::new(), Vec::new(), ballast_backend::TokenId(0));
        let runtime = Runtime::start(Box::new(script.engine().0), parts);
        ServedModel {
            id: id.to_owned(),
            aliases: alias.into_iter().map(str::to_owned).collect(),
            kind: ModelKind::Generator(Generator { runtime, format }),
            fingerprint: String::new(),
            created: 0,
            facts: ModelFacts::default(),
        }
    }

    #[test]
    fn every_name_means_one_model() {
        let refused = |models: Vec<ServedModel>| ServedModels::new(models).is_err();
        let one = model("a", Some("b"));
        let named = |id: &str, alias: Option<&str>| ServedModel {
            id: id.to_owned(),
            aliases: alias.into_iter().map(str::to_owned).collect(),
            ..one.clone()
        };
        assert!(refused(Vec::new()));
        assert!(refused(vec![named("", None)]));
        assert!(refused(vec![named("a", None), named("a", None)]));
        assert!(refused(vec![named("a", None), named("b", Some("a"))]));
        assert!(refused(vec![named("a", Some("a"))]));
        let many = |n: usize| (0..n).map(|idx| named(&format!("m{idx}"), None)).collect::<Vec<_>>();
        assert!(refused(many(MODELS_MAX + 1)));
        let served = ServedModels::new(many(MODELS_MAX)).unwrap();
        let error = served.find("none").unwrap_err().message();
        assert!(error.contains("`m0`, `m1`") && error.ends_with("and 248 more; /v1/models lists all"), "{error}");
    }
}
