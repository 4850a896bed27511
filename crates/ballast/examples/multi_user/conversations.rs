//! Who the users are, and how their conversations are held side by side.

use ballast::telemetry::{AtLeast, JsonLogger, Level, Telemetry};
use ballast::{CorrelationId, Engine, Generate, TenantId};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Somebody who asks.
#[derive(Debug)]
pub(crate) struct User {
    /// What the user's session, and each of its requests, is called in events.
    pub(crate) correlation: &'static str,
    /// Whose quota, fair share and cached prefixes are theirs.
    pub(crate) tenant: &'static str,
    /// What is asked, one after the other.
    pub(crate) questions: &'static [&'static str],
}

/// Three users of two tenants.
pub(crate) const USERS: [User; 3] = [
    User { correlation: "anna-1", tenant: "north", questions: &["Why is the sky blue?", "And in the evening?"] },
    User { correlation: "ben-1", tenant: "north", questions: &["Name three rivers.", "Which one is the longest?"] },
    User { correlation: "chen-1", tenant: "south", questions: &["What is a prime number?", "Is one of them even?"] },
];

/// Events as JSON lines, those of single tokens left out.
pub(crate) fn json_events(to: impl Write + Send + 'static) -> Telemetry {
    let logger = AtLeast { level: Level::Debug, logger: JsonLogger::new(to) };
    Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::new(logger)) }
}

/// Holds every user's conversation on a thread of its own. One engine runs them in one batch; each session belongs to
/// its thread.
///
/// # Errors
/// The first error of any conversation, or of writing.
pub(crate) fn hold(
    engine: &Engine,
    users: &'static [User],
    max_tokens: usize,
    out: impl Write + Send,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let out = Mutex::new(out);
    std::thread::scope(|scope| {
        let talks: Vec<_> = users.iter().map(|user| scope.spawn(|| talk(engine, user, max_tokens, &out))).collect();
        talks.into_iter().try_for_each(|talk| talk.join().expect("a conversation does not panic"))
    })
}

fn talk(
    engine: &Engine,
    user: &User,
    max_tokens: usize,
    out: &Mutex<impl Write>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let correlation: CorrelationId = user.correlation.parse()?;
    let tenant: TenantId = user.tenant.parse()?;
    let defaults =
        Generate { correlation: Some(correlation), tenant, max_tokens: Some(max_tokens), ..Generate::default() };
    let mut session = engine.chat_session(defaults);
    for question in user.questions {
        let answer = session.send(question)?.finish();
        let text = answer.text.replace(['\n', '\r'], " ");
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(out, "{} [{}] {question} => {}", session.id(), user.tenant, text.trim())?;
    }
    Ok(())
}
