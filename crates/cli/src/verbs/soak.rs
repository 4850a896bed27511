//! `ballast soak`: a long run under load and faults, and its gates.

use crate::failure::Failure;
use crate::options::{LoadArgs, ModelArg};
use crate::output;
use ballast::soak::{Judged, Rate, SoakOptions, SoakReport, soak, soak_runtime};
use ballast::{Engine, Isolation, LoadOptions};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "The exit code is 1 if a gate fails. Example: a worker killed every ten seconds, four times the peak:\n  \
    ballast soak default --minutes 10 --rps 4x --faults 0.2 --isolation process --strikes 6"
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// How long requests come; warming up and the probes at the end take more.
    #[arg(long, value_name = "N", value_parser = minutes, default_value = "2")]
    minutes: Duration,
    /// Requests a second, by arrivals that wait for nobody; with x behind it, times the peak, which is measured first.
    #[arg(long, value_name = "R", value_parser = rate, default_value = "2")]
    rps: Rate,
    /// Share of requests, 0 to 1, whose readers cancel, leave, read slowly, stop reading or have no time.
    #[arg(long, value_name = "F", value_parser = share, default_value = "0.2")]
    faults: f64,
    /// Workers killed or stopped in a minute [default: 2 with --isolation process and any --faults, else 0].
    #[arg(long, value_name = "N", value_parser = strikes)]
    strikes: Option<f64>,
    /// Which gates decide the exit code.
    #[arg(long, value_enum, default_value_t = Judge::All)]
    judge: Judge,
    /// The same seed asks the same.
    #[arg(short = 's', long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// Which gates decide the exit code.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Judge {
    /// Every gate.
    All,
    /// Those without times or memory in them, which a slow or shared machine cannot fail by itself.
    Counts,
}

/// Workers struck in a minute where nothing else is said.
const STRIKES_PER_MINUTE: f64 = 2.0;

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let located = self.model.locate()?;
        let options = LoadOptions { runtime: soak_runtime(), ..self.load.options()? };
        let is_isolated = options.isolation == Isolation::Process;
        if self.strikes.is_some_and(|n| n > 0.0) && !is_isolated {
            return Err(Failure::usage("--strikes: expected --isolation process beside it, so that there is a worker"));
        }
        let strikes = if is_isolated && self.faults > 0.0 { STRIKES_PER_MINUTE } else { 0.0 };
        let soak_options = SoakOptions {
            duration: self.minutes,
            rate: self.rps,
            faults: self.faults,
            strikes_per_minute: self.strikes.unwrap_or(strikes),
            seed: self.seed,
        };
        let engine = Engine::load(located.path(), &options)?;
        let report = soak(&engine, &soak_options, &mut |progress| output::note(&progress.to_string()));
        if self.json {
            output::json(&to_json(&soak_options, &report))?;
        } else {
            output::write(&to_text(&report))?;
        }
        let judged = match self.judge {
            Judge::All => Judged::All,
            Judge::Counts => Judged::Counts,
        };
        if report.passes(judged) { Ok(()) } else { Err(Failure::failed(failed(&report, judged))) }
    }
}

fn failed(report: &SoakReport, judged: Judged) -> String {
    let names: Vec<&str> = report.failed(judged).map(|row| row.name).collect();
    format!("{} of {} gates failed: {}", names.len(), report.rows.len(), names.join("; "))
}

fn to_text(report: &SoakReport) -> String {
    let mut text = format!("{:<44} {:>12} {:>14}  {}\n", "gate", "limit", "value", "verdict");
    for row in &report.rows {
        text +=
            &format!("{:<44} {:>12} {:>14}  {}\n", row.name, row.limit_text(), row.value_text(), row.verdict.as_str());
    }
    text += "\nends of requests under load\n";
    for end in &report.ends {
        text += &format!("{:<12} {:<32} {:>8}\n", end.finish_reason, end.reason, end.count);
    }
    text
}

fn to_json(options: &SoakOptions, report: &SoakReport) -> Value {
    let row = |row: &ballast::soak::GateRow| {
        json!({
            "name": row.name.trim(),
            "limit": row.limit.map(|limit| limit.to_string()),
            "value": row.value,
            "verdict": row.verdict.as_str(),
            "of_the_machine": row.of_the_machine,
        })
    };
    let rows: Vec<Value> = report.rows.iter().map(row).collect();
    let ends: Vec<Value> = report
        .ends
        .iter()
        .map(|end| json!({ "finish_reason": end.finish_reason, "reason": end.reason, "count": end.count }))
        .collect();
    json!({
        "passes": report.passes(Judged::All),
        "passes_counts": report.passes(Judged::Counts),
        "minutes": options.duration.as_secs_f64() / 60.0,
        "faults": options.faults,
        "strikes_per_minute": options.strikes_per_minute,
        "seed": options.seed,
        "gates": rows,
        "ends": ends,
    })
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)
}

fn minutes(text: &str) -> Result<Duration, String> {
    let time = number(text).and_then(|n| Duration::try_from_secs_f64(n * 60.0).ok()).filter(|time| !time.is_zero());
    time.filter(|time| *time <= Duration::from_secs(86_400 * 7))
        .ok_or_else(|| format!("expected minutes above 0 and at most a week, got {text:?}"))
}

fn rate(text: &str) -> Result<Rate, String> {
    let parsed = match text.strip_suffix('x') {
        Some(times) => number(times).map(Rate::TimesPeak),
        None => number(text).map(Rate::PerSecond),
    };
    let is_usable = |rate: &Rate| match *rate {
        Rate::PerSecond(n) | Rate::TimesPeak(n) => n > 0.0 && n <= 10_000.0,
    };
    parsed.filter(is_usable).ok_or_else(|| format!("expected requests a second such as 2.5, or 4x, got {text:?}"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|n| *n <= 1.0).ok_or_else(|| format!("expected a share from 0 to 1, got {text:?}"))
}

fn strikes(text: &str) -> Result<f64, String> {
    number(text).filter(|n| *n <= 600.0).ok_or_else(|| format!("expected a number from 0 to 600, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_multiples_of_the_peak() {
        assert_eq!(rate("2.5"), Ok(Rate::PerSecond(2.5)));
        assert_eq!(rate("4x"), Ok(Rate::TimesPeak(4.0)));
        for bad in ["", "x", "0", "0x", "-1", "nan", "inf", "4y", "99999"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn minutes_and_shares_are_bounded() {
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        for bad in ["0", "-1", "nan", "10081", "x"] {
            assert!(minutes(bad).is_err(), "{bad}");
        }
        assert_eq!(share("0.2"), Ok(0.2));
        assert!(share("1.1").is_err() && strikes("601").is_err());
    }
}
