//! Progress bars on standard error, for a person at a terminal; a line now and then for a log.

use crate::environment::colour;
use ballast::LoadProgress;
use ballast_store::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Arc, OnceLock};

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

/// Shows how far a model is packed for its first start, to a person at a terminal, and tells `tell`.
pub(crate) fn packing(tell: impl Fn(u64, u64) + Send + Sync + 'static) -> LoadProgress {
    // Drawn from the first byte that is packed: most starts pack nothing.
    let bar: OnceLock<ProgressBar> = OnceLock::new();
    let new_bar = |total: u64| {
        let target =
            if colour(&std::io::stderr()) { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        bar.set_style(ProgressStyle::with_template(BAR).expect("the template is well-formed"));
        bar.set_message("packing");
        bar
    };
    LoadProgress::new(Arc::new(move |done: u64, total: u64| {
        tell(done, total);
        let bar = bar.get_or_init(|| new_bar(total));
        bar.set_position(done);
        if done == total {
            bar.finish_and_clear();
        }
    }))
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
