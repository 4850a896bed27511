//! Entries that were torn, altered, forged or put there by somebody else.

use crate::house::{FILES, House, assert_content, content, fill, key, meta};
use ballast_artifacts::{ArtifactCache, MANIFEST_BYTES_MAX, Origin, Rejection, Verification};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Damages a fresh entry of key 1, and asserts that it is not loaded but built again, for one of `reasons`.
fn check(what: &str, reasons: &[Rejection], damage: impl Fn(&House, &Path)) {
    let house = House::new();
    drop(house.get(&house.open(), 1).unwrap());
    damage(&house, &house.entry_dir());
    let cache = house.open_with(ballast_artifacts::CacheOptions::default());
    assert!(cache.get(&key(1), &house.until()).unwrap().is_none(), "{what}");
    let entry = house.get(&cache, 1).unwrap();
    match entry.origin() {
        Origin::Rebuilt(reason) => {
            assert!(reasons.contains(&reason), "{what}: {reason}");
            assert!(cache.stats().rebuilds.contains(&(reason, 1)), "{what}");
        }
        // What has no manifest that can be read is removed when the cache is opened.
        Origin::Built => assert_eq!(cache.stats().evictions, 1, "{what}"),
        origin @ (Origin::Hit | Origin::Waited) => panic!("{what}: {origin:?}"),
    }
    assert_content(&entry, 1);
    drop(entry);
    assert_content(&cache.get(&key(1), &house.until()).unwrap().unwrap(), 1);
    house.assert_clean();
}

fn edit(path: &Path, edit: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    edit(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Every file of an entry that is compared.
fn compared() -> Vec<PathBuf> {
    let files = FILES.iter().map(|name| PathBuf::from("files").join(name));
    files.chain([PathBuf::from("manifest")]).collect()
}

#[test]
fn every_truncation_and_every_flipped_bit_of_every_file_is_found() {
    let house = House::new();
    let cache = house.open_verifying(Verification::Always);
    drop(house.get(&cache, 1).unwrap());
    let dir = house.entry_dir();
    let is_loaded = || cache.get(&key(1), &house.until()).unwrap().is_some();
    assert!(is_loaded());
    for file in compared() {
        let path = dir.join(&file);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(!is_loaded(), "{} cut to {len}", file.display());
        }
        fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
        assert!(!is_loaded(), "{} grown", file.display());
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[position] ^= 1 << bit;
                fs::write(&path, flipped).unwrap();
                assert!(!is_loaded(), "{} byte {position} bit {bit}", file.display());
            }
        }
        fs::remove_file(&path).unwrap();
        assert!(!is_loaded(), "{} removed", file.display());
        fs::write(&path, whole).unwrap();
        assert!(is_loaded());
    }
}

#[test]
fn damaged_entries_are_built_again() {
    use Rejection::{Content, Files, ForeignKey, Length, Manifest, NotAnEntry, Version};
    let weights = |dir: &Path| dir.join("files/weights.bin");
    check("a flipped bit", &[Content], |_, dir| edit(&weights(dir), |bytes| bytes[3] ^= 1));
    check("a cut file", &[Length], |_, dir| edit(&weights(dir), |bytes| bytes.truncate(7)));
    check("a missing file", &[Files], |_, dir| fs::remove_file(weights(dir)).unwrap());
    check("one more file", &[Files], |_, dir| fs::write(dir.join("files/more"), "").unwrap());
    check("one more file beside", &[Files], |_, dir| fs::write(dir.join("more"), "").unwrap());
    check("no files at all", &[Files], |_, dir| fs::remove_dir_all(dir.join("files")).unwrap());
    check("no manifest", &[Manifest], |_, dir| fs::remove_file(dir.join("manifest")).unwrap());
    check("an empty manifest", &[Manifest], |_, dir| fs::write(dir.join("manifest"), "").unwrap());
    check("a huge manifest", &[Manifest], |_, dir| {
        fs::File::options().write(true).open(dir.join("manifest")).unwrap().set_len(1 << 40).unwrap();
    });
    check("a large manifest", &[Manifest], |_, dir| {
        edit(&dir.join("manifest"), |bytes| bytes.resize(MANIFEST_BYTES_MAX + 1, b' '));
    });
    check("another version", &[Version], |_, dir| {
        let text = fs::read_to_string(dir.join("manifest")).unwrap();
        fs::write(dir.join("manifest"), text.replacen(" 1 ", " 2 ", 1)).unwrap();
    });
    check("no lock", &[NotAnEntry], |_, dir| fs::remove_file(dir.join("lock")).unwrap());
    check("a file in its place", &[NotAnEntry], |_, dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::write(dir, "not an entry").unwrap();
    });
    check("the entry of another key", &[ForeignKey], |house, dir| {
        let foreign = House::new();
        drop(foreign.get(&foreign.open(), 2).unwrap());
        fs::remove_dir_all(dir).unwrap();
        fs::rename(foreign.entry_dir(), dir).unwrap();
        drop(house.open());
    });
    check("a deep tree", &[Files], |_, dir| fs::create_dir_all(dir.join("files").join("d/".repeat(200))).unwrap());
}

#[test]
#[cfg(unix)]
fn links_out_of_the_root_are_never_followed() {
    use std::os::unix::fs::symlink;
    let outside = tempfile::tempdir().unwrap();
    fill(outside.path(), 1).unwrap();
    fs::write(outside.path().join("lock"), "outside").unwrap();
    let target = |name: &str| outside.path().join(name);
    let replace = |path: PathBuf, to: PathBuf| {
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        symlink(to, path).unwrap();
    };
    use Rejection::{Files, Manifest, NotAnEntry};
    check("a linked file", &[Files], |_, dir| replace(dir.join("files/weights.bin"), target("weights.bin")));
    check("a linked directory", &[Files], |_, dir| replace(dir.join("files/nested"), target("nested")));
    check("linked files", &[Files], |_, dir| {
        fill(&target("same"), 1).unwrap();
        replace(dir.join("files"), target("same"));
    });
    check("a linked manifest", &[Manifest], |_, dir| {
        fs::copy(dir.join("manifest"), target("manifest")).unwrap();
        replace(dir.join("manifest"), target("manifest"));
    });
    check("a linked lock", &[NotAnEntry], |_, dir| replace(dir.join("lock"), target("lock")));
    check("a linked entry", &[NotAnEntry], |_, dir| {
        let moved = target("entry");
        if moved.exists() {
            fs::remove_dir_all(&moved).unwrap();
        }
        fs::rename(dir, &moved).unwrap();
        symlink(moved, dir).unwrap();
    });
    for name in FILES {
        assert_eq!(fs::read(outside.path().join(name)).unwrap(), content(name, 1), "{name}");
    }
    assert_eq!(fs::read_to_string(target("lock")).unwrap(), "outside");
    assert!(target("entry/files/weights.bin").exists());
}

#[test]
fn how_much_is_compared_is_what_the_option_says() {
    for (verification, finds_first, finds_dated, finds_hidden) in [
        (Verification::Always, true, true, true),
        (Verification::FirstOpen, true, true, false),
        (Verification::OnceOnDisk, false, true, false),
        (Verification::LengthsOnly, false, false, false),
    ] {
        let house = House::new();
        drop(house.get(&house.open(), 1).unwrap());
        let path = house.entry_dir().join("files/weights.bin");
        let date = fs::metadata(&path).unwrap().modified().unwrap();
        // Where the date is put back, only content tells.
        let flip = |date| {
            edit(&path, |bytes| bytes[0] ^= 1);
            fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
        };
        let is_found = |cache: &ArtifactCache| cache.get(&key(1), &house.until()).unwrap().is_none();
        flip(date);
        assert_eq!(is_found(&house.open_verifying(verification)), finds_first, "{verification:?}");
        flip(date);
        let cache = house.open_verifying(verification);
        assert!(!is_found(&cache));
        flip(date);
        assert_eq!(is_found(&cache), finds_hidden, "{verification:?}, the date put back");
        flip(date + Duration::from_secs(1));
        assert!(!is_found(&cache), "{verification:?}, the content put back");
        flip(date + Duration::from_secs(2));
        assert_eq!(is_found(&cache), finds_dated, "{verification:?}, with its own date");
        edit(&path, |bytes| bytes.truncate(1));
        assert!(is_found(&cache), "{verification:?}");
    }
}

#[test]
fn what_was_compared_once_is_known_to_the_next_process_until_it_changes() {
    let house = House::new();
    drop(house.get(&house.open(), 1).unwrap());
    let (path, note) = (house.entry_dir().join("files/weights.bin"), house.entry_dir().join("compared"));
    let is_intact = || house.open_verifying(Verification::OnceOnDisk).get(&key(1), &house.until()).unwrap().is_some();
    let date = fs::metadata(&path).unwrap().modified().unwrap();
    let flip = |date| {
        edit(&path, |bytes| bytes[0] ^= 1);
        fs::File::options().write(true).open(&path).unwrap().set_modified(date).unwrap();
    };
    flip(date);
    assert!(is_intact(), "the note of the build is believed");
    fs::remove_file(&note).unwrap();
    assert!(!is_intact(), "without a note content is compared");
    flip(date);
    assert!(is_intact() && note.exists(), "what was compared is noted again");
    fs::write(&note, "0".repeat(64)).unwrap();
    flip(date);
    assert!(!is_intact(), "a note of other files is no note");
}

#[test]
fn an_entry_that_its_user_discards_is_built_again() {
    let house = House::new();
    let cache = house.open();
    assert!(!cache.holds(&key(1)));
    drop(house.get(&cache, 1).unwrap());
    assert!(cache.holds(&key(1)));
    let listed = cache.list().unwrap();
    assert_eq!((listed.len(), listed[0].key.as_str()), (1, key(1).as_str()));
    assert_eq!(listed[0].path, house.entry_dir().join("files"));
    cache.discard(&key(1), &house.until()).unwrap();
    assert!(!cache.holds(&key(1)) && cache.get(&key(1), &house.until()).unwrap().is_none());
    assert_eq!(house.get(&cache, 1).unwrap().origin(), Origin::Built);
    cache.discard(&key(2), &house.until()).unwrap();
    drop(cache);
    house.open();
    house.assert_clean();
}

#[test]
fn an_entry_found_damaged_is_out_of_the_way_of_those_who_still_use_it() {
    let house = House::new();
    let cache = house.open_verifying(Verification::Always);
    let held = house.get(&cache, 1).unwrap();
    let opened = fs::File::open(held.path().join("weights.bin")).unwrap();
    edit(&house.entry_dir().join("files/nested/deep/table"), |bytes| bytes[0] ^= 1);
    let rebuilt = cache.get_or_build(&key(1), &meta(), &house.until(), |dir| fill(dir, 1)).unwrap();
    assert_eq!(rebuilt.origin(), Origin::Rebuilt(Rejection::Content));
    assert_content(&rebuilt, 1);
    assert_eq!(opened.metadata().unwrap().len(), 40);
    drop((held, cache));
    house.open();
    house.assert_clean();
}
