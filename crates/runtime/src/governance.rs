//! Which admitted requests may run, and with which obligations.
