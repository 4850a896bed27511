//! Constraints to grammars, for one vocabulary. What was compiled is kept a while, by content.

use super::schema::Wording;
use super::vocabulary::{environment, first_line};
use super::{CONSTRAINT_BYTES_MAX, Constraint, ConstraintError, GrammarMatcher, gbnf, lark, schema};
use crate::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::{ParserFactory, TokenParser};
use serde_json::{Value, json};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Compiled grammars that are kept, the ones asked for last.
pub const GRAMMARS_KEPT_MAX: usize = 32;

/// Stack to compile on. Schemas and grammars may be nested and refer to each other as deep as their bounds allow.
const STACK_BYTES: usize = 64 << 20;

/// What the engine says of a schema, the keyword that it speaks of, and what the value may be. Checked by the oracle
/// `json_schema`, which wants every refusal to name a keyword.
const REFUSALS: [(&str, &str, &str); 4] = [
    (
        "oneOf constraints are not supported",
        "oneOf",
        "schemas that can be told apart by their type or by a constant; or use `anyOf`",
    ),
    ("patternProperty regexes", "patternProperties", "patterns of which no two match the same name"),
    ("for 'multipleOf'", "multipleOf", "a number of few digits"),
    (
        "min/maxProperties only",
        "properties",
        "only names that are required, beside a bound for the number of properties",
    ),
];

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

/// Whether they are the same compilation.
impl PartialEq for Grammar {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.start, &other.start)
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
    /// Held while a grammar is compiled: one at a time, whoever asks.
    turn: Mutex<()>,
}

impl fmt::Debug for GrammarCompiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarCompiler").field("n_kept", &self.kept().grammars.len()).finish_non_exhaustive()
    }
}

impl GrammarCompiler {
    /// A compiler for the vocabulary of a tokenizer.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, factory: OnceLock::new(), kept: Mutex::default(), turn: Mutex::default() }
    }

    /// Compiles a constraint, or finds it compiled. One at a time is compiled, on a thread of its own. May take some hundred milliseconds: not for a thread that must not
    /// wait.
    ///
    /// # Errors
    /// If some of it cannot be enforced, or it is too large; see [`ConstraintError`].
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub fn compile(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        if let Some(grammar) = self.kept().find(constraint) {
            return Ok(grammar);
        }
        within_bounds(constraint)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grammar) = self.kept().find(constraint) {
            return Ok(grammar);
        }
        let compile = || self.compile_now(constraint);
        let grammar = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("ballast-grammar".to_owned()).stack_size(STACK_BYTES);
            let thread = thread.spawn_scoped(scope, compile).expect("the system must grant a thread");
            thread.join().unwrap_or_else(|_| Err(refused(constraint, "it panicked")))
        })?;
        self.kept().keep(constraint.clone(), grammar.clone());
        Ok(grammar)
    }

    /// What the engine refuses as it is, it may take in other words.
    fn compile_now(&self, constraint: &Constraint) -> Result<Grammar, ConstraintError> {
        let factory = self.factory.get_or_init(|| factory(&self.tokenizer)).as_ref().map_err(Clone::clone)?;
        let compile = |wording: Wording| {
            let parser = factory.create_parser(source(constraint, wording)?);
            parser.map_err(|error| refused(constraint, &error.to_string()))
        };
        let mut parser = compile(Wording::AsItIs).or_else(|error| match constraint {
            Constraint::JsonObject | Constraint::Regex(_) => Err(error),
            Constraint::JsonSchema(_) | Constraint::Lark(_) | Constraint::Gbnf(_) => {
                let is_of_engine = matches!(error, ConstraintError::Refused { .. } | ConstraintError::Value { .. });
                if is_of_engine { compile(Wording::Other) } else { Err(error) }
            }
        })?;
        parser.start_without_prompt();
        Ok(Grammar { start: Arc::new(parser) })
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

/// The engine's refusal, in words that a caller can do something with.
fn refused(constraint: &Constraint, cause: &str) -> ConstraintError {
    if let Constraint::JsonSchema(schema) = constraint
        && let Some((_, keyword, expected)) = REFUSALS.iter().find(|(words, ..)| cause.contains(words))
    {
        let pointer = schema::first_with(schema, keyword, "").unwrap_or_default();
        return ConstraintError::Value { keyword: (*keyword).to_owned(), pointer, expected };
    }
    ConstraintError::Refused { what: constraint.kind(), cause: first_line(cause) }
}

/// What the engine of grammars is given.
fn source(constraint: &Constraint, wording: Wording) -> Result<TopLevelGrammar, ConstraintError> {
    let of_schema = |schema| TopLevelGrammar::from_json_schema(lark::with_bounded_whitespace(schema));
    Ok(match constraint {
        Constraint::JsonSchema(schema) => of_schema(schema::enforceable(schema, wording)?),
        Constraint::JsonObject => of_schema(json!({ "type": "object" })),
        Constraint::Regex(regex) => TopLevelGrammar::from_regex(regex),
        Constraint::Lark(grammar) => TopLevelGrammar::from_lark(lark::prepare(grammar, wording)?),
        Constraint::Gbnf(grammar) => TopLevelGrammar::from_lark(lark::prepare(&gbnf::to_lark(grammar)?, wording)?),
    })
}

fn within_bounds(constraint: &Constraint) -> Result<(), ConstraintError> {
    let n_bytes = match constraint {
        Constraint::JsonSchema(schema) => schema.to_string().len(),
        Constraint::JsonObject => 0,
        Constraint::Regex(text) | Constraint::Lark(text) | Constraint::Gbnf(text) => text.len(),
    };
    if n_bytes > CONSTRAINT_BYTES_MAX {
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
        let place = self.grammars.iter().position(|(known, _)| is_same(known, constraint))?;
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

/// Whether two constraints are the same to the letter. Equal objects may have their properties in different orders, and an
/// answer has them in the schema's.
fn is_same(a: &Constraint, b: &Constraint) -> bool {
    match (a, b) {
        (Constraint::JsonSchema(a), Constraint::JsonSchema(b)) => {
            let [a_text, b_text] = [a, b].map(Value::to_string);
            a_text == b_text
        }
        _ => a == b,
    }
}
