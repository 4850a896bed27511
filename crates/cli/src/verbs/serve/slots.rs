//! The places for sequences, as llama.cpp's clients see them.

use ballast_server::ServerOptions;
use clap::Args as ClapArgs;
use std::path::PathBuf;

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct SlotArgs {
    /// Do not tell callers what the places for sequences are doing.
    #[arg(long)]
    no_slots: bool,
    /// Folder where the contents of places may be saved, under names that callers give.
    #[arg(long, visible_alias = "slot-save-path", value_name = "DIR")]
    slot_dir: Option<PathBuf>,
}

impl SlotArgs {
    /// Puts them where the server obeys them.
    pub(crate) fn set(&self, options: &mut ServerOptions) {
        options.shows_slots = !self.no_slots;
        options.slot_dir.clone_from(&self.slot_dir);
    }
}
