//! Events: one struct each, which emits log, metric and span together.
