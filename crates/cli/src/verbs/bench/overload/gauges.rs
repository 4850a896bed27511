//! What `/metrics` says of a server's work, read often.

use super::super::client::Target;
use ballast_backend::Clock;
use std::time::Duration;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(2);

/// Figures of all models together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gauges {
    /// Sequences being generated.
    pub(super) running: f64,
    /// Requests waiting for their turn.
    pub(super) waiting: f64,
    /// Tokens generated since the start.
    pub(super) generated: f64,
}

impl Gauges {
    fn parse(text: &str) -> Self {
        let sum = |name: &str| {
            let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Self {
            running: sum("vllm:num_requests_running"),
            waiting: sum("vllm:num_requests_waiting"),
            generated: sum("vllm:generation_tokens_total"),
        }
    }
}

/// What they are now; `None` if the server does not tell.
pub(super) async fn read(target: &Target) -> Option<Gauges> {
    Some(Gauges::parse(&target.get("/metrics").await.ok()?))
}

/// Waits until they are as wanted: after how long they were, `None` if not within `limit`; and the last of them.
pub(super) async fn wait(
    target: &Target,
    limit: Duration,
    wanted: impl Fn(&Gauges) -> bool,
) -> (Option<Duration>, Gauges) {
    let begin = target.clock.now();
    let mut last = Gauges::default();
    loop {
        let is_wanted = match read(target).await {
            None => false,
            Some(gauges) => {
                last = gauges;
                wanted(&gauges)
            }
        };
        let time = target.clock.now().saturating_sub(begin);
        if is_wanted {
            return (Some(time), last);
        }
        if time > limit {
            return (None, last);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Gauges;

    #[test]
    fn figures_of_models_add_up() {
        let text = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"a b\"} 2\n\
            vllm:num_requests_running{model_name=\"c\"} 1.0\nvllm:num_requests_waiting{model_name=\"c\"} 4\n\
            vllm:generation_tokens_total{model_name=\"c\"} 77\nvllm:num_requests_running_of_another 9\n";
        assert_eq!(Gauges::parse(text), Gauges { running: 3.0, waiting: 4.0, generated: 77.0 });
    }
}
