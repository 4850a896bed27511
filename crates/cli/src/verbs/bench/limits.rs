//! `ballast bench limits`: what this machine can do at most, whatever the program, and what our f32 product makes of it.

use super::figure::significant;
use super::meter::{Limit, Meter, readable};
use super::table::Table;
use super::{Format, print};
use crate::failure::Failure;
use crate::progress;
use ballast::machine::Machine;
use ballast_kernels::detect;
use ballast_kernels::limits::{Peak, PeakLoop};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::time::Duration;

/// Sizes that are read: from the first-level cache of every thread to memory.
const LADDER_KIB: [usize; 13] = [
    256,
    512,
    1 << 10,
    2 << 10,
    4 << 10,
    8 << 10,
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
];

/// Widths of the square products of f32.
const PRODUCTS: [usize; 3] = [512, 1024, 2048];

/// Peaks that no loop here reaches; whoever brings the loops takes them off the list.
const NOT_MEASURED: [&str; 2] = ["int8, AMX tiles", "bf16, AMX tiles"];

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Thread counts to measure with [default: 1 and the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N,N..", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,
    /// Largest size that is read, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    read_max: usize,
    /// Largest square product of f32, in rows.
    #[arg(long, value_name = "ROWS", default_value_t = 2048)]
    product_max: usize,
    /// Milliseconds that one sample takes at least.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    sample_ms: u64,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
}

/// The limits with some number of threads.
#[derive(Debug)]
struct Limits {
    n_threads: usize,
    /// Bytes read, and bytes a second.
    read: Vec<(usize, Limit)>,
    /// Operations a second.
    peaks: Vec<(PeakLoop, Limit)>,
    /// Rows of square products of f32, and operations a second of our kernels.
    products: Vec<(usize, Limit)>,
    /// Seconds.
    fork_join: Option<Limit>,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let machine = Machine::read();
        let threads = match self.threads.as_slice() {
            [] => default_threads(machine.usable_cpus),
            given => given.to_vec(),
        };
        let data = readable(self.read_max << 20);
        let bar = progress::steps("limits", threads.len());
        let measure = |&n_threads: &NonZeroUsize| {
            let limits = Limits::measure(n_threads, Duration::from_millis(self.sample_ms), &data, self.product_max);
            bar.inc(1);
            limits
        };
        let limits: Vec<Limits> = threads.iter().map(measure).collect();
        bar.finish_and_clear();
        let json = to_json(&machine, self.sample_ms, &limits);
        print(self.format.or_json(self.json), &json, &caption(&machine), &table(&limits))
    }
}

/// 1 and the number of CPUs, which may be 1, too.
fn default_threads(usable_cpus: usize) -> Vec<NonZeroUsize> {
    let all = NonZeroUsize::new(usable_cpus).unwrap_or(NonZeroUsize::MIN);
    let mut threads = vec![NonZeroUsize::MIN, all];
    threads.dedup();
    threads
}

impl Limits {
    fn measure(n_threads: NonZeroUsize, sample_min: Duration, data: &[u64], product_max: usize) -> Self {
        let mut meter = Meter::new(n_threads, sample_min);
        let sizes = LADDER_KIB.iter().map(|kib| kib << 10).filter(|&n_bytes| n_bytes <= size_of_val(data));
        let read = sizes.map(|n_bytes| (n_bytes, meter.read(&data[..n_bytes / size_of::<u64>()]))).collect();
        let peaks = PeakLoop::available().into_iter().map(|found| (found, meter.peak(&found))).collect();
        let products = PRODUCTS.into_iter().filter(|&n| n <= product_max).map(|n| (n, meter.product(n))).collect();
        Self { n_threads: n_threads.get(), read, peaks, products, fork_join: meter.fork_join() }
    }

    fn to_json(&self) -> Value {
        let read = |(n_bytes, limit): &(usize, Limit)| json!({ "bytes": n_bytes, "bytes_per_second": limit.to_json() });
        let peak = |(found, limit): &(PeakLoop, Limit)| {
            let (name, instruction) = (found.peak().name(), found.instruction());
            json!({ "peak": name, "instruction": instruction, "operations_per_second": limit.to_json() })
        };
        let product = |(n, limit): &(usize, Limit)| json!({ "rows": n, "operations_per_second": limit.to_json() });
        json!({
            "threads": self.n_threads,
            "read": self.read.iter().map(read).collect::<Vec<_>>(),
            "peaks": self.peaks.iter().map(peak).collect::<Vec<_>>(),
            "not_measured": NOT_MEASURED,
            "kernels": detect().name(),
            "f32_products": self.products.iter().map(product).collect::<Vec<_>>(),
            "fork_join_seconds": self.fork_join.map(Limit::to_json),
        })
    }
}

fn to_json(machine: &Machine, sample_ms: u64, limits: &[Limits]) -> Value {
    json!({
        "machine": machine.cpu_model,
        "cpus": machine.usable_cpus,
        "version": env!("CARGO_PKG_VERSION"),
        "sample_ms": sample_ms,
        "limits": limits.iter().map(Limits::to_json).collect::<Vec<_>>(),
    })
}

fn caption(machine: &Machine) -> String {
    let model = machine.cpu_model.as_deref().unwrap_or("unknown processor");
    format!("limits of {model}, {} CPUs; best (median) of the samples, all threads together", machine.usable_cpus)
}

fn table(limits: &[Limits]) -> Table {
    let mut table = Table::new(&[""]);
    table.heading.extend(limits.iter().map(|limits| match limits.n_threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    }));
    let mut row = |words: String, cell: &dyn Fn(&Limits) -> String| {
        table.rows.push(std::iter::once(words).chain(limits.iter().map(cell)).collect());
    };
    let first = limits.first();
    for (idx, (n_bytes, _)) in first.map(|limits| limits.read.as_slice()).unwrap_or_default().iter().enumerate() {
        let mib = significant(*n_bytes as f64 / f64::from(1 << 20));
        row(format!("read {mib} MiB, GB/s"), &|limits| cell(limits.read[idx].1, 1e-9));
    }
    for (idx, (found, _)) in first.map(|limits| limits.peaks.as_slice()).unwrap_or_default().iter().enumerate() {
        let unit = if found.peak() == Peak::Int8 { "GOP/s" } else { "GFLOP/s" };
        let words = format!("{}, {}, {unit}", found.peak().name(), found.instruction());
        row(words, &|limits| cell(limits.peaks[idx].1, 1e-9));
    }
    for name in NOT_MEASURED {
        row(name.to_owned(), &|_| "not measured".to_owned());
    }
    for (idx, (n, _)) in first.map(|limits| limits.products.as_slice()).unwrap_or_default().iter().enumerate() {
        let words = format!("f32 product of {n} x {n} by {}, GFLOP/s", detect().name());
        row(words, &|limits| cell(limits.products[idx].1, 1e-9));
    }
    row("fork and join, ns".to_owned(), &|limits| {
        limits.fork_join.map_or_else(|| "not measured".to_owned(), |limit| cell(limit, 1e9))
    });
    table
}

fn cell(limit: Limit, scale: f64) -> String {
    format!("{} ({})", significant(limit.best * scale), significant(limit.spread.median * scale))
}

#[cfg(test)]
mod tests {
    use super::default_threads;

    #[test]
    fn one_thread_is_measured_once() {
        assert_eq!(default_threads(1).len(), 1);
        assert_eq!(default_threads(0).len(), 1);
        assert_eq!(default_threads(4).iter().map(|n| n.get()).collect::<Vec<_>>(), [1, 4]);
    }
}
