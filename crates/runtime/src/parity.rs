//! How far two engines differ on the same inputs.
