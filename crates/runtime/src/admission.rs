//! Which requests are taken in: by number and by queued tokens.
