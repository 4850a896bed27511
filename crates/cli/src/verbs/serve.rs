//! `ballast serve`: models behind HTTP.

#[cfg(unix)]
mod activation;
mod bounds;
mod defaults;
mod drain;
mod guards;
mod house;
pub(crate) mod key;
mod listening;
mod models;
mod notify;
mod places;
mod rate;
mod reload;
mod slots;
#[cfg(unix)]
mod socket;
mod stock;
mod stored;
mod tensors;
mod tls;

use crate::configuration::SourceArgs;
use crate::failure::{Exit, Failure};
use crate::options::LoadArgs;
use crate::{environment, output, running};
use ballast::gguf::Gguf;
use ballast::{Encoder, Engine, wiring};
use ballast_server::{
    ApiKeys, Generator, JwtVerifier, ModelFacts, ModelKind, ServedModel, ServerOptions, TlsStore, serve,
};
use bounds::BoundArgs;
use clap::Args as ClapArgs;
use defaults::DefaultArgs;
use drain::DrainArgs;
use guards::{GuardArgs, JwtArgs};
use house::{FirstFailure, HouseArgs};
use key::{KeyArgs, Keys};
use listening::{Door, Listening};
use models::ModelsArgs;
use notify::Notify;
use places::PlaceArgs;
use rate::RateArgs;
use reload::Reload;
use slots::SlotArgs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stock::StockArgs;
use stored::StoredArgs;
use tensors::TensorServeArgs;
use tls::TlsArgs;
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
    /// A socket in the file system to listen on instead of a port; only this user may open it.
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    socket: Option<std::path::PathBuf>,
    /// End every request after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    request_timeout: u64,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    rate: RateArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    jwt: JwtArgs,
    #[command(flatten)]
    guards: GuardArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    defaults: DefaultArgs,
    #[command(flatten)]
    slots: SlotArgs,
    #[command(flatten)]
    drain: DrainArgs,
    #[command(flatten)]
    house: HouseArgs,
    #[command(flatten)]
    stock: StockArgs,
    #[command(flatten)]
    stored: StoredArgs,
    #[command(flatten)]
    tensors: TensorServeArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Print the OpenAPI document of the server and serve nothing.
    #[arg(long)]
    print_openapi: bool,
    /// Read before the others, to complete them.
    #[command(flatten)]
    sources: SourceArgs,
}

impl Args {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.print_openapi {
            return output::line(&serde_json::to_string_pretty(&ballast_server::openapi())?);
        }
        environment::raise_open_files();
        let door = Door::of(&self)?;
        let guards = self.guarding(&door)?;
        let named = self.models.named(self.tensors.is_any())?;
        let failure = Arc::new(FirstFailure::default());
        // Kept to the end of this function: an engine's last handle is not to be dropped where sockets are served.
        let models = self.house.models(&named, &self.load, &failure)?;
        let mut ids: Vec<String> = named.iter().map(|named| named.id.clone()).collect();
        ids.extend(self.tensors.told());
        let runtime = tokio_runtime()?;
        runtime.block_on(async {
            let listening = door.open(&self).await?;
            let notify = Arc::new(Notify::from_environment());
            let mut options = self.options(&guards, &notify)?;
            self.stock.set(&named, &self.load, (&failure, &mut options))?;
            self.tensors.set(&mut options).await?;
            notify.keep_alive();
            let _running = running::announce(&listening.place)
                .inspect_err(|error| tracing::warn!(%error, "the server is not listed: it cannot say that it runs"));
            output::note(&format!("serving {} at {}", ids.join(", "), listening.told()));
            guards.keys.tell();
            let Listening { listener, file: _file, .. } = listening;
            let ended = serve(listener, models.clone(), options, drain::asked_to_stop()).await;
            ended.map_err(|error| {
                failure.take().filter(|_| is_first_model(&error)).unwrap_or_else(|| server_failure(error))
            })
        })
    }

    /// Who may ask, by what the files hold now.
    fn guarding(&self, door: &Door) -> Result<Guarding, Failure> {
        let keys = self.keys.resolve(door.host)?;
        Ok(Guarding { keys, tls: self.tls.resolve()?, jwt: self.jwt.resolve()? })
    }

    /// The server's options. From here on SIGHUP has what can change read again.
    fn options(&self, guards: &Guarding, notify: &Arc<Notify>) -> Result<ServerOptions, Failure> {
        let is_keyed = guards.keys.is_asked_for();
        let mut options = server_options(guards.keys.api_keys.clone());
        options.key_store.clone_from(&guards.keys.store);
        (options.tls, options.jwt) = (guards.tls.clone(), guards.jwt.clone());
        self.guards.clone().apply(is_keyed, &mut options)?;
        let limits = self.rate.apply(is_keyed, &mut options);
        self.bounds.set(&mut options);
        self.places.set(&mut options);
        self.defaults.set(&mut options);
        self.slots.set(&mut options);
        options.any_model = self.models.any();
        self.house.set(&mut options);
        self.drain.set(&mut options);
        self.stored.set(&mut options);
        options.request_deadline = Duration::from_secs(self.request_timeout);
        options.on_phase = Some(notify.hook());
        let Guarding { keys, tls, jwt } = guards;
        let reload = Reload {
            key_store: keys.store.clone(),
            key_lines: keys.api_keys.clone().zip(keys.file.clone()),
            tls: tls.clone(),
            jwt: jwt.clone(),
            limits,
            is_keyed,
            settings: Mutex::new(reload::settings_now(&self.sources)?),
        };
        reload::on_hangup(reload, notify);
        Ok(options)
    }
}

/// What opens the server, and what it shows.
struct Guarding {
    keys: Keys,
    tls: Option<Arc<TlsStore>>,
    jwt: Option<Arc<JwtVerifier>>,
}

/// What the server is given of an encoder.
pub(crate) fn served_encoder(encoder: &Encoder, facts: &ModelFacts) -> ServedModel {
    ServedModel {
        id: String::new(),
        aliases: Vec::new(),
        kind: ModelKind::Encoder(encoder.texts().clone()),
        fingerprint: format!("ballast-{}-{}", env!("CARGO_PKG_VERSION"), facts.file_bytes),
        created: ballast::unix_seconds(),
        facts: facts.clone(),
    }
}

/// What a file says of an encoder.
pub(crate) fn encoder_facts(gguf: &Gguf) -> ModelFacts {
    let counts = wiring::tensor_types(gguf);
    let most = counts.iter().max_by_key(|(_, n)| **n);
    ModelFacts {
        architecture: gguf.metadata().string("general.architecture").ok().flatten().unwrap_or_default().to_owned(),
        n_parameters: counts.values().sum(),
        quantization: most.map(|(name, _)| (*name).to_owned()).unwrap_or_default(),
        file_name: String::new(),
        file_bytes: gguf.files().iter().map(|file| file.bytes().len() as u64).sum(),
        sha256: String::new(),
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

fn is_first_model(error: &ballast_server::ServerError) -> bool {
    matches!(error, ballast_server::ServerError::Model { .. })
}

pub(crate) fn server_failure(error: ballast_server::ServerError) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}
