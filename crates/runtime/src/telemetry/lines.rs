//! Loggers that write a line for each event to a writer they are given: text for people, JSON for programs.

use super::{Level, Logger, RuntimeLogEvent, Value};
use serde::{Serialize, Serializer};
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A writer, and the line that is being put together for it, so that each event is one write. A line is bounded: ids
/// are, fields have a fixed number of slots, and everything else is a word of the program.
struct Lines<W> {
    out: Mutex<Out<W>>,
    n_lost: AtomicU64,
}

struct Out<W> {
    writer: W,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn new(writer: W) -> Self {
        Self { out: Mutex::new(Out { writer, line: Vec::new() }), n_lost: AtomicU64::default() }
    }

    /// Writes what `fill` puts into the line. A log that cannot be written must not stop what it tells of: the line is
    /// counted as lost.
    fn write(&self, fill: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let Out { writer, line } = &mut *out;
        line.clear();
        let is_written = fill(line).and_then(|()| {
            line.push(b'\n');
            writer.write_all(line)
        });
        if is_written.is_err() {
            self.n_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn into_writer(self) -> W {
        self.out.into_inner().unwrap_or_else(PoisonError::into_inner).writer
    }
}

/// Writes a line of text for each event:
///
/// ```text
/// info request_ended: a request ended id=req-000000000000001f tenant=default finish_reason=stop total_ms=12.5
/// ```
pub struct ConsoleLogger<W>(Lines<W>);

/// Writes a JSON object for each event, one to a line. The keys are `event`, `level`, `message`, `correlation_id`,
/// `tenant_id` and `fields`, always and in this order; what is not there is `null`.
pub struct JsonLogger<W>(Lines<W>);

impl<W: Write> ConsoleLogger<W> {
    /// A logger that writes to `writer`: standard error, a file, a buffer.
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self(Lines::new(writer))
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn n_lost(&self) -> u64 {
        self.0.n_lost.load(Ordering::Relaxed)
    }

    /// The writer.
    #[must_use]
    pub fn into_writer(self) -> W {
        self.0.into_writer()
    }
}

impl<W: Write> JsonLogger<W> {
    /// A logger that writes to `writer`: standard error, a file, a buffer.
    #[must_use]
    pub fn new(writer: W) -> Self {
        Self(Lines::new(writer))
    }

    /// Lines that could not be written.
    #[must_use]
    pub fn n_lost(&self) -> u64 {
        self.0.n_lost.load(Ordering::Relaxed)
    }

    /// The writer.
    #[must_use]
    pub fn into_writer(self) -> W {
        self.0.into_writer()
    }
}

impl<W: Write + Send> Logger for ConsoleLogger<W> {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        self.0.write(|line| write!(line, "{event}"));
    }
}

impl<W: Write + Send> Logger for JsonLogger<W> {
    fn enabled(&self, _: Level) -> bool {
        true
    }

    fn log(&self, event: &RuntimeLogEvent<'_>) {
        self.0.write(|line| Ok(serde_json::to_writer(line, event)?));
    }
}

impl fmt::Display for RuntimeLogEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.name, self.message)?;
        if let Some(id) = self.ids.correlation {
            write!(f, " id={id}")?;
        }
        if let Some(tenant) = self.ids.tenant {
            write!(f, " tenant={tenant}")?;
        }
        let present = self.fields.as_slice().iter().filter(|(_, value)| *value != Value::Absent);
        present.into_iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl Serialize for RuntimeLogEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("RuntimeLogEvent", 6)?;
        object.serialize_field("event", self.name)?;
        object.serialize_field("level", &self.level)?;
        object.serialize_field("message", self.message)?;
        object.serialize_field("correlation_id", &self.ids.correlation.map(Text))?;
        object.serialize_field("tenant_id", &self.ids.tenant.map(Text))?;
        object.serialize_field("fields", &self.fields)?;
        object.end()
    }
}

/// An identifier as text, without a string in between.
struct Text<'a, T>(&'a T);

impl<T: fmt::Display> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CorrelationId, Fields, Ids, TenantId};
    use std::io;
    use std::time::Duration;

    fn log_two(logger: &impl Logger) {
        let (correlation, tenant) = ("a\"b\\c".parse::<CorrelationId>().unwrap(), TenantId::default());
        let fields = Fields::of([
            ("finish", "stop".into()),
            ("reason", None::<u64>.into()),
            ("n", 3_u64.into()),
            ("t_ms", Duration::from_micros(1500).into()),
        ]);
        let event = RuntimeLogEvent {
            name: "ended",
            level: Level::Info,
            message: "m",
            ids: Ids::new(&correlation, &tenant),
            fields,
            span: None,
        };
        logger.log(&event);
        logger.log(&RuntimeLogEvent { ids: Ids::NONE, fields: Fields::default(), level: Level::Error, ..event });
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_console_logger_writes_a_line_of_text_for_each_event() {
        let logger = ConsoleLogger::new(Vec::new());
        log_two(&logger);
        let expected = "info ended: m id=a\"b\\c tenant=default finish=stop n=3 t_ms=1.5\nerror ended: m\n";
        assert_eq!(text(logger.into_writer()), expected);
    }

    #[test]
    fn the_json_logger_writes_an_object_with_the_same_keys_for_each_event() {
        let logger = JsonLogger::new(Vec::new());
        log_two(&logger);
        let written = text(logger.into_writer());
        let expected = concat!(
            r#"{"event":"ended","level":"info","message":"m","correlation_id":"a\"b\\c","tenant_id":"default","#,
            r#""fields":{"finish":"stop","reason":null,"n":3,"t_ms":1.5}}"#,
            "\n",
            r#"{"event":"ended","level":"error","message":"m","correlation_id":null,"tenant_id":null,"fields":{}}"#,
            "\n",
        );
        assert_eq!(written, expected);
        assert!(written.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (console, json) = (ConsoleLogger::new(Full), JsonLogger::new(Full));
        log_two(&console);
        log_two(&json);
        assert_eq!((console.n_lost(), json.n_lost()), (2, 2));
    }
}
