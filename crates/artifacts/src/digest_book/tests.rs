//! What is remembered, what is not, and what a record that lies is worth.

use super::*;
use std::fs::File;
use tempfile::TempDir;

struct House {
    dir: TempDir,
    book: DigestBook,
}

const SHA256: Sha256 = Sha256([7; 32]);

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("book")).unwrap();
        let book = DigestBook::new(dir.path().join("book"));
        let house = Self { dir, book };
        house.write(b"content", Duration::from_secs(60));
        house
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("model")
    }

    /// Writes a model that is this much older than a file that is made now.
    fn write(&self, content: &[u8], age: Duration) {
        fs::write(self.path(), content).unwrap();
        let file = File::options().write(true).open(self.path()).unwrap();
        let now = File::create(self.dir.path().join("now")).unwrap().metadata().unwrap().modified().unwrap();
        file.set_modified(now - age).unwrap();
    }

    fn stamps(&self) -> Vec<FileStamp> {
        vec![FileStamp::new(&self.path(), &fs::metadata(self.path()).unwrap())]
    }

    fn remember(&self) -> bool {
        let note = self.book.note(self.stamps()).unwrap();
        note.remember(SHA256, &self.stamps()).unwrap()
    }

    fn records(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path().join("book")).unwrap().map(|item| item.unwrap().path()).collect()
    }
}

#[test]
fn a_digest_is_remembered_until_the_file_changes() {
    let house = House::new();
    assert_eq!(house.book.digest(&house.stamps()), None);
    assert!(house.remember());
    assert_eq!(house.book.digest(&house.stamps()), Some(SHA256));
    house.write(b"other..", Duration::from_secs(61));
    assert_eq!(house.book.digest(&house.stamps()), None);
    house.write(b"longer...", Duration::from_secs(60));
    assert_eq!(house.book.digest(&house.stamps()), None);
}

#[test]
fn a_file_moved_over_another_is_another() {
    let house = House::new();
    assert!(house.remember());
    let date = fs::metadata(house.path()).unwrap().modified().unwrap();
    let other = house.dir.path().join("other");
    fs::write(&other, b"CONTENT").unwrap();
    File::options().write(true).open(&other).unwrap().set_modified(date).unwrap();
    fs::rename(&other, house.path()).unwrap();
    assert_eq!(house.book.digest(&house.stamps()), None);
}

#[test]
fn a_file_written_less_than_two_seconds_ago_is_not_remembered() {
    let house = House::new();
    let modified = fs::metadata(house.path()).unwrap().modified().unwrap();
    for (age_ms, remembered) in [(0, false), (1_999, false), (2_000, true)] {
        let mut note = house.book.note(house.stamps()).unwrap();
        note.made = Some(modified + Duration::from_millis(age_ms));
        assert_eq!(note.remember(SHA256, &house.stamps()).unwrap(), remembered, "{age_ms} ms");
        assert_eq!(house.book.digest(&house.stamps()).is_some(), remembered, "{age_ms} ms");
    }
    let ahead = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
    File::options().write(true).open(house.path()).unwrap().set_modified(ahead).unwrap();
    assert!(!house.remember(), "a date that has not come");
    assert_eq!(house.records().len(), 1, "what is not remembered leaves nothing");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_remembered() {
    let house = House::new();
    let note = house.book.note(house.stamps()).unwrap();
    house.write(b"other..", Duration::from_secs(61));
    assert!(!note.remember(SHA256, &house.stamps()).unwrap());
    assert_eq!(house.records(), Vec::<PathBuf>::new());
}

#[test]
fn every_damaged_record_says_nothing() {
    let house = House::new();
    assert!(house.remember());
    let record = house.records().remove(0);
    let text = fs::read(&record).unwrap();
    assert_eq!(text.len(), RECORD_BYTES);
    for idx in 0..text.len() {
        let mut damaged = text.clone();
        damaged[idx] ^= 1;
        fs::write(&record, damaged).unwrap();
        assert_eq!(house.book.digest(&house.stamps()), None, "byte {idx}");
    }
    for cut in [0, 1, text.len() - 1] {
        fs::write(&record, &text[..cut]).unwrap();
        assert_eq!(house.book.digest(&house.stamps()), None, "{cut} bytes");
    }
    fs::write(&record, [text.as_slice(), b"\n"].concat()).unwrap();
    assert_eq!(house.book.digest(&house.stamps()), None);
}

#[test]
fn the_oldest_record_makes_room() {
    let house = House::new();
    let record = |idx: usize| house.dir.path().join("book").join(format!("{idx}"));
    for idx in 0..DIGESTS_MAX {
        let file = File::create(record(idx)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1 + idx as u64)).unwrap();
    }
    assert!(house.remember());
    assert_eq!(house.records().len(), DIGESTS_MAX);
    assert!(!record(0).exists() && record(1).exists());
    assert!(house.remember() && house.records().len() == DIGESTS_MAX, "the same model takes no more room");
}

#[test]
fn a_model_without_files_is_not_remembered() {
    let house = House::new();
    assert!(!house.book.note(Vec::new()).unwrap().remember(SHA256, &[]).unwrap());
    assert_eq!(house.book.digest(&[]), None);
}
