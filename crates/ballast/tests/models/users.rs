//! The example of several users, run on a tiny model: every event of a conversation says whose it is.

#[path = "../../examples/multi_user/conversations.rs"]
mod conversations;

use crate::support::{Shelf, quiet};
use ballast::telemetry::{RingLogger, Telemetry};
use ballast::{CorrelationId, Engine, Generate, LoadOptions};
use conversations::{USERS, User, hold, json_events};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Events that belong to a session or a request.
const OF_A_USER: [&str; 5] = ["session_created", "request_started", "first_token", "request_ended", "session_disposed"];

/// How often each event came, by correlation id, tenant and name.
fn tally(events: &str) -> BTreeMap<(String, String, String), usize> {
    let mut tally = BTreeMap::new();
    for line in events.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        *tally.entry((word("correlation_id"), word("tenant_id"), word("event"))).or_default() += 1;
    }
    tally
}

#[test]
fn every_event_of_a_conversation_says_whose_it_is() {
    let shelf = Shelf::new();
    let (events, answers) = (shelf.path("events"), shelf.path("answers"));
    {
        let telemetry = json_events(std::fs::File::create(&events).unwrap());
        let engine = Engine::load(&shelf.file(1), &LoadOptions { telemetry, ..quiet() }).unwrap();
        hold(&engine, &USERS, 6, std::fs::File::create(&answers).unwrap()).unwrap();
    }
    let tally = tally(&std::fs::read_to_string(&events).unwrap());
    for User { correlation, tenant, questions } in &USERS {
        let n_of = |event: &str| {
            tally.get(&(correlation.to_string(), tenant.to_string(), event.to_owned())).copied().unwrap_or(0)
        };
        assert_eq!(OF_A_USER.map(n_of), [1, questions.len(), questions.len(), questions.len(), 1], "{correlation}");
    }
    let whose: BTreeSet<(&str, &str)> = tally
        .keys()
        .filter(|(_, _, event)| OF_A_USER.contains(&event.as_str()))
        .map(|(correlation, tenant, _)| (correlation.as_str(), tenant.as_str()))
        .collect();
    assert_eq!(whose, USERS.iter().map(|user| (user.correlation, user.tenant)).collect(), "nobody else's");
    let answers = std::fs::read_to_string(&answers).unwrap();
    for User { correlation, tenant, questions } in &USERS {
        let of_user: Vec<&str> =
            answers.lines().filter(|line| line.starts_with(&format!("{correlation} [{tenant}] "))).collect();
        assert_eq!(of_user.len(), questions.len(), "{answers}");
        assert!(of_user.iter().zip(*questions).all(|(line, question)| line.contains(question)), "in their order");
    }
}

#[test]
fn a_session_without_an_id_gets_one_of_its_own() {
    let shelf = Shelf::new();
    let ring = Arc::new(RingLogger::new(256));
    let telemetry = Telemetry { metrics: Some(Arc::default()), logger: Some(Arc::clone(&ring) as _) };
    let engine = Engine::load(&shelf.file(1), &LoadOptions { telemetry, ..quiet() }).unwrap();
    let open = || engine.chat_session(Generate { max_tokens: Some(2), ..Generate::default() });
    let (mut first, second) = (open(), open());
    assert_ne!(first.id(), second.id());
    first.send("hello").unwrap().finish();
    let (first_id, second_id): (CorrelationId, CorrelationId) = (first.id().clone(), second.id().clone());
    drop((first, second));
    let names_of = |id: &CorrelationId| {
        let records = ring.records().into_iter().filter(|record| record.correlation.as_ref() == Some(id));
        records.map(|record| record.name).filter(|name| OF_A_USER.contains(name)).collect::<Vec<_>>()
    };
    assert_eq!(names_of(&first_id), OF_A_USER);
    assert_eq!(names_of(&second_id), ["session_created", "session_disposed"]);
    assert_eq!(engine.metrics().unwrap().engines.created, 1);
}
