//! Constraints to grammars, for one vocabulary. What was compiled is kept a while, by content.

use super::vocabulary::{environment, first_line};
use super::{CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, GrammarMatcher};
use crate::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{ParserFactory, TokenParser};
use serde_json::json;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Compiled grammars that are kept, the ones asked for last.
pub const GRAMMARS_KEPT_MAX: usize = 32;

/// Bounds of the engine of grammars. They count work and not time, so the same grammar ends at the same token on every
/// machine. Its own defaults where nothing else is said.
fn limits() -> ParserLimits {
    ParserLimits {
        // A state takes 1 to 2 KiB, and every sequence has its own.
        max_lexer_states: 50_000,
        // What it says of its own state may quote the answer.
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// A constraint, compiled. Clones share it.
#[derive(Clone)]
pub struct Grammar {
    start: Arc<TokenParser>,
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammar")
    }
}

impl Grammar {
    /// The state of a sequence that has no token yet. It shares nothing that changes with others, so what it allows
    /// depends on its own tokens only.
    ///
    /// `vocab_size` is the model's number of logits; tokens past the tokenizer's vocabulary are never allowed.
    #[must_use]
    pub fn matcher(&self, vocab_size: usize) -> GrammarMatcher {
        GrammarMatcher::new(self.start.deep_clone(), vocab_size)
    }
}

/// Compiles constraints for a vocabulary. What the vocabulary needs is built when it is first asked for.
pub struct GrammarCompiler {
    tokenizer: Arc<Tokenizer>,
    factory: OnceLock<Result<ParserFactory, ConstraintError>>,
    kept: Mutex<Kept>,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// A compiler for the vocabulary of a tokenizer.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, factory: OnceLock::new(), kept: Mutex::default() }
    }

    /// Compiles a constraint, or finds it compiled. May take some hundred milliseconds: not for a thread that must not
    /// wait.
    ///
    /// # Errors
    /// If some of it cannot be enforced, or it is too large; see [`ConstraintError`].
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        if let Some(grammar) = self.kept().find(constraint) {
            return Ok(grammar);
        }
        let source = source(constraint)?;
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer)).as_ref().map_err(Clone::clone)?;
        let refused = |cause: &str| ConstraintError::Refused { what: constraint.kind(), cause: first_line(cause) };
        let mut parser = factory.create_parser(source).map_err(|error| refused(&error.to_string()))?;
        parser.start_without_prompt();
        let grammar = Grammar { start: Arc::new(parser) };
        self.kept().keep(constraint.clone(), grammar.clone());
        Ok(grammar)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn factory(tokenizer: &Arc<Tokenizer>) -> Result<ParserFactory, ConstraintError> {
    let environment = environment(tokenizer)?;
    let factory = ParserFactory::new_simple(&environment);
    let mut factory = factory.map_err(|error| ConstraintError::Vocabulary { cause: first_line(&error.to_string()) })?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// What the engine of grammars is given.
fn source(constraint: &Constraint) -> Result<TopLevelGrammar, ConstraintError> {
    match constraint {
        Constraint::JsonSchema(schema) => {
            within_bounds(&schema.to_string())?;
            Ok(TopLevelGrammar::from_json_schema(schema.clone()))
        }
        Constraint::JsonObject => Ok(TopLevelGrammar::from_json_schema(json!({ "type": "object" }))),
        Constraint::Regex(regex) => {
            within_bounds(regex)?;
            Ok(TopLevelGrammar::from_regex(regex))
        }
        Constraint::Lark(grammar) => {
            within_bounds(grammar)?;
            Ok(TopLevelGrammar::from_lark(grammar.clone()))
        }
        Constraint::Gbnf(_) => Err(ConstraintError::Unsupported { word: "GBNF" }),
    }
}

fn within_bounds(text: &str) -> Result<(), ConstraintError> {
    if text.len() > CONSTRAINT_BYTES_MAX {
        return Err(ConstraintError::TooLarge { what: "constraint", max: CONSTRAINT_BYTES_MAX, unit: "bytes" });
    }
    Ok(())
}

/// Compiled grammars, the one asked for last at the end.
#[derive(Default)]
struct Kept {
    grammars: Vec<(Constraint, Grammar)>,
}

impl Kept {
    fn find(&mut self, constraint: &Constraint) -> Option<Grammar> {
        let place = self.grammars.iter().position(|(known, _)| known == constraint)?;
        let entry = self.grammars.remove(place);
        let grammar = entry.1.clone();
        self.grammars.push(entry);
        Some(grammar)
    }

    fn keep(&mut self, constraint: Constraint, grammar: Grammar) {
        if self.find(&constraint).is_some() {
            return;
        }
        if self.grammars.len() == GRAMMARS_KEPT_MAX {
            self.grammars.remove(0);
        }
        self.grammars.push((constraint, grammar));
    }
}
