//! A tensor model that keeps answering: pool, deadline, watchdog, breaker, fallback, parity.
