//! Addresses that present keys which open nothing, and what others see of it.

use crate::client::{Answer, read_answer, request};
use crate::house::{House, KEY, Plan, bearer};
use crate::keys::{Keyed, terms};
use ballast_server::Scope;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

const WRONG: &str = "another-key-of-some-length";

fn three(o: &mut ballast_server::ServerOptions) {
    o.failed_logins_per_minute = NonZeroU32::new(3);
}

/// Asks with `key` from an address of this machine's own network.
async fn ask_from(host: [u8; 4], to: SocketAddr, path: &str, key: Option<&str>) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((host, 0).into()).unwrap();
    let mut socket = socket.connect(to).await.unwrap();
    let key = key.map(bearer);
    let headers: Vec<_> = key.iter().map(|key| ("authorization", key.as_str())).collect();
    socket.write_all(request("GET", path, &headers, "").as_bytes()).await.unwrap();
    read_answer(&mut socket).await
}

const HERE: [u8; 4] = [127, 0, 0, 1];
const THERE: [u8; 4] = [127, 0, 0, 2];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_presents_wrong_keys_is_throttled_and_no_other_is() {
    let house = House::open(Plan { options: three, ..Plan::default() }).await;
    let ask = async |host, path: &'static str, key| ask_from(host, house.address, path, key).await;
    for _ in 0..5 {
        assert_eq!(ask(HERE, "/v1/models", None).await.status, 401, "who presents no key guesses none");
    }
    for _ in 0..3 {
        assert_eq!(ask(HERE, "/v1/models", Some(KEY)).await.status, 200);
        assert_eq!(ask(HERE, "/v1/models", Some(WRONG)).await.status, 401);
    }
    for key in [WRONG, KEY] {
        let refused = ask(HERE, "/v1/models", Some(key)).await;
        assert_eq!((refused.status, refused.error("code").as_str()), (429, "rate_limited"), "{key}");
        assert!((1..=20).contains(&refused.header("retry-after").unwrap().parse::<u32>().unwrap()));
        assert!(refused.body.contains("too many wrong API keys"), "{}", refused.body);
    }
    assert!(ask(HERE, "/api/tags", Some(WRONG)).await.json()["error"].is_string(), "in the words of the wire");
    assert_eq!(ask(HERE, "/livez", None).await.status, 200);
    assert_eq!(ask(THERE, "/v1/models", Some(KEY)).await.status, 200, "a good key from elsewhere");
    assert_eq!(ask(THERE, "/v1/models", Some(WRONG)).await.status, 401);
    let counted = ask(THERE, "/metrics", Some(KEY)).await.body;
    assert!(counted.contains("ballast_security_events_total{event=\"login_throttled\"} 3\n"), "{counted}");
}

#[tokio::test]
async fn keys_that_have_ended_and_keys_of_a_file_count_as_they_should() {
    let ended = ballast_server::KeyTerms { expires: Some(1_700_000_000), ..terms(&Scope::ALL) };
    let keyed = Keyed::open(Plan { options: three, ..Plan::default() }, &[ended, terms(&Scope::ALL)]).await;
    for _ in 0..9 {
        let answer = keyed.ask(0, "GET", "/v1/models", "").await;
        assert_eq!((answer.status, answer.error("code").as_str()), (401, "api_key_expired"), "no guess");
    }
    let guess = "sk-0101010101010101-guessed";
    let ask = async || ask_from(HERE, keyed.house.address, "/v1/models", Some(guess)).await.status;
    assert_eq!([ask().await, ask().await, ask().await, ask().await], [401, 401, 401, 429]);
    assert_eq!(keyed.ask(1, "GET", "/v1/models", "").await.status, 429);
}

#[tokio::test]
async fn an_address_may_fail_as_often_as_it_likes_where_nobody_minds() {
    let house = House::open(Plan { options: |o| o.failed_logins_per_minute = None, ..Plan::default() }).await;
    for _ in 0..40 {
        assert_eq!(ask_from(HERE, house.address, "/v1/models", Some(WRONG)).await.status, 401);
    }
    assert_eq!(ask_from(HERE, house.address, "/v1/models", Some(KEY)).await.status, 200);
}
