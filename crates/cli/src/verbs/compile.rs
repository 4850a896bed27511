//! `ballast compile`: pack a model's weights ahead, so that its first start is as quick as any other.

use crate::failure::Failure;
use crate::options::{CompileCacheArgs, locate, open_gguf};
use crate::{output, progress};
use ballast::{CompileCacheOptions, CompiledModel, LoadOptions, SystemClock, wiring};
use ballast_backend::Clock;
use clap::Args as ClapArgs;
use serde_json::json;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A path, an alias (`default`), `hf:user/repo[:QUANT]`, or a name in Ollama's store.
    #[arg(required_unless_present_any = ["list", "clear"], conflicts_with_all = ["list", "clear"])]
    model: Option<String>,
    /// List the packed models, by the SHA-256 of their files.
    #[arg(long, conflicts_with = "clear")]
    list: bool,
    /// Delete all packed models that are not in use.
    #[arg(long)]
    clear: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Compute threads [default: the CPUs this process may use].
    #[arg(short = 't', long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    cache: CompileCacheArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let nowhere = || Failure::usage("there is no place for packed models").try_this("--compile-cache DIR");
        let options = self.cache.options().ok_or_else(nowhere)?;
        match &self.model {
            Some(model) => self.compile(model, &options),
            None if self.list => self.list(&options),
            None => self.clear(options),
        }
    }

    fn compile(&self, model: &str, options: &CompileCacheOptions) -> Result<(), Failure> {
        let clock = SystemClock::start();
        let gguf = open_gguf(locate(model)?.path())?;
        let cache = wiring::open_compile_cache(options)?;
        let load = LoadOptions {
            n_threads: self.threads,
            progress: Some(progress::packing(|_, _| ())),
            ..LoadOptions::default()
        };
        let CompiledModel { bundle, was_there, is_remembered } = wiring::compile(&gguf, &cache, &load)?;
        let time_ms = clock.now().as_secs_f64() * 1e3;
        if !is_remembered {
            output::note("note: the model's file was written to a moment ago and is read once more by its next start");
        }
        if self.json {
            let (path, bytes) = (bundle.path, bundle.bytes);
            let result = json!({ "path": path, "bytes": bytes, "time_ms": time_ms, "was_there": was_there });
            return output::json(&result);
        }
        let done = if was_there { "was packed before" } else { "packed" };
        output::line(&format!("{}\t{} bytes\t{done}\t{time_ms:.0} ms", bundle.path.display(), bundle.bytes))
    }

    fn list(&self, options: &CompileCacheOptions) -> Result<(), Failure> {
        let models = wiring::open_compile_cache(options)?.models().map_err(ballast::Error::from)?;
        if self.json {
            let model = |(sha256, bundle): &(String, ballast::CompiledBundle)| json!({ "sha256": sha256, "path": bundle.path, "bytes": bundle.bytes });
            return output::json(&models.iter().map(model).collect());
        }
        for (sha256, bundle) in models {
            output::line(&format!("{sha256}\t{} bytes\t{}", bundle.bytes, bundle.path.display()))?;
        }
        Ok(())
    }

    fn clear(&self, options: CompileCacheOptions) -> Result<(), Failure> {
        // A cache that may keep no byte removes all it can when it is opened.
        let cache = wiring::open_compile_cache(&CompileCacheOptions { bytes_max: 0, ..options })?;
        let (removed, left) = (cache.stats().evictions, cache.stats().entries);
        if self.json {
            return output::json(&json!({ "removed": removed, "in_use": left }));
        }
        output::note(&format!("removed {removed} packed models, {left} are in use"));
        Ok(())
    }
}
