//! `ballast bench MODEL`: rounds of ours and of peers in turn, over a sweep of settings.

use super::figure::Figure;
use super::foreign::Foreign;
use super::peer::{Program, Question};
use super::phases::Phases;
use super::plot::{self, Axis, Chart, Scale, Series};
use super::report::{Column, Report, Row, Setting};
use super::roofline::{ModelCost, Roofline};
use super::statistics::Point;
use super::{Format, print, startup, write_file};
use crate::failure::Failure;
use crate::options::{LoadArgs, locate, open_gguf};
use crate::progress;
use ballast::LoadOptions;
use ballast::machine::Machine;
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Most settings of one run: threads times kernel sets times foreign threads.
const SETTINGS_MAX: usize = 64;

/// Most foreign threads: more than that is no shared machine.
const FOREIGN_MAX: usize = 1_024;

#[derive(Debug, ClapArgs)]
pub(super) struct CompareArgs {
    /// A path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store.
    #[arg(required = true)]
    model: Option<String>,
    #[command(flatten)]
    phases: Phases,
    /// Thread counts [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N,N..", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,
    /// Our kernel sets [default: the best this CPU has; `ballast info` lists them].
    #[arg(long, value_name = "NAME,NAME..", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Busy threads of another program on the same cores: what a shared machine does to each program.
    #[arg(long, value_name = "N,N..", value_delimiter = ',', default_value = "0")]
    foreign: Vec<usize>,
    /// Rounds; figures are medians over them.
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(5).expect("five is not zero"))]
    rounds: NonZeroUsize,
    /// A program to run in the same rounds: llama.cpp's llama-bench, another ballast, or bench/candle, told by its name
    /// or as llama:PATH, ballast:PATH, candle:PATH; may be given several times.
    #[arg(long, value_name = "[KIND:]PATH", value_parser = Program::parse)]
    peer: Vec<Program>,
    /// Start servers, too: time to ready and to the first token, and memory for one sequence of 2048 positions.
    #[arg(long)]
    startup: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print one JSON object; the same as --format json.
    #[arg(long)]
    json: bool,
    /// Draw the sweep as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Options of loading for our own rounds, behind --, such as: -- --isolation process.
    #[arg(last = true, value_name = "OPTION")]
    load: Vec<String>,
}

impl CompareArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let comparison = Comparison::new(&self)?;
        let (report, rooflines) = comparison.run(self.rounds.get(), self.startup);
        if let Some(path) = &self.plot {
            write_file(path, &plot::svg(&charts(&report)))?;
        }
        let mut json = report.to_json();
        json["setting"] = comparison.to_json();
        json["limits"] = rooflines.iter().map(|(&n_threads, roofline)| roofline.to_json(n_threads)).collect();
        let caption = comparison.caption(&report, &rooflines);
        print(self.format.or_json(self.json), &json, &caption, &report.table())?;
        // The table tells it, too, but a program reads the exit code.
        report.our_failure().map_or(Ok(()), |why| Err(Failure::failed("a round of ours failed").because(why)))
    }
}

/// The limits by number of threads.
type Rooflines = BTreeMap<usize, Roofline>;

/// What is compared, and with what.
#[derive(Debug)]
struct Comparison {
    model: PathBuf,
    model_bytes: u64,
    cost: ModelCost,
    phases: Phases,
    settings: Vec<Setting>,
    /// Ours first.
    programs: Vec<Program>,
    load: Vec<String>,
    machine: Machine,
}

impl Comparison {
    fn new(args: &CompareArgs) -> Result<Self, Failure> {
        let phases = args.phases.checked().map_err(Failure::usage)?;
        let model = args.model.as_deref().expect("clap demands a model");
        let model = locate(model)?.path().to_owned();
        let gguf = open_gguf(&model)?;
        let machine = Machine::read();
        let settings = settings(args, &machine)?;
        // What cannot be loaded is told before the first round.
        let mut costs = Vec::new();
        let cache_type = LoadArgs::parse(&args.load)?.cache_type();
        for setting in &settings {
            let (kernels, n_threads) = (Some(setting.kernels.clone()), Some(setting.n_threads));
            costs
                .push(ModelCost::of(&gguf, &LoadOptions { kernels, n_threads, cache_type, ..LoadOptions::default() })?);
        }
        let mut programs = vec![Program::ourselves()?];
        programs.extend(args.peer.iter().cloned());
        if let Some(missing) = programs.iter().map(Program::path).find(|path| !path.exists()) {
            return Err(Failure::failed(format!("{} is not there", missing.display())));
        }
        let (model_bytes, load) = (gguf.file_bytes(), args.load.clone());
        Ok(Self { model, model_bytes, cost: costs[0], phases, settings, programs, load, machine })
    }

    /// The rounds: within each, every setting, and within that every program in turn.
    fn run(&self, n_rounds: usize, starts: bool) -> (Report, Rooflines) {
        let columns = self.programs.iter().enumerate().map(|(idx, program)| self.column(idx, program)).collect();
        let mut report = Report::new(self.settings.clone(), columns);
        let new = |setting: &Setting| {
            let n_threads = NonZeroUsize::new(setting.n_threads).unwrap_or(NonZeroUsize::MIN);
            (setting.n_threads, Roofline::new(&self.cost, n_threads))
        };
        let mut rooflines: Rooflines = self.settings.iter().map(new).collect();
        let bar = progress::steps("bench", n_rounds * self.settings.len() * self.programs.len());
        for round_idx in 0..n_rounds {
            for (setting_idx, setting) in self.settings.iter().enumerate() {
                rooflines.entry(setting.n_threads).and_modify(Roofline::measure);
                let foreign = Foreign::start(setting.n_foreign);
                for turn in 0..self.programs.len() {
                    // Another program begins each time: the first of a round may find caches that another left.
                    let column_idx = (turn + round_idx) % self.programs.len();
                    let (program, question) = (&self.programs[column_idx], self.question(setting));
                    report.add(setting_idx, column_idx, program.round(&question));
                    if starts {
                        report.add(setting_idx, column_idx, startup::round(program, &question));
                    }
                    bar.inc(1);
                }
                drop(foreign);
            }
        }
        bar.finish_and_clear();
        report.n_rounds = n_rounds;
        for row in &mut report.rows {
            let roofline = rooflines.get(&self.settings[row.setting_idx].n_threads);
            row.roof = self.cost.step(row.figure).and_then(|step| roofline?.roof(step));
        }
        (report, rooflines)
    }

    fn question<'a>(&'a self, setting: &'a Setting) -> Question<'a> {
        Question {
            model: &self.model,
            phases: &self.phases,
            n_threads: setting.n_threads,
            kernels: Some(&setting.kernels),
            load: &self.load,
        }
    }

    /// A second `ballast` is told from the first by its place.
    fn column(&self, idx: usize, program: &Program) -> Column {
        let same = self.programs[..idx].iter().filter(|other| other.name() == program.name()).count();
        let name = if same == 0 { program.name().to_owned() } else { format!("{} ({})", program.name(), same + 1) };
        Column { name, version: None }
    }

    fn model_name(&self) -> String {
        self.model.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn caption(&self, report: &Report, rooflines: &Rooflines) -> String {
        let machine = self.machine.cpu_model.as_deref().unwrap_or("unknown processor");
        let setting = |setting: &Setting| format!("{} threads, kernels {}", setting.n_threads, setting.kernels);
        let setting = match self.settings.as_slice() {
            [one] => setting(one),
            several => format!("{} settings", several.len()),
        };
        let program = |c: &Column| format!("{} {}", c.name, c.version.as_deref().unwrap_or("of unknown version"));
        let programs = report.columns.iter().map(program).collect::<Vec<_>>().join(", ");
        let limit = |(n_threads, roofline): (&usize, &Roofline)| {
            let limits = roofline.words().unwrap_or_else(|| "nothing measured".to_owned());
            format!("roof of {n_threads} threads from {limits}")
        };
        let limits = rooflines.iter().map(limit).collect::<Vec<_>>().join(", ");
        format!(
            "{} on {machine}, {setting}; {programs}; {limits}; median (least to most) of {} interleaved rounds",
            self.model_name(),
            report.n_rounds,
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "model": self.model_name(),
            "model_bytes": self.model_bytes,
            "machine": self.machine.cpu_model,
            "cpus": self.machine.usable_cpus,
            "version": env!("CARGO_PKG_VERSION"),
            "prompt": self.phases.prompt,
            "generate": self.phases.generate,
            "batch": self.phases.batch,
            "depth": self.phases.depth,
            "threads": self.settings.iter().map(|setting| setting.n_threads).collect::<Vec<_>>(),
            "kernels": self.settings.iter().map(|setting| setting.kernels.clone()).collect::<Vec<_>>(),
            "foreign_threads": self.settings.iter().map(|setting| setting.n_foreign).collect::<Vec<_>>(),
            "load_options": self.load,
            "weights_bytes_per_token": self.cost.weights_bytes,
            "peers": self.programs[1..].iter().map(|program| file_name(program.path())).collect::<Vec<_>>(),
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Every thread count with every kernel set.
fn settings(args: &CompareArgs, machine: &Machine) -> Result<Vec<Setting>, Failure> {
    let threads = match args.threads.as_slice() {
        [] => vec![machine.usable_cpus],
        given => given.iter().map(|n| n.get()).collect(),
    };
    let kernels = match args.kernels.as_slice() {
        [] => machine.kernel_sets.first().map(|&name| name.to_owned()).into_iter().collect(),
        given => given.to_vec(),
    };
    if let Some(got) = args.foreign.iter().find(|&&n| n > FOREIGN_MAX) {
        return Err(Failure::usage(format!("--foreign: expected at most {FOREIGN_MAX}, got {got}")));
    }
    let mut settings = Vec::new();
    for &n_threads in &threads {
        for kernels in &kernels {
            let setting = |&n_foreign: &usize| Setting { n_threads, kernels: kernels.clone(), n_foreign };
            settings.extend(args.foreign.iter().map(setting));
        }
    }
    if settings.len() > SETTINGS_MAX {
        let got = settings.len();
        return Err(Failure::usage(format!(
            "--threads, --kernels, --foreign: expected at most {SETTINGS_MAX} settings, got {got}"
        )));
    }
    Ok(settings)
}

/// Prefill against the prompt's length, decode against the number of sequences and against what lies behind.
fn charts(report: &Report) -> Vec<Chart> {
    let prefill = |figure: Figure| if let Figure::Prefill { depth: 0, tokens } = figure { Some(tokens) } else { None };
    let batched = |figure: Figure| {
        if let Figure::Decode { sequences, depth: 0, .. } = figure { Some(sequences) } else { None }
    };
    let deep = |figure: Figure| if let Figure::Decode { depth: depth @ 1.., .. } = figure { Some(depth) } else { None };
    let charts = [
        chart(report, ("prefill", "tokens of the prompt"), &prefill),
        chart(report, ("decode, all sequences together", "sequences"), &batched),
        chart(report, ("decode of one sequence", "tokens of context"), &deep),
    ];
    charts.into_iter().filter(|chart| chart.series.iter().any(|series| !series.points.is_empty())).collect()
}

fn chart(report: &Report, (title, x): (&str, &str), place: &dyn Fn(Figure) -> Option<usize>) -> Chart {
    let axis = |label: &str, scale| Axis { label: label.to_owned(), scale };
    let mut lines = Vec::new();
    for setting_idx in 0..report.settings.len() {
        for column_idx in 0..report.columns.len() {
            let point = |row: &Row| Some(Point { x: place(row.figure)? as f64, y: row.spread(column_idx)?.median });
            let rows = report.rows.iter().filter(|row| row.setting_idx == setting_idx);
            let mut points: Vec<Point> = rows.filter_map(point).collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            lines.push(Series { name: series_name(report, setting_idx, column_idx), points, is_law: false });
        }
    }
    let (x, y) = (axis(x, Scale::Log), axis("tokens/s", Scale::Linear));
    Chart { title: title.to_owned(), x, y, series: lines }
}

fn series_name(report: &Report, setting_idx: usize, column_idx: usize) -> String {
    let name = &report.columns[column_idx].name;
    let Setting { n_threads, kernels, n_foreign } = &report.settings[setting_idx];
    let foreign = if *n_foreign > 0 { format!(", {n_foreign} foreign") } else { String::new() };
    match (report.settings.len(), column_idx) {
        (1, _) => name.clone(),
        (_, 0) => format!("{name}, {n_threads} t, {kernels}{foreign}"),
        (_, _) => format!("{name}, {n_threads} t{foreign}"),
    }
}
