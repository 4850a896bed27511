//! An opened model: one file or several, mapped, their headers checked and joined.

mod shards;

use crate::mapped::MappedFile;
use crate::name_index::NameIndex;
use crate::{GgufError, Header, Metadata, TensorInfo};
use std::ops::Range;
use std::path::Path;

/// A model's files, mapped into memory. Shared freely between threads.
#[derive(Debug)]
pub struct Gguf {
    files: Vec<MappedFile>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: NameIndex,
}

/// One file and what its header says.
struct Opened {
    file: MappedFile,
    header: Header,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, GgufError> {
        let file = MappedFile::open(path)?;
        let header = Header::parse(file.bytes())?;
        file.check_intact()?;
        Ok(Self { file, header })
    }
}

impl Gguf {
    /// Opens a model. `path` may be any one of a model's several files; the others are found beside it.
    ///
    /// Only the headers are read; tensors come from the disk when they are first used.
    ///
    /// # Errors
    /// If a file is missing, is not a regular file, cannot be mapped, or is not well-formed.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let opened = Opened::open(path)?;
        let opened = match shards::ShardOf::find(&opened.header.metadata, path)? {
            Some(shard_of) => shards::open_all(opened, &shard_of)?,
            None => vec![opened],
        };
        Self::join(opened)
    }

    /// Reads a header from the bytes of a whole file. Any bytes give a header or an error.
    ///
    /// # Errors
    /// If the bytes are not a well-formed file.
    pub fn parse(bytes: &[u8]) -> Result<Header, GgufError> {
        Header::parse(bytes)
    }

    fn join(opened: Vec<Opened>) -> Result<Self, GgufError> {
        let (mut files, mut tensors, mut first) = (Vec::new(), Vec::new(), None);
        for (shard_idx, Opened { file, header }) in opened.into_iter().enumerate() {
            files.push(file);
            tensors.extend(header.tensors.into_iter().map(|tensor| TensorInfo { shard_idx, ..tensor }));
            first.get_or_insert((header.version, header.metadata));
        }
        let (version, metadata) = first.expect("a model has at least one file");
        let index = NameIndex::new(tensors.len(), |idx| tensors[idx].name.as_str()).map_err(|idx| {
            let TensorInfo { name, shard_idx, .. } = tensors[idx].clone();
            GgufError::TensorInTwoShards { name, path: files[shard_idx].path().to_owned() }
        })?;
        Ok(Self { files, version, metadata, tensors, index })
    }

    /// The metadata; that of the first file if there are several.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors in file order. Their names are unique.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let idx = self.index.find(name, |idx| self.tensors[idx].name.as_str())?;
        Some(&self.tensors[idx])
    }

    /// The tensor's bytes in the mapped file.
    ///
    /// They read as zeros from where the file ends if it was truncated since; see [`Gguf::check_intact`].
    ///
    /// # Panics
    /// If `tensor` is not one of this model's and lies outside its files.
    #[must_use]
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> &[u8] {
        &self.files[tensor.shard_idx].bytes()[range_of(tensor)]
    }

    /// Lets go of the memory of the pages that lie wholly in `range` of the tensor's bytes; see [`MappedFile::release`].
    ///
    /// # Panics
    /// If `tensor` is not one of this model's and lies outside its files, or `range` is not in it.
    pub fn release_tensor(&self, tensor: &TensorInfo, range: Range<usize>) {
        let file = &self.files[tensor.shard_idx];
        let whole = range_of(tensor);
        assert!(range.start <= range.end && range.end <= whole.len(), "bytes {range:?} of {:?}", tensor.name);
        file.release(whole.start + range.start..whole.start + range.end);
    }

    /// Lets go of the memory of all pages; see [`MappedFile::release`].
    pub fn release(&self) {
        self.files.iter().for_each(|file| file.release(0..file.bytes().len()));
    }

    /// The files, mapped, in order; [`TensorInfo::shard_idx`] counts them.
    #[must_use]
    pub fn files(&self) -> &[MappedFile] {
        &self.files
    }

    /// Whether every file is still as it was when opened. Costs a system call per file.
    ///
    /// A file replaced by renaming another over it stays intact: what is mapped is the old one.
    ///
    /// # Errors
    /// [`GgufError::FileChangedWhileMapped`] if one was truncated, written to, or could not be read.
    pub fn check_intact(&self) -> Result<(), GgufError> {
        self.files.iter().try_for_each(MappedFile::check_intact)
    }

    /// The version of the format: 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes of the files together.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes().len() as u64).sum()
    }

    /// The files, in order; [`TensorInfo::shard_idx`] counts them.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(MappedFile::path)
    }
}

/// Where in its file a tensor of a mapped model lies.
fn range_of(tensor: &TensorInfo) -> Range<usize> {
    let position = |n: u64| usize::try_from(n).expect("the file is mapped, so its offsets are addresses");
    position(tensor.offset)..position(tensor.offset) + position(tensor.n_bytes)
}
