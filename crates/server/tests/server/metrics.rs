//! What is counted, as a scraper sees it.

use crate::client::{exchange, request};
use crate::house::{House, KEY, MODEL, Plan, bearer};
use serde_json::json;

/// The value of the sample that begins so.
fn sample(text: &str, beginning: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{beginning}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value ends the line")
}

#[tokio::test]
async fn what_was_answered_is_counted() {
    let house = House::open(Plan::default()).await;
    for extra in [json!({}), json!({"max_tokens": 2})] {
        assert_eq!(house.chat(extra).await.status, 200);
    }
    house.wait_health(0, 0).await;
    let headers = [("authorization", bearer(KEY)), ("accept", "application/openmetrics-text;version=1.0.0".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = exchange(house.address, &request("GET", "/metrics", &headers, "")).await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = answer.body;
    let of = |name: &str| sample(&text, &format!("{name}{{model_name=\"{MODEL}\",engine=\"0\""));
    assert_eq!(of("vllm:generation_tokens_total"), 12.0);
    assert_eq!(of("vllm:time_to_first_token_seconds_count"), 2.0);
    assert_eq!(of("vllm:inter_token_latency_seconds_count"), 10.0);
    assert_eq!((of("vllm:num_requests_running"), of("vllm:num_requests_waiting")), (0.0, 0.0));
    let last_bucket = format!("vllm:e2e_request_latency_seconds_bucket{{le=\"+Inf\",model_name=\"{MODEL}\"");
    assert_eq!(sample(&text, &last_bucket), 2.0);
    assert_eq!(
        sample(
            &text,
            &format!("ballast_requests_ended_total{{model_name=\"{MODEL}\",finish_reason=\"length\",reason=\"\"}}")
        ),
        1.0
    );
    assert!(text.contains("finished_reason=\"stop\"} 1\n") && text.ends_with("# EOF\n"), "{text}");
    assert!(sample(&text, "ballast_steps_total") >= 12.0);
    assert_eq!(sample(&text, "ballast_engine_up"), 1.0);
    assert_eq!(house.get("/health/metrics").await.status, 200);
}

#[tokio::test]
async fn who_does_not_ask_for_openmetrics_gets_the_older_text_with_llamacpps_names() {
    let house = House::open(Plan::default()).await;
    for _ in 0..2 {
        assert_eq!(house.chat(json!({"max_tokens": 2})).await.status, 200);
    }
    house.wait_health(0, 0).await;
    let answer = house.get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(answer.header("process-start-time-unix").is_some());
    let text = answer.body;
    assert!(text.contains("# TYPE vllm:generation_tokens_total counter\n") && !text.contains("# EOF"), "{text}");
    let of = |name: &str| sample(&text, &format!("llamacpp:{name} "));
    assert_eq!((of("tokens_predicted_total"), of("requests_processing"), of("requests_deferred")), (4.0, 0.0, 0.0));
    let (read, cached) = (of("prompt_tokens_total"), of("prompt_tokens_cached_total"));
    assert!(read > 0.0 && read + cached == 2.0 * (of("n_tokens_max") - 2.0), "{text}");
    assert!(of("n_decode_total") >= 3.0 && text.contains("# TYPE llamacpp:n_tokens_max counter\n"), "{text}");
}

#[tokio::test]
async fn work_in_progress_is_seen_and_refusals_are_counted() {
    let plan = Plan {
        script: |mut script| {
            script.held = true;
            script
        },
        ..Plan::default()
    };
    let house = House::open(plan).await;
    assert_eq!(
        house
            .chat(json!({"max_tokens": 100_000, "messages": [{"role": "user", "content": "x".repeat(10_000)}]}))
            .await
            .status,
        400
    );
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
    let asking = house.post("/v1/chat/completions", &body);
    let looking = async {
        house.wait_health(1, 0).await;
        let text = house.get("/metrics").await.body;
        house.control.release();
        text
    };
    let (_, text) = tokio::join!(asking, looking);
    assert_eq!(sample(&text, "vllm:num_requests_running"), 1.0);
    let usage = sample(&text, "vllm:kv_cache_usage_perc");
    assert!(0.0 < usage && usage <= 1.0, "{usage}");
    let refused =
        format!("ballast_requests_refused_total{{model_name=\"{MODEL}\",reason=\"CONTEXT_LENGTH_EXCEEDED\"}}");
    assert_eq!(sample(&text, &refused), 1.0);
}
