//! The guards in front of the server, and what stands there without them.

use super::Mutant;

/// Every guard that a mutant lacks.
pub(super) const TABLE: &[Mutant] = &[
    Mutant {
        name: "logins: an address that guesses waits",
        file: "crates/server/src/limits/logins.rs",
        old: "Err(Empty::Until(wait)) => Err(wait),",
        new: "Err(Empty::Until(_)) => Ok(()),",
    },
    Mutant {
        name: "logins: addresses that are told apart are bounded",
        file: "crates/server/src/limits/logins.rs",
        old: "        if self.has_place_for(&account, now) {\n",
        new: "        if self.has_place_for(&account, now) || true {\n",
    },
    Mutant {
        name: "logins: no key is looked at while an address waits",
        file: "crates/server/src/keys.rs",
        old: "    server.logins.check(address).map_err(|retry_after| Limited::Logins { retry_after })?;\n",
        new: "",
    },
    Mutant {
        name: "logins: wrong keys are noted",
        file: "crates/server/src/keys.rs",
        old: "        server.logins.note_failure(address);\n",
        new: "",
    },
    Mutant {
        name: "logins: keys that have ended are no guesses",
        file: "crates/server/src/keys.rs",
        old: "    if matches!(opened, Err(Refusal::Key)) {\n",
        new: "    if opened.is_err() {\n",
    },
    Mutant {
        name: "keys: each is compared, whatever was found",
        file: "crates/server/src/digest.rs",
        old: "    all.iter().fold(Choice::from(0), |found, one| found | is_it(one))\n",
        new: "    Choice::from(u8::from(all.iter().any(|one| is_it(one).into())))\n",
    },
    Mutant {
        name: "keys: the secret is compared, not the identifier alone",
        file: "crates/server/src/key_store.rs",
        old: "        let is_same = expected == KeyDigest::of(presented);\n",
        new: "        let is_same = record.is_some();\n",
    },
    Mutant {
        name: "keys: what was revoked opens nothing",
        file: "crates/server/src/key_store.rs",
        old: "    if record.revoked.is_some() {\n",
        new: "    if false {\n",
    },
    Mutant {
        name: "keys: what has expired opens nothing",
        file: "crates/server/src/key_store.rs",
        old: "    if record.terms.expires.is_some_and(|expires| expires <= now) {\n",
        new: "    if false {\n",
    },
    Mutant {
        name: "keys: a certificate opens one record",
        file: "crates/server/src/key_store/file.rs",
        old: "        if certificate.is_some_and(|certificate| !certificates.insert(certificate)) {\n",
        new: "        if false {\n",
    },
    Mutant {
        name: "guard: the route's scope is needed",
        file: "crates/server/src/guard.rs",
        old: "        caller.check_scope(scope)?;\n",
        new: "        let _ = scope;\n",
    },
    Mutant {
        name: "guard: routes that generate nothing have a time",
        file: "crates/server/src/guard.rs",
        old: "timeout(max, answer).await.unwrap_or_else(|_| ApiError::RouteTimeout { max }.into_response())",
        new: "timeout(max * 1_000_000, answer).await.unwrap_or_else(|_| ApiError::RouteTimeout { max }.into_response())",
    },
    Mutant {
        name: "guard: work in the background can be ended by who has as much as may be",
        file: "crates/server/src/guard.rs",
        old: "        limits.concurrency = None;\n",
        new: "        limits.requests = limits.requests;\n",
    },
    Mutant {
        name: "bulkheads: embeddings have places of their own",
        file: "crates/server/src/bulkheads.rs",
        old: "            RouteClass::Embeddings => &self.embeddings,\n",
        new: "            RouteClass::Embeddings => &self.generation,\n",
    },
    Mutant {
        name: "bulkheads: operators have places of their own",
        file: "crates/server/src/bulkheads.rs",
        old: "            RouteClass::Admin => &self.admin,\n",
        new: "            RouteClass::Admin => &self.reading,\n",
    },
    Mutant {
        name: "limits: requests of a caller at a time are bounded",
        file: "crates/server/src/limits/accounts.rs",
        old: "            && state.n_active >= limit.get()\n",
        new: "            && state.n_active > limit.get()\n",
    },
    Mutant {
        name: "limits: a seat is left when it is dropped",
        file: "crates/server/src/limits.rs",
        old: "        self.limits.accounts().leave(&self.account);\n",
        new: "",
    },
    Mutant {
        name: "limits: tokens that were not used come back",
        file: "crates/server/src/limits.rs",
        old: "            self.seat.limits.accounts().settle(&self.seat.account, limit, self.reserved, self.used);\n",
        new: "            self.seat.limits.accounts().settle(&self.seat.account, limit, self.used, self.used);\n",
    },
    Mutant {
        name: "tls: a handshake is over in its time",
        file: "crates/server/src/tls/socket.rs",
        old: "                    ready!(overdue.as_mut().poll(context));\n",
        new: "                    if overdue.as_mut().poll(context).is_ready() {}\n                    return Poll::Pending;\n                    #[allow(unreachable_code)]\n",
    },
    Mutant {
        name: "tls: HTTP/2 is offered",
        file: "crates/server/src/tls.rs",
        old: "vec![b\"h2\".to_vec(), b\"http/1.1\".to_vec()]",
        new: "vec![b\"http/1.1\".to_vec()]",
    },
    Mutant {
        name: "connections: a head has a time of its own",
        file: "crates/server/src/connection/activity.rs",
        old: "            Some(since) => since.saturating_add(limits.header_timeout),\n",
        new: "            Some(since) => since.saturating_add(limits.idle_timeout),\n",
    },
    Mutant {
        name: "connections: who takes nothing is given up",
        file: "crates/server/src/connection/stall.rs",
        old: "        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))\n",
        new: "        Poll::Pending\n",
    },
    Mutant {
        name: "connections: one that does nothing makes room",
        file: "crates/server/src/connection/places.rs",
        old: "            watched.is_closed.store(true, Ordering::Relaxed);\n",
        new: "            watched.is_closed.store(false, Ordering::Relaxed);\n",
    },
];
