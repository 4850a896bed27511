//! A handle that never leaves its thread: the owner thread, and the clients that reach it.
