//! Which tokens may come next in one answer: what it must look like, and thoughts before it, which need not look like it.
//!
//! A constraint holds for what is said. While the model thinks, it waits; where the model may do either, the first token
//! of the mark that opens thoughts is allowed beside what the constraint allows.

use crate::sequence::NoToken;
use ballast_backend::TokenId;
use ballast_tokens::{
    EncodeOptions, Grammar, GrammarMatcher, Sampled, Sampler, SamplingError, ThinkingPlan, ThinkingStep, ThinkingWatch,
    TokenMask, Tokenizer,
};
use std::sync::Arc;

/// The guide of one answer.
#[derive(Debug)]
pub(crate) struct Guide {
    grammar: Option<GrammarMatcher>,
    thinking: Option<Thinking>,
    vocab_size: usize,
}

/// Thoughts of an answer.
#[derive(Debug)]
struct Thinking {
    watch: ThinkingWatch,
    tokenizer: Arc<Tokenizer>,
    /// What the answer after them must look like, and what may come while that waits: nothing that ends the answer.
    waiting: Option<(Grammar, TokenMask)>,
    /// What may come where that is said token by token.
    allowed: TokenMask,
}

impl Guide {
    pub(crate) fn new(
        grammar: Option<Grammar>,
        plan: Option<ThinkingPlan>,
        tokenizer: &Arc<Tokenizer>,
        vocab_size: usize,
    ) -> Self {
        let thoughts = || {
            let mut thoughts = TokenMask::all(vocab_size);
            let ends = tokenizer.end_of_generation_ids().iter();
            ends.filter(|id| id.index() < vocab_size).for_each(|&id| thoughts.forbid(id));
            thoughts
        };
        let thinking = plan.map(|plan| Thinking {
            watch: ThinkingWatch::new(plan, tokenizer),
            tokenizer: Arc::clone(tokenizer),
            waiting: grammar.clone().map(|grammar| (grammar, thoughts())),
            allowed: TokenMask::none(vocab_size),
        });
        Self { grammar: grammar.map(|grammar| grammar.matcher(vocab_size)), thinking, vocab_size }
    }

    /// Whether the answer is complete, so that nothing may follow.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_thinking() && self.grammar.as_ref().is_some_and(GrammarMatcher::is_done)
    }

    fn is_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking.watch.is_thinking())
    }

    /// Does ahead what the next token needs.
    pub(crate) fn prepare(&mut self) {
        if self.is_thinking() {
            return;
        }
        if let Some(grammar) = &mut self.grammar
            && let Err(error) = grammar.prepare()
        {
            // It says so again when it is asked for the mask.
            tracing::debug!(%error, "there is no mask for the next token");
        }
    }

    /// Whether what the next token needs is there already.
    #[cfg(test)]
    pub(crate) fn is_prepared(&self) -> bool {
        self.grammar.as_ref().is_some_and(GrammarMatcher::is_prepared)
    }

    /// The next token, among those that may come.
    pub(crate) fn choose(&mut self, sampler: &mut Sampler, logits: &mut [f32]) -> Result<Sampled, NoToken> {
        let step = self.thinking.as_ref().map_or(ThinkingStep::Answer, |thinking| thinking.watch.step());
        match step {
            ThinkingStep::Answer => self.choose_answer(sampler, logits),
            ThinkingStep::AnswerOr(open) => self.choose_beginning(open, sampler, logits),
            ThinkingStep::Thought => self.choose_thought(None, sampler, logits),
            ThinkingStep::Only(token) => self.choose_thought(Some(token), sampler, logits),
        }
    }

    fn choose_answer(&mut self, sampler: &mut Sampler, logits: &mut [f32]) -> Result<Sampled, NoToken> {
        let Some(grammar) = &mut self.grammar else { return Ok(sampler.sample(logits)?) };
        let sampled = sample(sampler, logits, grammar.mask()?)?;
        grammar.advance(sampled.token)?;
        Ok(sampled)
    }

    /// A token that an answer begins with, or its thoughts.
    fn choose_beginning(
        &mut self,
        open: Option<TokenId>,
        sampler: &mut Sampler,
        logits: &mut [f32],
    ) -> Result<Sampled, NoToken> {
        let Some(thinking) = &mut self.thinking else { return self.choose_answer(sampler, logits) };
        let Some(grammar) = &mut self.grammar else {
            let sampled = sampler.sample(logits)?;
            thinking.watch.push(sampled.token, &thinking.tokenizer);
            return Ok(sampled);
        };
        let answers = grammar.mask()?;
        thinking.allowed.clone_from(answers);
        if let Some(open) = open {
            thinking.allowed.allow(open);
        }
        let sampled = sample(sampler, logits, &thinking.allowed)?;
        if !answers.is_allowed(sampled.token) {
            thinking.watch.open();
            return Ok(sampled);
        }
        grammar.advance(sampled.token)?;
        thinking.watch.push(sampled.token, &thinking.tokenizer);
        if thinking.watch.is_thinking() {
            self.begin_grammar();
        }
        Ok(sampled)
    }

    /// A thought, or the token that must come. A constraint is to be kept to, so that thoughts are not the end of it.
    fn choose_thought(
        &mut self,
        only: Option<TokenId>,
        sampler: &mut Sampler,
        logits: &mut [f32],
    ) -> Result<Sampled, NoToken> {
        let Some(thinking) = &mut self.thinking else { return self.choose_answer(sampler, logits) };
        let sampled = match (only, &thinking.waiting) {
            (Some(token), _) => {
                thinking.allowed.clear();
                thinking.allowed.allow(token);
                sample(sampler, logits, &thinking.allowed)?
            }
            (None, Some((_, thoughts))) => sample(sampler, logits, thoughts)?,
            (None, None) => sampler.sample(logits)?,
        };
        let rest = thinking.watch.push(sampled.token, &thinking.tokenizer);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        if !rest.trim().is_empty() && self.grammar.is_some() {
            self.begin_grammar();
            self.take_rest(&rest)?;
        }
        Ok(sampled)
    }

    /// What is said begins from here.
    fn begin_grammar(&mut self) {
        let waiting = self.thinking.as_ref().and_then(|thinking| thinking.waiting.as_ref());
        self.grammar = waiting.map(|(grammar, _)| grammar.matcher(self.vocab_size));
    }

    /// The token that ended the thoughts also began the answer.
    fn take_rest(&mut self, rest: &str) -> Result<(), NoToken> {
        let (Some(thinking), Some(grammar)) = (&self.thinking, &mut self.grammar) else { return Ok(()) };
        let as_text = EncodeOptions { add_special: false, parse_special: false };
        for token in thinking.tokenizer.encode(rest, as_text) {
            grammar.advance(token)?;
        }
        Ok(())
    }
}

fn sample(sampler: &mut Sampler, logits: &mut [f32], allowed: &TokenMask) -> Result<Sampled, NoToken> {
    match sampler.sample_masked(logits, Some(allowed)) {
        Ok(sampled) => Ok(sampled),
        Err(SamplingError::NoTokenPossible) => Err(NoToken::AllowedAreImpossible),
        Err(error) => Err(error.into()),
    }
}
