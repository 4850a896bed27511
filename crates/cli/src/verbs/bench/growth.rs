//! `ballast bench growth`: how the time of a token grows with the context, the batch and the model, what law it is
//! expected to follow, and where it stops to.

mod curve;

use super::figure::Figure;
use super::meter::{Meter, readable};
use super::peer::{Program, Question};
use super::phases::Phases;
use super::plot;
use super::report::{Column, Report, Setting};
use super::roofline::{ModelCost, READ_BYTES_MAX, SAMPLE_MIN};
use super::{Format, print, write_file};
use crate::failure::Failure;
use crate::options::{LoadArgs, locate, open_gguf};
use crate::progress;
use ballast::machine::Machine;
use ballast::{LoadOptions, wiring};
use clap::Args as ClapArgs;
use curve::{Curve, Law};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
#[command(after_help = "Laws: the time of a token is linear in the context, the time of a step affine in the batch, \
    and the time of a token the weights' bytes over the bandwidth measured at their size, times a constant. \
    A curve bends where a point is more than 20 % off its law.")]
pub(super) struct Args {
    /// Models. Context and batch grow with the first; all together are the curve of sizes.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Contexts behind which a token is decoded; those longer than the first model's are left out.
    #[arg(long, value_name = "N,N..", value_delimiter = ',', default_value = "512,1024,2048,4096,8192,16384,32768")]
    contexts: Vec<usize>,
    /// Sequences that decode together.
    #[arg(long, value_name = "N,N..", value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    batches: Vec<usize>,
    /// Tokens that are decoded at every point.
    #[arg(long, value_name = "N", default_value_t = 16)]
    generate: usize,
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Our kernel set [default: the best this CPU has].
    #[arg(long, value_name = "NAME")]
    kernels: Option<String>,
    /// Rounds; times are medians over them.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(3).expect("three is not zero"))]
    rounds: NonZeroUsize,
    /// A program to run in the same rounds, as for `ballast bench`.
    #[arg(long, value_name = "[KIND:]PATH", value_parser = Program::parse)]
    peer: Vec<Program>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
    /// Draw the curves as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Options of loading for our own rounds, behind --.
    #[arg(last = true, value_name = "OPTION")]
    load: Vec<String>,
}

/// A model of the curve of sizes.
#[derive(Debug)]
struct Model {
    path: PathBuf,
    cost: ModelCost,
    context_len: usize,
}

impl Args {
    pub(super) fn run(self) -> Result<(), Failure> {
        let machine = Machine::read();
        let setting = self.setting(&machine)?;
        let load = LoadArgs::parse(&self.load)?;
        let open = |name: &String| Model::open(name, &setting, &load);
        let models = self.models.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut programs = vec![Program::ourselves()?];
        programs.extend(self.peer.iter().cloned());
        let curves = self.measure(&models, &programs, &setting)?;
        if let Some(path) = &self.plot {
            write_file(path, &plot::svg(&curves.iter().map(Curve::chart).collect::<Vec<_>>()))?;
        }
        let model = file_name(&models[0]);
        let json = json!({
            "machine": machine.cpu_model,
            "version": env!("CARGO_PKG_VERSION"),
            "threads": setting.n_threads,
            "kernels": setting.kernels,
            "models": models.iter().map(file_name).collect::<Vec<_>>(),
            "n_rounds": self.rounds,
            "generate": self.generate,
            "curves": curves.iter().map(Curve::to_json).collect::<Vec<_>>(),
        });
        let cpu = machine.cpu_model.as_deref().unwrap_or("unknown processor");
        let laws: String = curves.iter().flat_map(Curve::laws_in_words).map(|law| format!("\n- {law}")).collect();
        let caption = format!(
            "growth of {model} on {cpu}, {} threads, kernels {}; {} tokens at every point, median of {} rounds\n{laws}",
            setting.n_threads, setting.kernels, self.generate, self.rounds
        );
        print(self.format.or_json(self.json), &json, &caption, &curve::table(&curves))
    }

    fn setting(&self, machine: &Machine) -> Result<Setting, Failure> {
        let best = || machine.kernel_sets.first().map(|&name| name.to_owned());
        let kernels = self.kernels.clone().or_else(best).unwrap_or_default();
        if self.generate == 0 {
            return Err(Failure::usage("--generate: expected at least 1, got 0"));
        }
        Ok(Setting { n_threads: self.threads.map_or(machine.usable_cpus, NonZeroUsize::get), kernels, n_foreign: 0 })
    }

    /// Runs every curve's rounds, the programs in turn.
    fn measure(&self, models: &[Model], programs: &[Program], setting: &Setting) -> Result<Vec<Curve>, Failure> {
        let fits = |depth: &usize| depth + self.generate <= models[0].context_len;
        let none = Phases { prompt: vec![], generate: vec![self.generate], batch: vec![], depth: vec![] };
        let contexts = Phases { depth: self.contexts.iter().copied().filter(fits).collect(), ..none.clone() };
        let batches = Phases { batch: self.batches.clone(), ..none.clone() };
        let alone = Phases { batch: vec![1], ..none };
        let mut sweeps: Vec<(&Model, Phases)> = vec![(&models[0], contexts), (&models[0], batches)];
        sweeps.extend(models.iter().map(|model| (model, alone.clone())));
        let mut reports = Vec::new();
        let bar = progress::steps("growth", self.rounds.get() * programs.len() * sweeps.len());
        for (model, phases) in &sweeps {
            let column = |program: &Program| Column { name: program.name().to_owned(), version: None };
            let mut report = Report::new(vec![setting.clone()], programs.iter().map(column).collect());
            // Lists of zeros only leave nothing to measure, and a curve without points.
            let Ok(phases) = phases.checked() else {
                reports.push(report);
                continue;
            };
            let kernels = Some(setting.kernels.as_str());
            let (n_threads, load) = (setting.n_threads, self.load.as_slice());
            let question = Question { model: &model.path, phases: &phases, n_threads, kernels, load };
            for _ in 0..self.rounds.get() {
                for (idx, program) in programs.iter().enumerate() {
                    report.add(0, idx, program.round(&question));
                    bar.inc(1);
                }
            }
            if let Some(why) = report.our_failure() {
                return Err(Failure::failed("a round of ours failed").because(why));
            }
            reports.push(report);
        }
        bar.finish_and_clear();
        Ok(curves(&reports, models, setting.n_threads))
    }
}

impl Model {
    fn open(name: &str, setting: &Setting, load: &LoadArgs) -> Result<Self, Failure> {
        let path = locate(name)?.path().to_owned();
        let gguf = open_gguf(&path)?;
        let (kernels, n_threads) = (Some(setting.kernels.clone()), Some(setting.n_threads));
        let options = LoadOptions { kernels, n_threads, cache_type: load.cache_type(), ..LoadOptions::default() };
        let cost = ModelCost::of(&gguf, &options)?;
        Ok(Self { context_len: wiring::trained_context_len(&gguf)?, cost, path })
    }
}

fn file_name(model: &Model) -> String {
    model.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The curves of the reports: one for contexts, one for batches, then one for each model.
fn curves(reports: &[Report], models: &[Model], n_threads: usize) -> Vec<Curve> {
    let [contexts, batches, sizes @ ..] = reports else { return Vec::new() };
    let middle = |depth: usize, tokens: usize| depth as f64 + (tokens as f64 + 1.0) / 2.0;
    let decoded = |figure| {
        if let Figure::Decode { depth, tokens, .. } = figure { Some((middle(depth, tokens), 1.0)) } else { None }
    };
    let filled = |figure| {
        if let Figure::Prefill { depth, tokens } = figure { Some((middle(depth, tokens), 1.0)) } else { None }
    };
    let stepped = |figure| {
        if let Figure::Decode { sequences, .. } = figure { Some((sequences as f64, sequences as f64)) } else { None }
    };
    let context = Curve::of("context", Law::Linear, &[(contexts, &decoded)]);
    let prefill = Curve::of("prefill", Law::Linear, &[(contexts, &filled)]);
    let batch = Curve::of("batch", Law::Linear, &[(batches, &stepped)]);
    let mut meter = Meter::new(NonZeroUsize::new(n_threads).unwrap_or(NonZeroUsize::MIN), SAMPLE_MIN);
    let bounds: Vec<f64> = models.iter().map(|model| seconds_to_read(&mut meter, model.cost.weights_bytes)).collect();
    let place = |bound: f64| move |figure: Figure| matches!(figure, Figure::Decode { .. }).then_some((bound, 1.0));
    let places: Vec<_> = bounds.into_iter().map(place).collect();
    let of_size: Vec<_> =
        sizes.iter().zip(&places).map(|(report, place)| (report, place as curve::Place<'_>)).collect();
    let size = Curve::of("size", Law::Proportional, &of_size);
    vec![context, prefill, batch, size]
}

/// How long the weights take to be read at the bandwidth of their size.
fn seconds_to_read(meter: &mut Meter, weights_bytes: u64) -> f64 {
    let n_bytes = usize::try_from(weights_bytes.min(READ_BYTES_MAX)).expect("a gigabyte can be addressed");
    weights_bytes as f64 / meter.read(&readable(n_bytes)).best
}
