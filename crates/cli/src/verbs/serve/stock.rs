//! Models that callers bring here and delete, where whoever started the server allows it.

use super::house::{FirstFailure, known, load_options};
use super::models::NamedModel;
use crate::environment;
use crate::failure::Failure;
use crate::options::LoadArgs;
use ballast::LoadOptions;
use ballast_backend::ErrorKind;
use ballast_server::{KnownModel, ModelStock, PullStep, PullWatch, ServerOptions, StockError};
use ballast_store::{ModelName, Progress, StoreError};
use clap::Args as ClapArgs;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct StockArgs {
    /// Let callers with the scope `admin` pull models from the hub, give models other names, and delete them with the files
    /// that Ballast downloaded.
    #[arg(long, help_heading = "Models")]
    manage_models: bool,
}

impl StockArgs {
    /// Puts the stock where the server obeys it.
    pub(crate) fn set(
        self,
        named: &[NamedModel],
        load: &LoadArgs,
        (failure, options): (&Arc<FirstFailure>, &mut ServerOptions),
    ) -> Result<(), Failure> {
        if self.manage_models {
            let names = named.iter().map(|named| (named.id.clone(), named.model.clone())).collect();
            let (load, options_of_load, failure) = (load.clone(), load_options(load)?, Arc::clone(failure));
            options.stock = Some(Arc::new(Stock { names: Mutex::new(names), load, options: options_of_load, failure }));
        }
        Ok(())
    }
}

/// The store of this user, for callers.
struct Stock {
    /// What the store calls a model, by its first name for clients.
    names: Mutex<BTreeMap<String, String>>,
    load: LoadArgs,
    options: LoadOptions,
    failure: Arc<FirstFailure>,
}

impl ModelStock for Stock {
    fn pull(&self, name: &str, watch: &PullWatch) -> Result<KnownModel, StockError> {
        let parsed = fetchable(name)?;
        let mut steps = Steps { watch, label: String::new(), total: None };
        environment::store(false).pull(&parsed, &mut steps, watch.cancelled()).map_err(|error| told(&error))?;
        let named = NamedModel { id: name.to_owned(), model: name.to_owned() };
        let known = known(&named, &self.options, (&self.load, &self.failure)).map_err(|failure| {
            tracing::warn!(what = %failure.what, "a model that was pulled cannot be served");
            StockError { kind: ErrorKind::Invalid, message: "model: it is here, and cannot be served".to_owned() }
        })?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(named.id, named.model);
        Ok(known)
    }

    fn delete(&self, id: &str) -> Result<(), StockError> {
        let model = self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // A path is a file of somebody else's.
        let Some(parsed) = model.and_then(|model| fetchable(&model).ok()) else { return Ok(()) };
        match environment::store(true).remove(&parsed) {
            Ok(_) | Err(StoreError::NotOurs { .. }) => Ok(()),
            Err(error) => Err(told(&error)),
        }
    }
}

/// A name that the store fetches under. Callers name no files of this machine.
fn fetchable(name: &str) -> Result<ModelName, StockError> {
    match ModelName::parse(name) {
        Ok(parsed @ (ModelName::Alias(_) | ModelName::Hub(_))) => Ok(parsed),
        Ok(ModelName::Path(_) | ModelName::Ollama(_) | ModelName::Plain(_)) | Err(_) => Err(StockError {
            kind: ErrorKind::Invalid,
            message: "model: expected a name that can be fetched: hf:user/repo[:QUANT] or an alias".to_owned(),
        }),
    }
}

/// Errors of the store name folders and hosts, which are not for callers.
fn told(error: &StoreError) -> StockError {
    tracing::warn!(%error, "a model did not come or go");
    let (kind, what) = if error.is_usage() {
        (ErrorKind::Invalid, "model: there is no such model to be had")
    } else {
        (ErrorKind::Unavailable, "the model did not come or go; the server's log says why")
    };
    StockError { kind, message: what.to_owned() }
}

/// Tells who waits.
struct Steps<'a> {
    watch: &'a PullWatch,
    label: String,
    total: Option<u64>,
}

impl Progress for Steps<'_> {
    fn start(&mut self, label: &str, total: Option<u64>) {
        (self.label, self.total) = (label.to_owned(), total);
        self.advance_to(0);
    }

    fn advance_to(&mut self, done: u64) {
        self.watch.tell(PullStep { label: self.label.clone(), done, total: self.total });
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::fetchable;

    #[test]
    fn callers_name_no_files_of_this_machine() {
        for name in ["/etc/passwd", "./x.gguf", "../x.gguf", "x.gguf", "", "llama3"] {
            assert!(fetchable(name).is_err(), "{name}");
        }
        assert!(fetchable("hf:user/repo:Q4_K_M").is_ok() && fetchable("default").is_ok());
    }
}
