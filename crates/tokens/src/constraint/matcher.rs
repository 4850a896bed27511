//! Where one sequence is in its grammar.

use super::MatchError;
use super::vocabulary::first_line;
use crate::TokenMask;
use ballast_backend::TokenId;
use llguidance::TokenParser;
use llguidance::api::StopReason;
use llguidance::panic_utils::catch_unwind;
use std::fmt;
use std::panic::AssertUnwindSafe;

/// The state of one sequence in its grammar: which tokens may come next, and whether the answer is complete.
///
/// ```text
/// Open  => Open    a token that may come next
///          Done    a token after which nothing can follow, or one that ends the answer where it may end
///          Failed  a bound was met, or nothing may come next
/// ```
///
/// To move it one token on takes microseconds. To tell which tokens may come next takes longer, at times milliseconds,
/// and no longer than the bounds allow; [`GrammarMatcher::prepare`] does that ahead of [`GrammarMatcher::mask`].
pub struct GrammarMatcher {
    parser: TokenParser,
    mask: TokenMask,
    /// The mask is that of the present state.
    is_ready: bool,
    /// Why it cannot go on.
    failed: Option<MatchError>,
}

impl fmt::Debug for GrammarMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrammarMatcher").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}

impl GrammarMatcher {
    pub(super) fn new(parser: TokenParser, vocab_size: usize) -> Self {
        Self { parser, mask: TokenMask::none(vocab_size), is_ready: false, failed: None }
    }

    /// Makes the mask of the present state, unless it is there. Nothing is to be done where the answer is complete.
    ///
    /// # Errors
    /// If that takes too much work, or nothing may come next.
    pub fn prepare(&mut self) -> Result<(), MatchError> {
        if self.is_ready || self.is_done() {
            return Ok(());
        }
        let allowed = self.attempt(TokenParser::compute_mask)?;
        self.mask.set(allowed.as_slice());
        if self.mask.is_empty() {
            return Err(self.fail(MatchError::NothingAllowed));
        }
        self.is_ready = true;
        Ok(())
    }

    /// Whether the mask of the present state is there, so that nobody has to wait for it.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.is_ready
    }

    /// The tokens that may come next: those that end an answer among them where it may end, none where it is complete.
    ///
    /// # Errors
    /// As [`GrammarMatcher::prepare`].
    pub fn mask(&mut self) -> Result<&TokenMask, MatchError> {
        self.prepare()?;
        Ok(&self.mask)
    }

    /// Moves on over a token.
    ///
    /// # Errors
    /// If it may not come next, or that cannot be told.
    pub fn advance(&mut self, token: TokenId) -> Result<(), MatchError> {
        self.prepare()?;
        if self.is_done() || !self.mask.is_allowed(token) {
            return Err(self.fail(MatchError::NotAllowed { token }));
        }
        self.is_ready = false;
        self.attempt(|parser| {
            let n_taken_back = parser.consume_token(token.0)?;
            assert_eq!(n_taken_back, 0, "grammars take no token back");
            parser.check_stop()
        })?;
        if self.is_done() {
            self.mask.clear();
        }
        Ok(())
    }

    /// Whether the answer is complete, so that nothing may follow.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self.parser.stop_reason() {
            StopReason::NoExtension | StopReason::EndOfSentence => self.failed.is_none(),
            StopReason::NotStopped
            | StopReason::NoExtensionBias
            | StopReason::MaxTokensTotal
            | StopReason::MaxTokensParser
            | StopReason::InternalError
            | StopReason::LexerTooComplex
            | StopReason::ParserTooComplex
            | StopReason::Cancelled => false,
        }
    }

    /// Has the engine of grammars do something. Where it fails once, nothing is asked of it any more.
    fn attempt<T, E: fmt::Display>(
        &mut self,
        act: impl FnOnce(&mut TokenParser) -> Result<T, E>,
    ) -> Result<T, MatchError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let parser = &mut self.parser;
        let outcome = catch_unwind(AssertUnwindSafe(|| Ok(act(parser).map_err(|error| error.to_string()))));
        match outcome {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(words)) => Err(self.stopped(&words)),
            Err(panic) => Err(self.fail(MatchError::Failed { cause: first_line(&panic.to_string()) })),
        }
    }

    /// It has stopped where it should not.
    fn stopped(&mut self, words: &str) -> MatchError {
        let cause = first_line(words);
        let error = match self.parser.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex | StopReason::MaxTokensTotal => {
                MatchError::TooComplex { cause }
            }
            StopReason::NoExtensionBias | StopReason::NoExtension => MatchError::NothingAllowed,
            StopReason::NotStopped
            | StopReason::MaxTokensParser
            | StopReason::EndOfSentence
            | StopReason::InternalError
            | StopReason::Cancelled => MatchError::Failed { cause },
        };
        self.fail(error)
    }

    fn fail(&mut self, error: MatchError) -> MatchError {
        self.is_ready = false;
        self.failed.get_or_insert(error).clone()
    }
}
