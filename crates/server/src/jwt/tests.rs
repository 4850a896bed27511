//! Tokens that are good, and each way in which one is not.

use super::*;
use crate::scope::Scope;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

const NOW: i64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// A token with `alg` RS256 and `kid` r1, signed by OpenSSL 3, that ends a minute after [`NOW`]; its key was thrown away.
const RSA_TOKEN: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYmFsbGFzdCIs",
    "InN1YiI6ImFsaWNlIiwiZXhwIjoxNzAwMDAwMDYwLCJzY29wZSI6InJlYWQgZ2VuZXJhdGUifQ.LTIHbNQ4PIT7GgTVNxOVnlNvi",
    "pV19i4SiWYj7meOUKgILU8lp28ptBFSiw7mmlrlVjBymyt39uSWr6U2o5dotqOqQYVNHfm7ut2TDVDKCiu1J2GmaKQfuFxD6i6Ry",
    "-T4K76EbKrHFiQg_5oKAxXmlFN7Y6G2P7j3hzs6qb3TUHeDQoBDrLhq55JdoKd9PRZOzkF0bTiMVsMN8pxGcqwAcoAjvtQkJ6MgW",
    "rYEp5KXQU7HEis8pbsKXtgpOssQkbqCvOT1MHWIoArD4PLo_z64dCe95H_IUQIEVyAV5YnUl3qImhWzZ4seYDogaTRvjyC6enmUc",
    "w-XdR4lupHDUrdQ9g",
);
/// The modulus of its key.
const RSA_N: &str = concat!(
    "wgMbVYnMyl8lW03BMZrtnCY05f9g43fLcLlxzFUQBoXoFcn-9baqqhRcPIChV7YxWmyfFP9dR4eNOpcgI7yZFGemOcx7e1J4kED7",
    "TzeIfjPSlLVcSa-GF4JYzJ8iMPIXf6zDcJ68DrNhCVMBi94oO29TsS_q72UQtbBTyL-fP8RhoL18dQ2nOPNSjD_AcVqfbWCQUAHL",
    "bEf4Dv-QIWW9VVbg-0lDdCpmoThByEDemUTIiH8cBBTEqD0tVu4-eHujLj6YycYEsZUHtErazQxYZuR8tjgSqlBVjq8hVwG1XL5x",
    "_vTcrg_tQUyT8E06V-4zEp_1pnYs8BtQAYmrQ5FdhQ",
);

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({"iss": "https://issuer.example", "aud": ["other", "ballast"], "sub": "alice", "exp": NOW + 60,
           "scope": "generate openid read"})
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", encode(&signature))
}

fn by_secret(message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message).as_ref().to_vec()
}

fn verifier(jwks: &Value, algorithms: &[JwtAlgorithm]) -> Result<JwtVerifier, JwtError> {
    let folder = tempfile::tempdir().unwrap();
    let (set, secret) = (folder.path().join("jwks.json"), folder.path().join("secret"));
    std::fs::write(&set, jwks.to_string()).unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    JwtVerifier::open(JwtOptions {
        issuer: "https://issuer.example".to_owned(),
        audience: "ballast".to_owned(),
        jwks: Some(set),
        secret: Some(secret),
        algorithms: algorithms.iter().copied().collect(),
        leeway: Duration::from_secs(30),
    })
}

fn hs256() -> JwtVerifier {
    verifier(&json!({"keys": []}), &[JwtAlgorithm::Hs256]).unwrap()
}

fn check(verifier: &JwtVerifier, token: &str) -> Result<(String, Vec<Scope>), Refusal> {
    let caller = verifier.caller(token, NOW, None)?;
    Ok((caller.tenant.as_str().to_owned(), caller.terms.unwrap().scopes.iter().copied().collect()))
}

#[test]
fn a_good_token_names_its_tenant_and_scopes() {
    let good = token(&json!({"alg": "HS256"}), &claims(), by_secret);
    assert_eq!(check(&hs256(), &good), Ok(("alice".to_owned(), vec![Scope::Generate, Scope::Read])));
    let mut long = claims();
    long["sub"] = "somebody with a long name".into();
    let (tenant, _) = check(&hs256(), &token(&json!({"alg": "HS256"}), &long, by_secret)).unwrap();
    assert!(tenant.starts_with("sub-") && tenant.len() == 20, "{tenant}");
}

#[test]
fn what_a_token_says_must_be_right() {
    let change = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        check(&hs256(), &token(&json!({"alg": "HS256"}), &claims, by_secret)).err()
    };
    assert_eq!(change("exp", (NOW - 29).into()), None, "within the leeway");
    assert_eq!(change("exp", (NOW - 30).into()), Some(Refusal::TokenExpired));
    assert_eq!(change("nbf", (NOW + 30).into()), None, "within the leeway");
    let wrong = [
        ("nbf", json!(NOW + 31)),
        ("nbf", json!("soon")),
        ("exp", json!("never")),
        ("exp", json!(null)),
        ("iss", json!("https://another.example")),
        ("aud", json!("another")),
        ("aud", json!([])),
        ("sub", json!("")),
        ("sub", json!(5)),
    ];
    for (name, value) in wrong {
        assert_eq!(change(name, value.clone()), Some(Refusal::Key), "{name} {value}");
    }
    assert_eq!(change("scope", json!(null)), None, "without scopes it opens nothing, but it is good");
}

#[test]
fn a_token_is_good_by_its_signature_alone() {
    let verifier = hs256();
    let good = token(&json!({"alg": "HS256"}), &claims(), by_secret);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let mut other_claims = claims();
    other_claims["sub"] = "mallory".into();
    let forged = token(&json!({"alg": "HS256"}), &other_claims, by_secret);
    let (forged, _) = forged.rsplit_once('.').unwrap();
    let none = token(&json!({"alg": "none"}), &claims(), |_| Vec::new());
    let crit = token(&json!({"alg": "HS256", "crit": ["exp"]}), &claims(), by_secret);
    let twice =
        format!("{}.{}", encode(b"{\"alg\":\"none\",\"alg\":\"HS256\"}"), encode(claims().to_string().as_bytes()));
    let twice = format!("{twice}.{}", encode(&by_secret(twice.as_bytes())));
    let long = token(&json!({"alg": "HS256", "x": "x".repeat(TOKEN_BYTES_MAX)}), &claims(), by_secret);
    let wrong = [
        format!("{signed}."),
        format!("{signed}.{}", &signature[1..]),
        format!("{forged}.{signature}"),
        signed.to_owned(),
        format!("{good}.x"),
        String::new(),
        "..".to_owned(),
        none,
        crit,
        twice,
        long,
    ];
    for wrong in wrong {
        assert_eq!(check(&verifier, &wrong).err(), Some(Refusal::Key), "{wrong}");
    }
    assert!(check(&verifier, &good).is_ok());
}

#[test]
fn public_keys_of_each_kind_check_what_their_private_keys_signed() {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap();
    let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
    let jwks = json!({"keys": [
        {"kty": "RSA", "kid": "r1", "use": "sig", "n": RSA_N, "e": "AQAB"},
        {"kty": "EC", "kid": "e1", "crv": "P-256", "alg": "ES256", "x": encode(x), "y": encode(y)},
        {"kty": "OKP", "kid": "d1", "crv": "Ed25519", "x": encode(ed.public_key().as_ref())},
        {"kty": "oct", "kid": "o1", "k": encode(SECRET)},
        {"kty": "RSA", "kid": "r2", "use": "enc", "n": RSA_N, "e": "AQAB"},
    ]});
    let all = verifier(&jwks, &JwtAlgorithm::ALL).unwrap();
    assert_eq!(check(&all, RSA_TOKEN), Ok(("alice".to_owned(), vec![Scope::Generate, Scope::Read])));
    let by_ec = |message: &[u8]| ec.sign(&random, message).unwrap().as_ref().to_vec();
    let by_ed = |message: &[u8]| ed.sign(message).as_ref().to_vec();
    assert!(check(&all, &token(&json!({"alg": "ES256", "kid": "e1"}), &claims(), by_ec)).is_ok());
    assert!(check(&all, &token(&json!({"alg": "EdDSA", "kid": "d1"}), &claims(), by_ed)).is_ok());
    assert!(check(&all, &token(&json!({"alg": "EdDSA"}), &claims(), by_ed)).is_ok(), "without a name any may fit");
    assert!(check(&all, &token(&json!({"alg": "EdDSA", "kid": "e1"}), &claims(), by_ed)).is_err(), "another's name");
    // A public key taken for a secret: the classic confusion.
    let confused = |message: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(RSA_N).unwrap());
        hmac::sign(&key, message).as_ref().to_vec()
    };
    assert!(check(&all, &token(&json!({"alg": "HS256", "kid": "r1"}), &claims(), confused)).is_err());
    let rsa_only = verifier(&jwks, &[JwtAlgorithm::Rs256]).unwrap();
    assert!(check(&rsa_only, RSA_TOKEN).is_ok());
    assert!(check(&rsa_only, &token(&json!({"alg": "HS256"}), &claims(), by_secret)).is_err(), "not allowed");
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let open = |jwks: Value| verifier(&jwks, &[JwtAlgorithm::Es256]).map(drop);
    assert!(matches!(open(json!({"keys": []})), Err(JwtError::None)));
    assert!(matches!(open(json!([])), Err(JwtError::Jwks)));
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "short").unwrap();
    let options = JwtOptions {
        issuer: String::new(),
        audience: String::new(),
        jwks: None,
        secret: Some(secret.clone()),
        algorithms: JwtAlgorithm::ALL.into_iter().collect(),
        leeway: Duration::ZERO,
    };
    assert!(matches!(JwtVerifier::open(options.clone()), Err(JwtError::Secret { got: 5 })));
    std::fs::write(&secret, SECRET).unwrap();
    let verifier = JwtVerifier::open(options).unwrap();
    std::fs::write(&secret, "short again").unwrap();
    assert!(verifier.reload_if_changed().is_err() && !verifier.reload_if_changed().unwrap());
    std::fs::remove_file(&secret).unwrap();
    assert!(matches!(verifier.reload_if_changed(), Err(JwtError::Io(_))));
}
