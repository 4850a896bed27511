//! The library as a program meets it: a tiny model file, loaded, asked, cancelled and shared.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "in tests an unwrap is an assertion")]

#[path = "library/answers.rs"]
mod answers;
#[path = "library/chat.rs"]
mod chat;
#[path = "library/company.rs"]
mod company;
#[cfg(unix)]
#[path = "library/isolation.rs"]
mod isolation;
#[path = "library/loading.rs"]
mod loading;
#[path = "library/support.rs"]
mod support;
#[path = "library/tensors.rs"]
mod tensors;
