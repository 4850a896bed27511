//! `ballast serve`: models behind HTTP.

mod bounds;
mod defaults;
pub(crate) mod key;
mod models;
mod rate;
mod slots;

use crate::configuration::SourceArgs;
use crate::failure::{Exit, Failure};
use crate::options::LoadArgs;
use crate::output;
use ballast::Engine;
use ballast_server::{ApiKeys, Generator, ModelFacts, ModelKind, ServedModel, ServedModels, ServerOptions, serve};
use bounds::BoundArgs;
use clap::Args as ClapArgs;
use defaults::DefaultArgs;
use key::KeyArgs;
use models::{ModelsArgs, NamedModel};
use rate::RateArgs;
use slots::SlotArgs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    models: ModelsArgs,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    host: IpAddr,
    /// Port to listen on, 0 for any free one.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,
    /// End every request after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    request_timeout: u64,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    defaults: DefaultArgs,
    #[command(flatten)]
    slots: SlotArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Print the OpenAPI document of the server and serve nothing.
    #[arg(long)]
    print_openapi: bool,
    /// Read before the others, to complete them.
    #[command(flatten)]
    _sources: SourceArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.print_openapi {
            return output::line(&serde_json::to_string_pretty(&ballast_server::openapi(&[]))?);
        }
        let keys = self.keys.resolve(self.host)?;
        let named = self.models.named()?;
        let load = |named: &NamedModel| Ok((self.load.load(&named.model)?, named.id.clone()));
        // Kept to the end of this function: an engine's last handle is not to be dropped where sockets are served.
        let engines = named.iter().map(load).collect::<Result<Vec<_>, Failure>>()?;
        let models = engines.iter().zip(&named).map(|((engine, id), named)| {
            let mut model = served(engine, id.clone());
            model.facts.file_name = named.file_name();
            model
        });
        let models = models.collect();
        let models = ServedModels::new(models).map_err(server_failure)?;
        let ids: Vec<&str> = named.iter().map(|named| named.id.as_str()).collect();
        let runtime = tokio_runtime()?;
        runtime.block_on(async {
            let listener = listen(SocketAddr::new(self.host, self.port)).await?;
            output::note(&format!("serving {} at http://{}/v1", ids.join(", "), listener.local_addr()?));
            keys.tell();
            let keyed = keys.api_keys.is_some();
            let mut options = server_options(keys.api_keys);
            options.rate_limit = self.rate.limit(keyed);
            self.bounds.set(&mut options);
            self.defaults.set(&mut options);
            self.slots.set(&mut options);
            options.any_model = self.models.any();
            options.request_deadline = Duration::from_secs(self.request_timeout);
            serve(listener, models, options, asked_to_stop()).await.map_err(server_failure)
        })
    }
}

/// The threads that do I/O; compute has its own.
pub(crate) fn tokio_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("{address} cannot be listened on"))
            .because(error.to_string())
            .try_this("another --port, or --port 0 for any free one")
    })
}

/// What the server is given: the runtime and how prompts are laid out, never the engine.
pub(crate) fn served(engine: &Engine, id: String) -> ServedModel {
    let report = engine.report();
    let fingerprint = format!("ballast-{}-{}-{}", env!("CARGO_PKG_VERSION"), report.kernels, report.file_bytes);
    let (runtime, format) = (engine.runtime().clone(), engine.format().clone());
    let facts = ModelFacts {
        architecture: report.architecture.clone(),
        n_parameters: report.n_parameters,
        quantization: report.quantization.to_owned(),
        file_name: String::new(),
        file_bytes: report.file_bytes,
        sha256: String::new(),
    };
    ServedModel {
        id,
        aliases: Vec::new(),
        kind: ModelKind::Generator(Generator { runtime, format }),
        fingerprint,
        created: ballast::unix_seconds(),
        facts,
    }
}

/// The server's options, with the system's randomness and time.
pub(crate) fn server_options(keys: Option<ApiKeys>) -> ServerOptions {
    let random = Arc::new(|| getrandom::u64().unwrap_or_default());
    ServerOptions { keys, ..ServerOptions::new(random, Arc::new(ballast::unix_seconds)) }
}

pub(crate) fn server_failure(error: ballast_server::ServerError) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

/// Resolves at the first SIGINT or SIGTERM.
async fn asked_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            drop(interrupt.await);
            return;
        };
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
    output::note("stopping: running answers may finish");
}
