//! Progress bars on standard error, for a person at a terminal; a line now and then for a log.

use crate::environment::colour;
use ballast_store::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const SPINNER: &str = "{msg} {spinner} {bytes} {bytes_per_sec}";

/// Shows downloads.
#[derive(Debug, Default)]
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn start(&mut self, label: &str, total: Option<u64>) {
        self.finish();
        if !colour(&std::io::stderr()) {
            crate::output::note(label);
            return;
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = if total.is_some() { BAR } else { SPINNER };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        bar.set_message(label.to_owned());
        self.bar = Some(bar);
    }

    fn advance_to(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

/// Counts steps of long work: windows of a perplexity, rounds of a benchmark.
pub(crate) fn steps(label: &str, total: usize) -> ProgressBar {
    let target = if colour(&std::io::stderr()) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total as u64), target);
    let style = ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len} {eta}");
    bar.set_style(style.expect("the template is well-formed"));
    bar.set_message(label.to_owned());
    bar
}
