//! Several instances of one model, lent one call at a time.
