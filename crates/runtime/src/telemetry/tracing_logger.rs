//! Passes log events on to `tracing`, each value as a field of its own.
//!
//! The macros of `tracing` want the keys of an event where they are written. Here they come with the event, so the
//! callsite that a macro would make is made when an event is first seen, and kept for the life of the process. There
//! is one for each kind of event and level, so their number is bounded by the program.

use super::fields::millis;
use super::{FIELDS_MAX, Level, Logger, RuntimeLogEvent, Value};
use std::sync::{OnceLock, PoisonError, RwLock};
use tracing::callsite::{Callsite, Identifier};
use tracing::field::{Field, FieldSet};
use tracing::level_filters::LevelFilter;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Metadata, dispatcher};

/// The target of every event.
const TARGET: &str = "ballast";

/// What every event has before its own keys.
const HEAD: [&str; 4] = ["message", "event", "correlation_id", "tenant_id"];

/// Passes every event to the `tracing` subscriber of the thread or process, under the target `ballast`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingLogger;

impl Logger for TracingLogger {
    fn enabled(&self, level: Level) -> bool {
        level_of(level) <= LevelFilter::current()
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        let metadata = Site::of(event).made();
        if dispatcher::get_default(|dispatch| dispatch.enabled(metadata)) {
            dispatch(metadata, event);
        }
    }
}

fn dispatch(metadata: &'static Metadata<'static>, event: &RuntimeLogEvent<'_>) {
    let correlation = event.ids.correlation.map(tracing::field::display);
    let tenant = event.ids.tenant.map(tracing::field::display);
    let mut values: [Option<&dyn tracing::Value>; HEAD.len() + FIELDS_MAX] = [None; HEAD.len() + FIELDS_MAX];
    values[0] = Some(&event.message);
    values[1] = Some(&event.name);
    values[2] = correlation.as_ref().map(|id| id as _);
    values[3] = tenant.as_ref().map(|id| id as _);
    let mut times = [0.0; FIELDS_MAX];
    for (millis_of, (_, value)) in times.iter_mut().zip(event.fields.as_slice()) {
        if let Value::Time(time) = value {
            *millis_of = millis(*time);
        }
    }
    for ((slot, (_, value)), time) in values[HEAD.len()..].iter_mut().zip(event.fields.as_slice()).zip(&times) {
        *slot = match value {
            Value::Absent => None,
            Value::Count(count) => Some(count),
            Value::Number(number) => Some(number),
            Value::Time(_) => Some(time),
            Value::Word(word) => Some(word),
            Value::Flag(flag) => Some(flag),
        };
    }
    let Some(first) = metadata.fields().field(HEAD[0]) else { return };
    // A callsite may have fewer fields than there are slots; the slots that are left have no value.
    let mut fields = metadata.fields().iter();
    let fields: [Field; HEAD.len() + FIELDS_MAX] =
        std::array::from_fn(|_| fields.next().unwrap_or_else(|| first.clone()));
    let pairs: [(&Field, Option<&dyn tracing::Value>); HEAD.len() + FIELDS_MAX] =
        std::array::from_fn(|idx| (&fields[idx], values[idx]));
    tracing::Event::dispatch(metadata, &metadata.fields().value_set(&pairs));
}

fn level_of(level: Level) -> tracing::Level {
    match level {
        Level::Trace => tracing::Level::TRACE,
        Level::Debug => tracing::Level::DEBUG,
        Level::Info => tracing::Level::INFO,
        Level::Warn => tracing::Level::WARN,
        Level::Error => tracing::Level::ERROR,
    }
}

/// Where events of one kind and level come from, as `tracing` knows it.
struct Site {
    name: &'static str,
    level: Level,
    /// [`HEAD`], then the event's own.
    keys: Box<[&'static str]>,
    metadata: OnceLock<Metadata<'static>>,
}

/// Every site there is.
static SITES: RwLock<Vec<&'static Site>> = RwLock::new(Vec::new());

impl Site {
    fn of(event: &RuntimeLogEvent<'_>) -> &'static Self {
        let known = SITES.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = known.iter().find(|site| site.is_of(event)) {
            return site;
        }
        drop(known);
        let mut known = SITES.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(site) = known.iter().find(|site| site.is_of(event)) {
            return site;
        }
        let site = Self::new(event);
        site.made();
        known.push(site);
        drop(known);
        tracing::callsite::register(site);
        site
    }

    fn new(event: &RuntimeLogEvent<'_>) -> &'static Self {
        let own = event.fields.as_slice().iter().map(|(key, _)| *key);
        let keys = HEAD.into_iter().chain(own).collect();
        Box::leak(Box::new(Self { name: event.name, level: event.level, keys, metadata: OnceLock::new() }))
    }

    fn is_of(&self, event: &RuntimeLogEvent<'_>) -> bool {
        let own = event.fields.as_slice().iter().map(|(key, _)| key);
        self.level == event.level && self.name == event.name && self.keys[HEAD.len()..].iter().eq(own)
    }

    fn made(&'static self) -> &'static Metadata<'static> {
        self.metadata.get_or_init(|| {
            let fields = FieldSet::new(&self.keys, Identifier(self));
            Metadata::new(self.name, TARGET, level_of(self.level), None, None, Some(TARGET), fields, Kind::EVENT)
        })
    }
}

impl Callsite for Site {
    /// Each event asks the subscriber itself, which may be another on each thread.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("a site's metadata is made before the site is known to anyone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CorrelationId, Fields, Ids, TenantId};
    use std::fmt;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing::field::Visit;
    use tracing::span;

    /// Keeps what it is told, as text.
    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0 += &format!(" {}={value:?}", field.name());
        }
    }

    struct Sink(Arc<Seen>);

    impl tracing::Subscriber for Sink {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::DEBUG
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(LevelFilter::DEBUG)
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let metadata = event.metadata();
            let mut text = Text(format!("{} {} {}:", metadata.level(), metadata.target(), metadata.name()));
            event.record(&mut text);
            self.0.0.lock().unwrap().push(text.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn every_value_becomes_a_field_of_its_own() {
        let (correlation, tenant) = (CorrelationId::from_number(1), TenantId::default());
        let fields = Fields::of([
            ("n", 3_u64.into()),
            ("t_ms", Duration::from_micros(1500).into()),
            ("word", "stop".into()),
            ("flag", true.into()),
            ("ratio", 0.5_f32.into()),
            ("reason", None::<u64>.into()),
        ]);
        let ids = Ids::new(&correlation, &tenant);
        let event =
            RuntimeLogEvent { name: "tested", level: Level::Info, message: "it was tested", ids, fields, span: None };
        let seen = Arc::new(Seen::default());
        tracing::subscriber::with_default(Sink(Arc::clone(&seen)), || {
            assert!(TracingLogger.enabled(Level::Debug) && !TracingLogger.enabled(Level::Trace));
            TracingLogger.log(&event);
            TracingLogger.log(&RuntimeLogEvent { level: Level::Trace, ..event });
            TracingLogger.log(&RuntimeLogEvent {
                level: Level::Warn,
                ids: Ids::NONE,
                fields: Fields::default(),
                ..event
            });
        });
        let expected = [
            "INFO ballast tested: message=\"it was tested\" event=\"tested\" correlation_id=req-0000000000000001 \
             tenant_id=default n=3 t_ms=1.5 word=\"stop\" flag=true ratio=0.5",
            "WARN ballast tested: message=\"it was tested\" event=\"tested\"",
        ];
        assert_eq!(*seen.0.lock().unwrap(), expected);
    }

    #[test]
    fn one_site_serves_all_events_of_a_kind_and_level() {
        let event = |level| RuntimeLogEvent {
            name: "site",
            level,
            message: "m",
            ids: Ids::NONE,
            fields: Fields::of([("a", 1_u64.into())]),
            span: None,
        };
        let same = Site::of(&event(Level::Info));
        assert!(std::ptr::eq(same, Site::of(&event(Level::Info))));
        assert!(!std::ptr::eq(same, Site::of(&event(Level::Warn))));
        let other = RuntimeLogEvent { fields: Fields::of([("b", 1_u64.into())]), ..event(Level::Info) };
        assert!(!std::ptr::eq(same, Site::of(&other)));
    }
}
