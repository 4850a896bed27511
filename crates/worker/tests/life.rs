//! Workers as their parent meets them: this test executable, entered again, with engines that answer, fail, hang and
//! die.
#![cfg(unix)]
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "life/answers.rs"]
mod answers;
#[path = "life/death.rs"]
mod death;
#[path = "life/lies.rs"]
mod lies;
#[path = "life/parent.rs"]
mod parent;
#[path = "life/probe.rs"]
mod probe;
#[path = "life/support.rs"]
mod support;
