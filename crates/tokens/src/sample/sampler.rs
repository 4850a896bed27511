//! The sampler of one sequence.

use super::candidates::{self, Scratch};
use super::penalties::{Window, penalized};
use super::survey::{Survey, is_bad, not_finite};
use super::weights::Row;
use super::{LogprobsOf, SamplingError, SamplingParams, TokenMask, logprobs, rng};
use ballast_backend::TokenId;

/// A chosen token.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: TokenId,
    /// Its log probability (natural logarithm) in the distribution that [`SamplingParams::logprobs_of`] names, unless told
    /// otherwise the log-softmax of the logits as the engine gave them. NaN where `n_logprobs` was not asked for.
    pub logprob: f32,
    /// The `n_logprobs` most likely tokens of the same distribution, most likely first; the chosen token need not be
    /// among them.
    pub top: Vec<(TokenId, f32)>,
}

/// Chooses the tokens of one sequence.
///
/// What it chooses depends on the parameters, the seed, the logits and the tokens accepted so far, on nothing else.
/// It keeps its buffers, so a token allocates only for the log probabilities it was asked for.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    seed: u64,
    vocab_size: usize,
    window: Window,
    /// Position in the output of the token to choose next: the address of its draw.
    n_output_tokens: u64,
    survey: Survey,
    scratch: Scratch,
}

impl Sampler {
    /// A sampler for a sequence of a model with `vocab_size` tokens. `seed` is used where the parameters give none.
    ///
    /// # Errors
    /// What [`SamplingParams::validate`] reports, a bias for a token outside the vocabulary, a vocabulary of size 0.
    pub fn new(params: &SamplingParams, seed: u64, vocab_size: usize) -> Result<Self, SamplingError> {
        params.validate()?;
        if vocab_size == 0 || u32::try_from(vocab_size).is_err() {
            return Err(SamplingError::VocabSize { got: vocab_size });
        }
        if let Some(&(token, _)) = params.logit_bias.iter().find(|(token, _)| token.index() >= vocab_size) {
            return Err(SamplingError::BiasOutsideVocab { token, vocab_size });
        }
        Ok(Self {
            params: params.clone(),
            seed: params.seed.unwrap_or(seed),
            vocab_size,
            window: Window::new(if params.has_penalties() { params.penalty_window } else { 0 }),
            n_output_tokens: 0,
            survey: Survey::default(),
            scratch: Scratch::default(),
        })
    }

    /// Tells the sampler the prompt, which the penalties count.
    pub fn accept_prompt(&mut self, tokens: &[TokenId]) {
        self.window.extend(tokens);
    }

    /// Tells the sampler tokens of the output that it did not choose itself, such as those of a sequence that is
    /// resumed: they count for the penalties and the draws go on after them.
    pub fn accept_output(&mut self, tokens: &[TokenId]) {
        self.window.extend(tokens);
        self.n_output_tokens += tokens.len() as u64;
    }

    /// Chooses the next token from a row of logits, which is worked on in place, and remembers it for the penalties.
    ///
    /// # Errors
    /// Logits of the wrong length, not a number or positive infinity, or negative infinity throughout. The sampler
    /// is then as it was before.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<Sampled, SamplingError> {
        self.sample_masked(logits, None)
    }

    /// As [`Sampler::sample`], among the tokens that a constraint allows. Of 64 tokens in a row none of which it allows the
    /// logits are not looked at, whatever they are, unless log probabilities are asked for: where it allows few, that is
    /// most of the row.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; a mask of the wrong length or one that allows nothing.
    pub fn sample_masked(&mut self, logits: &mut [f32], allowed: Option<&TokenMask>) -> Result<Sampled, SamplingError> {
        self.check(logits, allowed)?;
        let report = match (self.params.n_logprobs, self.params.logprobs_of) {
            (Some(n), LogprobsOf::Model) => Some(self.report(logits, n)?),
            (Some(_), LogprobsOf::Draw) | (None, _) => None,
        };
        self.adjust(logits);
        self.survey.look(logits, allowed)?;
        let token = TokenId(self.choose(logits).ok_or(SamplingError::NoTokenPossible)?);
        self.window.push(token);
        self.n_output_tokens += 1;
        Ok(match (report, self.params.n_logprobs) {
            (Some(report), _) => {
                Sampled { token, logprob: report.raw_logprob(token, logits[token.index()]), top: report.top }
            }
            (None, Some(n)) => self.drawn(token, logits, n),
            (None, None) => Sampled { token, logprob: f32::NAN, top: Vec::new() },
        })
    }

    /// A token with its log probability among those that it was drawn from, and the most likely of them.
    fn drawn(&mut self, token: TokenId, logits: &[f32], n: usize) -> Sampled {
        let Self { params, survey, scratch, .. } = self;
        if params.is_greedy() {
            return Sampled { token, logprob: 0.0, top: vec![(token, 0.0); n.min(1)] };
        }
        let row = Row { logits, survey, temperature: params.temperature };
        let (logprob, top) = candidates::drawn_logprobs(row, params, (token, n), scratch);
        Sampled { token, logprob, top }
    }

    /// Checks all that adjusting the logits would hide: lengths, and the logits that it changes.
    fn check(&self, logits: &[f32], allowed: Option<&TokenMask>) -> Result<(), SamplingError> {
        if logits.len() != self.vocab_size {
            return Err(SamplingError::LogitsLength { expected: self.vocab_size, got: logits.len() });
        }
        if let Some(mask) = allowed {
            if mask.vocab_size() != self.vocab_size {
                return Err(SamplingError::MaskLength { expected: self.vocab_size, got: mask.vocab_size() });
            }
            if mask.is_empty() {
                return Err(SamplingError::MaskAllowsNothing);
            }
        }
        let is_bad = |token: TokenId| logits.get(token.index()).is_some_and(|logit| is_bad(*logit));
        if self.adjusted().any(is_bad) { Err(not_finite(logits, 0)) } else { Ok(()) }
    }

    /// The tokens whose logits bias and penalties change. A prompt may hold ids that this model has no logit for.
    fn adjusted(&self) -> impl Iterator<Item = TokenId> {
        let biased = self.params.logit_bias.iter().map(|(token, _)| *token);
        biased.chain(self.window.counts().iter().map(|(token, _)| *token))
    }

    /// Log probabilities of the untouched logits.
    fn report(&mut self, logits: &mut [f32], n: usize) -> Result<Report, SamplingError> {
        self.survey.look(logits, None)?;
        let row = Row { logits, survey: &self.survey, temperature: 1.0 };
        let log_sum = logprobs::log_sum_exp(row, &mut self.scratch).ok_or(SamplingError::NoTokenPossible)?;
        let top = logprobs::top(row, n, log_sum, &mut self.scratch);
        let raw = self.adjusted().filter_map(|token| Some((token, *logits.get(token.index())?))).collect();
        Ok(Report { log_sum, top, raw })
    }

    /// Applies bias and penalties.
    fn adjust(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.params.logit_bias {
            let logit = &mut logits[token.index()];
            *logit = (*logit + bias).min(f32::MAX);
        }
        for &(token, count) in self.window.counts() {
            if let Some(logit) = logits.get_mut(token.index()) {
                *logit = penalized(*logit, count, &self.params).min(f32::MAX);
            }
        }
    }

    /// Chooses among the logits that were looked at. `None` if no token is possible.
    fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let Self { params, survey, scratch, .. } = self;
        if params.is_greedy() {
            return candidates::arg_max(logits, survey);
        }
        let row = Row { logits, survey, temperature: params.temperature };
        candidates::choose(row, params, rng::uniform(self.seed, self.n_output_tokens), scratch)
    }
}

/// Log probabilities taken before the logits are adjusted.
struct Report {
    log_sum: f64,
    top: Vec<(TokenId, f32)>,
    /// Logits, as the engine gave them, of the tokens that are adjusted.
    raw: Vec<(TokenId, f32)>,
}

impl Report {
    /// The log probability of a token whose logit, adjusted if it is among the adjusted, is now `logit`.
    fn raw_logprob(&self, token: TokenId, logit: f32) -> f32 {
        let raw = self.raw.iter().find(|(adjusted, _)| *adjusted == token).map_or(logit, |&(_, raw)| raw);
        logprobs::logprob(raw, self.log_sum)
    }
}
