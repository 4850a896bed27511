//! `ballast key`: keys that open a server, made, listed and revoked in a file.

use crate::failure::{Exit, Failure};
use crate::output;
use ballast_server::{
    CallerLimits, CertificateName, KEY_ID_BYTES, KEY_SECRET_BYTES, KeyFile, KeyFileError, KeyRecord, KeyTerms, NewKey,
    RateLimit, Scope,
};
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: ballast key create nightly --key-file keys.json --scope generate,read --expires 90d\n\
    A server that runs with --key-file sees changes by itself."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, once.
    Create(Box<Create>),
    /// List keys, without their secrets.
    List(List),
    /// Take a key's power away.
    Revoke(Revoke),
}

#[derive(Debug, ClapArgs)]
struct FileArg {
    /// The file of keys.
    #[arg(long, env = "BALLAST_KEY_FILE", value_name = "FILE")]
    key_file: PathBuf,
}

#[derive(Debug, ClapArgs)]
struct Create {
    /// What people call it.
    name: String,
    #[command(flatten)]
    file: FileArg,
    /// Whose requests come with it [default: a tenant of its own].
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// What it may do: generate, embed, predict, read, metrics, admin.
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', default_value = "generate,embed,predict,read")]
    scope: Vec<Scope>,
    /// A model it may be used with; may be given again [default: all].
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// A client's certificate that opens it, and nothing else does: a file with it in PEM, or dns:NAME, uri:URI or
    /// sha256:DIGITS of it. The server asks for certificates with --tls-client-ca.
    #[arg(long, value_name = "CERTIFICATE")]
    certificate: Option<String>,
    /// How long it opens anything, such as 90d, 12h or 30m [default: until it is revoked].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires: Option<Duration>,
    /// Requests a second [default: the server's].
    #[arg(long, value_name = "RPS", value_parser = parse_rate)]
    rate_limit: Option<Duration>,
    /// Requests that may come at once.
    #[arg(long, value_name = "N", default_value = "20", requires = "rate_limit")]
    rate_burst: NonZeroU32,
    /// Tokens a minute, of prompts and answers together [default: the server's].
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<NonZeroU64>,
    /// Requests at a time [default: the server's].
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZeroU32>,
}

#[derive(Debug, ClapArgs)]
struct List {
    #[command(flatten)]
    file: FileArg,
    /// Print a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, ClapArgs)]
struct Revoke {
    /// The key's identifier, as `ballast key list` prints it.
    id: String,
    #[command(flatten)]
    file: FileArg,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let now = ballast::unix_seconds();
        match self.action {
            Action::Create(create) => create.run(now),
            Action::List(list) => list.run(now),
            Action::Revoke(revoke) => {
                KeyFile::new(&revoke.file.key_file).revoke(&revoke.id, now).map_err(|error| failure(&error))?;
                output::note(&format!("key {} opens nothing any more", revoke.id));
                Ok(())
            }
        }
    }
}

impl Create {
    fn run(self, now: i64) -> Result<(), Failure> {
        let (mut id, mut secret) = ([0; KEY_ID_BYTES], [0; KEY_SECRET_BYTES]);
        getrandom::fill(&mut id)
            .and_then(|()| getrandom::fill(&mut secret))
            .map_err(|error| Failure::failed("no randomness for a key").because(error.to_string()))?;
        let tenant = self
            .tenant
            .clone()
            .unwrap_or_else(|| id.iter().fold("key-".to_owned(), |name, byte| name + &format!("{byte:02x}")));
        let tenant =
            tenant.parse().map_err(|_| Failure::usage("--tenant: expected 1 to 64 visible ASCII characters"))?;
        let requests = self.rate_limit.map(|interval| RateLimit { interval, burst: self.rate_burst });
        let expires = self.expires.map(|time| now.saturating_add_unsigned(time.as_secs()));
        let limits =
            CallerLimits { requests, tokens_per_minute: self.tokens_per_minute, concurrency: self.concurrency };
        let models = Some(self.model).filter(|models| !models.is_empty());
        let scopes = self.scope.into_iter().collect();
        let terms = KeyTerms { name: self.name, tenant, scopes, models, expires, limits };
        let key = NewKey::new((id, secret), terms, now).map_err(|error| Failure::usage(error.to_string()))?;
        let file = KeyFile::new(&self.file.key_file);
        if let Some(certificate) = &self.certificate {
            let certificate = certificate_name(certificate)?;
            let key = key.with_certificate(certificate.clone());
            file.add(&key).map_err(|error| failure(&error))?;
            output::note(&format!("key {} is opened by the certificate {certificate}", key.record.id));
            return Ok(());
        }
        file.add(&key).map_err(|error| failure(&error))?;
        output::note(&format!("key {}; this is the only time it is shown:", key.record.id));
        output::line(&key.secret)
    }
}

/// A certificate by its name, or by a file that has it.
fn certificate_name(text: &str) -> Result<CertificateName, Failure> {
    if ["sha256:", "dns:", "uri:"].iter().any(|kind| text.starts_with(kind)) {
        return text.parse().map_err(|error| Failure::usage(format!("--certificate: {error}")));
    }
    let of_file = CertificateName::of_pem_file(Path::new(text));
    of_file.map_err(|error| Failure::new(Exit::of_kind(error.kind()), format!("{text}: {error}")))
}

impl List {
    fn run(&self, now: i64) -> Result<(), Failure> {
        let records = KeyFile::new(&self.file.key_file).read().map_err(|error| failure(&error))?;
        if self.json {
            return output::json(&records.iter().map(|record| to_json(record, now)).collect());
        }
        for record in &records {
            let (terms, state) = (&record.terms, state_of(record, now));
            output::line(&format!(
                "{}\t{state}\t{}\t{}\t{}",
                record.id,
                terms.name,
                terms.tenant,
                scopes(record).join(",")
            ))?;
        }
        Ok(())
    }
}

fn scopes(record: &KeyRecord) -> Vec<&'static str> {
    record.terms.scopes.iter().map(|scope| scope.as_str()).collect()
}

fn state_of(record: &KeyRecord, now: i64) -> &'static str {
    match (record.revoked, record.is_good(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "good",
        (None, false) => "expired",
    }
}

fn to_json(record: &KeyRecord, now: i64) -> Value {
    let terms = &record.terms;
    json!({
        "id": record.id,
        "state": state_of(record, now),
        "name": terms.name,
        "tenant": terms.tenant.as_str(),
        "scopes": scopes(record),
        "models": terms.models,
        "created": record.created,
        "certificate": record.certificate.as_ref().map(ToString::to_string),
        "expires": terms.expires,
        "revoked": record.revoked,
        "seconds_between_requests": terms.limits.requests.map(|limit| limit.interval.as_secs_f64()),
        "burst": terms.limits.requests.map(|limit| limit.burst),
        "tokens_per_minute": terms.limits.tokens_per_minute,
        "concurrency": terms.limits.concurrency,
    })
}

pub(crate) fn failure(error: &KeyFileError) -> Failure {
    Failure::new(Exit::of_kind(error.kind()), error.to_string())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and d, h, m or s, such as 90d".to_owned();
    let at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at)).ok_or_else(expected)?;
    let (number, unit) = text.split_at(at);
    let seconds: u64 = match unit {
        "d" => 86_400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number.checked_mul(seconds).filter(|n| *n > 0).map(Duration::from_secs).ok_or_else(expected)
}

fn parse_rate(text: &str) -> Result<Duration, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    let interval = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
    interval.filter(|interval| !interval.is_zero()).ok_or_else(|| "expected a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        let seconds = |text: &str| parse_time(text).ok().map(|time| time.as_secs());
        assert_eq!(seconds("90d"), Some(90 * 86_400));
        assert_eq!([seconds("2h"), seconds("3m"), seconds("4s")], [Some(7200), Some(180), Some(4)]);
        for wrong in ["", "d", "90", "-1d", "1.5h", "0s", "9w", "1ä", "99999999999999999999d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        assert_eq!(parse_rate("4"), Ok(Duration::from_millis(250)));
        assert!(["0", "-1", "inf", "1e300"].iter().all(|wrong| parse_rate(wrong).is_err()));
    }
}
