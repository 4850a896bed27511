//! The store against directories and servers made for the test: layouts of other programs' stores, and a hub on the
//! loopback interface that cuts, changes, redirects and lies.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod chaos;
mod hub;
#[cfg(unix)]
mod layouts;
mod pulls;
mod refusals;
mod server;
