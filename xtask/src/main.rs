//! House work: tidy, fixtures, benchmark tables.
fn main() {}
