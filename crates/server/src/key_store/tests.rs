//! Files of keys that are made, read, revoked, broken and reloaded.

use super::*;
use crate::RateLimit;
use crate::limits::CallerLimits;
use crate::scope::Scope;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

const NOW: i64 = 1_700_000_000;

fn terms() -> KeyTerms {
    let requests = Some(RateLimit { interval: Duration::from_millis(250), burst: NonZeroU32::new(8).unwrap() });
    KeyTerms {
        name: "nightly run".to_owned(),
        tenant: "team-a".parse().unwrap(),
        scopes: [Scope::Generate, Scope::Read].into_iter().collect(),
        models: Some(vec!["small".to_owned()]),
        expires: Some(NOW + 100),
        limits: CallerLimits { requests, tokens_per_minute: NonZeroU64::new(5000), concurrency: NonZeroU32::new(3) },
    }
}

fn key(n: u8, terms: KeyTerms) -> NewKey {
    NewKey::new(([n; KEY_ID_BYTES], [n; KEY_SECRET_BYTES]), terms, NOW).unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_key_is_found_by_its_whole_text_and_by_nothing_else() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let (first, second) = (key(1, terms()), key(2, KeyTerms { expires: None, models: None, ..terms() }));
    KeyFile::new(&path).add(&first).unwrap();
    KeyFile::new(&path).add(&second).unwrap();
    let store = KeyStore::open(&path).unwrap();
    assert_eq!(*store.find(&first.secret, NOW).unwrap(), first.record);
    assert_eq!(*store.find(&second.secret, NOW).unwrap(), second.record);
    let mut other = first.secret.clone();
    other.replace_range(other.len() - 1.., "0");
    let swapped = format!("sk-{}-{}", second.record.id, &first.secret[20..]);
    for wrong in [other.as_str(), &swapped, &first.record.id, "sk-", "sk--", "", &first.secret[1..]] {
        assert_eq!(store.find(wrong, NOW).err(), Some(Refusal::Key), "{wrong}");
    }
}

#[test]
fn the_file_holds_no_secret_and_is_its_owners_alone() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let new = key(7, terms());
    KeyFile::new(&path).add(&new).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&new.secret) && !text.contains(&new.secret[20..]), "{text}");
    assert!(!format!("{new:?} {:?}", KeyStore::open(&path).unwrap()).contains(&new.secret[20..]));
    assert_eq!(KeyFile::new(&path).read().unwrap(), [new.record]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(KeyStore::open(&path), Err(KeyFileError::Mode { mode: 0o620 })));
    }
}

#[test]
fn keys_end_when_they_expire_or_are_revoked() {
    let folder = folder();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let new = key(1, terms());
    file.add(&new).unwrap();
    let store = KeyStore::open(file.path()).unwrap();
    assert!(store.find(&new.secret, NOW + 99).is_ok());
    assert_eq!(store.find(&new.secret, NOW + 100).err(), Some(Refusal::KeyExpired));
    file.revoke(&new.record.id, NOW + 5).unwrap();
    file.revoke(&new.record.id, NOW + 9).unwrap();
    assert!(store.find(&new.secret, NOW).is_ok(), "nobody looked at the file yet");
    store.reload().unwrap();
    assert_eq!(store.find(&new.secret, NOW).err(), Some(Refusal::KeyRevoked));
    assert_eq!(file.read().unwrap()[0].revoked, Some(NOW + 5), "it was revoked once");
    assert!(matches!(file.revoke("0000", NOW), Err(KeyFileError::Unknown { .. })));
    assert_eq!(
        store.find("sk-0101010101010101-wrong", NOW).err(),
        Some(Refusal::Key),
        "who has no secret learns nothing"
    );
}

#[test]
fn a_change_is_seen_and_a_broken_file_leaves_the_keys_as_they_were() {
    let folder = folder();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let (first, second) = (key(1, terms()), key(2, terms()));
    file.add(&first).unwrap();
    let store = KeyStore::open(file.path()).unwrap();
    assert!(!store.reload_if_changed().unwrap());
    file.add(&second).unwrap();
    assert!(store.reload_if_changed().unwrap() && store.find(&second.secret, NOW).is_ok());
    std::fs::write(file.path(), "{\"version\": 1").unwrap();
    assert!(matches!(store.reload_if_changed(), Err(KeyFileError::Json(_))));
    assert!(!store.reload_if_changed().unwrap(), "the same file is not tried twice");
    assert!(store.find(&first.secret, NOW).is_ok());
}

#[test]
fn two_who_write_at_once_lose_nothing() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let path = path.clone();
            std::thread::spawn(move || KeyFile::new(path).add(&key(n, terms())).unwrap())
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(KeyFile::new(path).read().unwrap().len(), 8);
}

#[test]
fn files_that_are_no_files_of_keys_are_refused_by_name() {
    let folder = folder();
    let path = folder.path().join("keys.json");
    KeyFile::new(&path).add(&key(1, terms())).unwrap();
    let good: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let cases = [
        ("id", serde_json::json!("x")),
        ("tenant", serde_json::json!("two words")),
        ("scopes", serde_json::json!([])),
        ("scopes", serde_json::json!(["everything"])),
        ("models", serde_json::json!([])),
        ("sha256", serde_json::json!("00")),
        ("requests_per_second", serde_json::json!(0)),
        ("name", serde_json::json!("n".repeat(KEY_NAME_BYTES_MAX + 1))),
    ];
    for (name, value) in cases {
        let mut bad = good.clone();
        bad["keys"][0][name] = value;
        std::fs::write(&path, bad.to_string()).unwrap();
        let error = KeyFile::new(&path).read().unwrap_err();
        assert!(matches!(&error, KeyFileError::Field { field, .. } if *field == name), "{name}: {error}");
    }
    let mut twice = good.clone();
    twice["keys"] = serde_json::json!([good["keys"][0], good["keys"][0]]);
    let mut unknown = good.clone();
    unknown["keys"][0]["colour"] = 1.into();
    let mut newer = good.clone();
    newer["version"] = 2.into();
    for bad in [twice, unknown, newer] {
        std::fs::write(&path, bad.to_string()).unwrap();
        assert!(KeyFile::new(&path).read().is_err(), "{bad}");
    }
    std::fs::write(&path, " ".repeat(usize::try_from(KEY_FILE_BYTES_MAX).unwrap() + 1)).unwrap();
    assert!(matches!(KeyFile::new(&path).read(), Err(KeyFileError::Length { .. })));
    assert!(matches!(KeyFile::new(folder.path().join("none")).read(), Err(KeyFileError::Io { .. })));
}

#[test]
fn a_certificate_opens_one_record_of_those_that_are_good() {
    let folder = folder();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let name: CertificateName = "dns:client.example".parse().unwrap();
    let with = |n| key(n, terms()).with_certificate(name.clone());
    file.add(&with(1)).unwrap();
    let store = KeyStore::open(file.path()).unwrap();
    let names = [CertificateName::of_der(b"any"), name.clone()];
    assert_eq!(store.find_certificate(&names, NOW).unwrap().certificate, Some(name.clone()));
    assert_eq!(store.find_certificate(&names, NOW + 100).err(), Some(Refusal::KeyExpired));
    assert_eq!(store.find_certificate(&names[..1], NOW).err(), Some(Refusal::Key));
    assert_eq!(store.find_certificate(&[], NOW).err(), Some(Refusal::Key));
    let twice = file.add(&with(2)).unwrap_err();
    assert!(matches!(twice, KeyFileError::Field { field: "certificate", .. }), "{twice}");
    file.revoke(&with(1).record.id, NOW).unwrap();
    store.reload().unwrap();
    assert_eq!(store.find_certificate(&names, NOW).err(), Some(Refusal::KeyRevoked));
    file.add(&with(2)).unwrap();
    store.reload().unwrap();
    assert_eq!(store.find_certificate(&names, NOW).unwrap().id, with(2).record.id);
    let mut text = std::fs::read_to_string(file.path()).unwrap();
    text = text.replace("dns:client.example", "cn:client.example");
    std::fs::write(file.path(), text).unwrap();
    assert!(matches!(file.read(), Err(KeyFileError::Field { field: "certificate", .. })));
}
