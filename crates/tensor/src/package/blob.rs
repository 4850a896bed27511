//! Files of weights, version 2: a header, then entries that each say where their elements are.
//!
//! A program names an entry by the byte at which it begins. All numbers are little-endian. (Core ML Tools,
//! `MILBlob/Blob/StorageFormat.hpp`)

use crate::error::GraphError;
use crate::mil::ElementType;
use ballast_gguf::MappedFile;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// What stands in front of a path for the folder of the model's file.
const MODEL_FOLDER: &str = "@model_path/";

/// The version that is read.
const VERSION: u32 = 2;

/// Bytes of the header, and of an entry.
const ENTRY_BYTES: usize = 64;

/// The first number of an entry.
const SENTINEL: u32 = 0xDEAD_BEEF;

/// Files of weights by the names that a program has for them.
#[derive(Debug)]
pub(crate) struct Blobs {
    /// The folder that paths begin in, and the one that they stay in.
    folders: Option<(PathBuf, PathBuf)>,
    files: BTreeMap<String, File>,
    files_max: usize,
}

/// A file's bytes.
#[derive(Debug)]
enum File {
    Mapped(MappedFile),
    Held(Vec<u8>),
}

/// An entry of a file.
#[derive(Debug)]
pub(crate) struct Blob<'a> {
    pub(crate) element: ElementType,
    pub(crate) bytes: &'a [u8],
}

impl Blobs {
    /// Files below `folder`, which do not leave `root`.
    pub(crate) fn below(folder: &Path, root: &Path, files_max: usize) -> Self {
        Self { folders: Some((folder.to_owned(), root.to_owned())), files: BTreeMap::new(), files_max }
    }

    /// Files that are in memory, by their paths from the model's folder.
    pub(crate) fn held(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let held = files.iter().map(|(name, bytes)| (format!("{MODEL_FOLDER}{name}"), File::Held(bytes.clone())));
        Self { folders: None, files: held.collect(), files_max: files.len() }
    }

    /// The entry of the file `name` that begins at the byte `offset`.
    pub(crate) fn entry(&mut self, name: &str, offset: u64) -> Result<Blob<'_>, GraphError> {
        if !self.files.contains_key(name) {
            let file = self.open(name)?;
            self.files.insert(name.to_owned(), file);
        }
        let bytes = match &self.files[name] {
            File::Mapped(file) => file.bytes(),
            File::Held(bytes) => bytes,
        };
        entry(bytes, offset).map_err(|fault| {
            GraphError::malformed(format!("file of weights {name:?}, entry at {offset}"), fault.expected, fault.got)
        })
    }

    /// Whether no file was truncated while it was read.
    pub(crate) fn check_intact(&self) -> Result<(), GraphError> {
        for file in self.files.values() {
            if let File::Mapped(file) = file {
                file.check_undamaged().map_err(|error| file_error(file.path(), &error))?;
            }
        }
        Ok(())
    }

    fn open(&self, name: &str) -> Result<File, GraphError> {
        let outside = || GraphError::malformed("place of a value", "a file in the model's folder", format!("{name:?}"));
        let path = Path::new(name.strip_prefix(MODEL_FOLDER).ok_or_else(outside)?);
        let (folder, root) = self.folders.as_ref().ok_or_else(outside)?;
        if self.files.len() == self.files_max {
            let (max, got) = (self.files_max as u64, self.files_max as u64 + 1);
            return Err(GraphError::TooMany { what: "files of weights".to_owned(), max, got });
        }
        let path = confined(folder, path, root).ok_or_else(outside)?;
        let file = MappedFile::open(&path).map_err(|error| file_error(&path, &error))?;
        Ok(File::Mapped(file))
    }
}

fn file_error(path: &Path, error: &ballast_gguf::GgufError) -> GraphError {
    GraphError::File { path: path.to_owned(), fault: error.to_string() }
}

/// `path` from `folder` on, links followed, if it is below `root`, and a file.
pub(crate) fn confined(folder: &Path, path: &Path, root: &Path) -> Option<PathBuf> {
    let is_below = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_below {
        return None;
    }
    let found = folder.join(path).canonicalize().ok()?;
    found.starts_with(root.canonicalize().ok()?).then_some(found)
}

/// What is wrong with an entry.
struct Fault {
    expected: String,
    got: String,
}

impl Fault {
    fn new(expected: impl Into<String>, got: impl ToString) -> Self {
        Self { expected: expected.into(), got: got.to_string() }
    }
}

fn entry(bytes: &[u8], offset: u64) -> Result<Blob<'_>, Fault> {
    let header = bytes.get(..ENTRY_BYTES).ok_or_else(|| Fault::new("a header of 64 bytes", bytes.len()))?;
    if u32_at(header, 4) != VERSION {
        return Err(Fault::new(format!("version {VERSION}"), u32_at(header, 4)));
    }
    let start = usize::try_from(offset).ok().filter(|&start| start >= ENTRY_BYTES);
    let at = start.and_then(|start| bytes.get(start..start.checked_add(ENTRY_BYTES)?));
    let at = at.ok_or_else(|| Fault::new(format!("64 bytes of {}", bytes.len()), offset))?;
    if u32_at(at, 0) != SENTINEL {
        return Err(Fault::new(format!("an entry that begins with {SENTINEL:#x}"), format!("{:#x}", u32_at(at, 0))));
    }
    let element = element(u32_at(at, 4)).ok_or_else(|| Fault::new("a type of 1 to 17", u32_at(at, 4)))?;
    let (len, from) = (u64_at(at, 8), u64_at(at, 16));
    let range = usize::try_from(from).ok().zip(usize::try_from(len).ok());
    let elements = range.and_then(|(from, len)| bytes.get(from..from.checked_add(len)?));
    let bytes = elements
        .ok_or_else(|| Fault::new(format!("elements within {} bytes", bytes.len()), format!("{len} from {from} on")))?;
    Ok(Blob { element, bytes })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The type that a number in an entry means: not the number that programs have for it.
fn element(code: u32) -> Option<ElementType> {
    Some(match code {
        1 => ElementType::F16,
        2 => ElementType::F32,
        3 => ElementType::U8,
        4 => ElementType::I8,
        5 => ElementType::Bf16,
        6 => ElementType::I16,
        7 => ElementType::U16,
        8 => ElementType::I4,
        9 => ElementType::U1,
        10 => ElementType::U2,
        11 => ElementType::U4,
        12 => ElementType::U3,
        13 => ElementType::U6,
        14 => ElementType::I32,
        15 => ElementType::U32,
        16 => ElementType::F8E4M3,
        17 => ElementType::F8E5M2,
        _ => return None,
    })
}
