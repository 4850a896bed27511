//! What is counted, logged and summed up.
