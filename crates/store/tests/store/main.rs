//! The store against directories and servers made for the test: layouts of other programs' stores, and a hub on the
//! loopback interface that cuts, changes, redirects and lies.

mod chaos;
mod hub;
mod layouts;
mod pulls;
mod refusals;
mod server;
