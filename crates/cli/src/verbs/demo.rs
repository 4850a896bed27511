//! `ballast demo`: the main job from nothing: fetch the default model, serve it, ask it something over HTTP, and show
//! the answer as it streams.

mod client;

use super::pull::pull;
use super::serve::{key::new_key, listen, served, server_failure, tokio_runtime};
use crate::failure::Failure;
use crate::options::LoadArgs;
use crate::output;
use crate::progress::Bar;
use ballast::{Engine, SystemClock};
use ballast_server::{ApiKeys, ServedModels, serve};
use clap::Args as ClapArgs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// What to ask.
    #[arg(default_value = "Why is the sky blue? Answer in two sentences.")]
    question: String,
    /// Which model.
    #[arg(long, default_value = "default")]
    model: String,
    #[command(flatten)]
    load: LoadArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let located = pull(&self.model, false, &mut Bar::default())?;
        output::note(&format!("model: {}", located.path().display()));
        let engine = Engine::load(located.path(), &self.load.options()?)?;
        let report = engine.report();
        output::note(&format!(
            "loaded in {:.0} ms, {} threads, kernels {}",
            report.load_time.as_secs_f64() * 1e3,
            report.n_threads,
            report.kernels
        ));
        let key = new_key()?;
        let (address, server) = start(&engine, &self.model, &key)?;
        output::note(&format!("serving at http://{address}/v1, asking: {}\n", self.question));
        let usage = client::ask(address, &key, &self.model, &self.question)?;
        let program = std::env::args().next().unwrap_or_else(|| "ballast".to_owned());
        output::note(&format!("\n{usage}\n\nnext: {program} chat {}\n      {program} --help", self.model));
        server.stop()
    }
}

/// A server on a free loopback port, on threads of its own.
struct Server {
    runtime: tokio::runtime::Runtime,
    task: tokio::task::JoinHandle<Result<(), ballast_server::ServerError>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

fn start(engine: &Engine, id: &str, key: &str) -> Result<(SocketAddr, Server), Failure> {
    let runtime = tokio_runtime()?;
    let listener = runtime.block_on(listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
    let address = listener.local_addr()?;
    let keys = ApiKeys::new(vec![key.to_owned()]).map_err(|error| Failure::failed(error.to_string()))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        // The sender gone means the same as the sender's word.
        drop(stopped.await);
    };
    let models = ServedModels::loaded(vec![served(engine, id.to_owned())], Arc::new(SystemClock::start()))
        .map_err(server_failure)?;
    let task = runtime.spawn(serve(listener, models, super::serve::server_options(Some(keys)), shutdown));
    Ok((address, Server { runtime, task, stop }))
}

impl Server {
    fn stop(self) -> Result<(), Failure> {
        drop(self.stop);
        let outcome = self.runtime.block_on(self.task);
        outcome.map_err(|error| Failure::failed(error.to_string()))?.map_err(server_failure)
    }
}
