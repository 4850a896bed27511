//! Whether an engine is asked at all: Closed, Open, HalfOpen.
