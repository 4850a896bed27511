//! Slots: places that requests ask for by number, what is saved of them, and who may see them.

use crate::house::{House, Plan, over};
use ballast_testkit::ASSISTANT_TURN;
use serde_json::{Value, json};

async fn complete(house: &House, extra: Value) -> Value {
    house.post("/completion", &over(json!({"prompt": long_prompt(), "temperature": 0}), extra)).await.json()
}

/// Some blocks of the KV cache, and then the cue for an answer.
fn long_prompt() -> String {
    "x".repeat(60) + ASSISTANT_TURN
}

fn cached(answer: &Value) -> u64 {
    answer["tokens_cached"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn each_slot_has_cached_keys_and_values_of_its_own() {
    let house = House::open(Plan::default()).await;
    assert_eq!(cached(&complete(&house, json!({"id_slot": 0})).await), 0);
    assert!(cached(&complete(&house, json!({"id_slot": 0})).await) > 0);
    assert_eq!(cached(&complete(&house, json!({"id_slot": 1})).await), 0, "another slot");
    assert_eq!(cached(&complete(&house, json!({"id_slot": -1})).await), 0, "no slot");
    assert!(cached(&complete(&house, json!({})).await) > 0, "no slot again");
    assert_eq!(cached(&complete(&house, json!({"cache_prompt": false})).await), 0);
    assert_eq!(cached(&complete(&house, json!({"id_slot": 0, "cache_prompt": false})).await), 0);
    let erased = house.post("/slots/0?action=erase", &json!({})).await.json();
    assert!(erased["n_erased"].as_u64().unwrap() > 60, "{erased}");
    assert_eq!(cached(&complete(&house, json!({"id_slot": 0})).await), 0, "nothing is left in an erased slot");
    let refused = house.post("/completion", &json!({"prompt": "a", "id_slot": 1000})).await;
    assert_eq!((refused.status, refused.error("param").as_str()), (400, "id_slot"));
}

#[tokio::test]
async fn a_saved_slot_is_restored_into_another() {
    let dir = std::env::temp_dir().join(format!("ballast-slots-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let house = House::open(Plan { options: |o| o.slot_dir = Some(slot_dir()), ..Plan::default() }).await;
    complete(&house, json!({"id_slot": 0})).await;
    let file = json!({"filename": "a.bin"});
    let saved = house.post("/slots/0?action=save", &file).await.json();
    let restored = house.post("/slots/1?action=restore", &file).await.json();
    assert_eq!((&saved["filename"], &saved["n_saved"]), (&json!("a.bin"), &restored["n_restored"]), "{restored}");
    assert_eq!((&saved["n_written"], &restored["id_slot"]), (&restored["n_read"], &json!(1)));
    assert!(cached(&complete(&house, json!({"id_slot": 1})).await) > 0);
    for (path, body, status, param) in [
        ("/slots/0?action=save", json!({"filename": "../a"}), 400, "filename"),
        ("/slots/0?action=save", json!({}), 400, "filename"),
        ("/slots/0?action=restore", json!({"filename": "none"}), 400, "filename"),
        ("/slots/0?action=dance", json!({}), 400, "action"),
        ("/slots/0", json!({}), 400, "action"),
        ("/slots/1000?action=erase", json!({}), 400, "id_slot"),
        ("/slots/x?action=erase", json!({}), 400, "id_slot"),
    ] {
        let refused = house.post(path, &body).await;
        assert_eq!((refused.status, refused.error("param").as_str()), (status, param), "{path} {body}");
    }
    std::fs::write(dir.join("bad"), "BALLASTS and more").unwrap();
    assert_eq!(house.post("/slots/0?action=restore", &json!({"filename": "bad"})).await.error("code"), "slot_file");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn slot_dir() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("ballast-slots-{}", std::process::id()))
}

#[tokio::test]
async fn slots_are_told_and_saved_only_where_the_server_was_asked_to() {
    let house = House::open(Plan::default()).await;
    let slots = house.get("/slots").await.json();
    let n_slots = house.get("/props").await.json()["total_slots"].clone();
    assert_eq!(json!(slots.as_array().unwrap().len()), n_slots);
    assert_eq!((&slots[0]["id"], &slots[0]["is_processing"]), (&json!(0), &json!(false)));
    let unsaved = house.post("/slots/0?action=save", &json!({"filename": "a"})).await;
    assert_eq!((unsaved.status, unsaved.error("type").as_str()), (501, "not_supported_error"));
    let house = House::open(Plan { options: |o| o.shows_slots = false, ..Plan::default() }).await;
    assert_eq!(house.get("/slots").await.status, 501);
}

#[tokio::test]
async fn as_many_slots_are_busy_as_sequences_are_generated() {
    let house = House::open(Plan {
        script: |mut script| {
            script.held = true;
            script
        },
        ..Plan::default()
    })
    .await;
    let asking = complete(&house, json!({}));
    let looking = async {
        house.wait_health(1, 0).await;
        let slots = house.get("/slots").await.json();
        let n_busy = slots.as_array().unwrap().iter().filter(|slot| slot["is_processing"] == true).count();
        house.control.release();
        n_busy
    };
    assert_eq!(tokio::join!(asking, looking).1, 1);
}
