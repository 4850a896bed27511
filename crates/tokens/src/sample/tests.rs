//! Tests of sampling: filters against a slow oracle, draws against their distribution, numbers against formulas.

use super::candidates::{self, Scratch};
use super::survey::Survey;
use super::weights::Row;
use super::*;
use ballast_backend::{ErrorKind, TokenId};
use proptest::prelude::*;

mod reference;

const LOGITS: [f32; 8] = [1.0, -0.5, 2.5, 0.0, 2.0, -3.0, 1.5, 0.5];

fn sampler(params: &SamplingParams) -> Sampler {
    Sampler::new(params, 7, LOGITS.len()).unwrap()
}

fn sample(params: &SamplingParams, logits: &[f32]) -> Result<Sampled, SamplingError> {
    Sampler::new(params, 7, logits.len()).unwrap().sample(&mut logits.to_vec())
}

fn tokens(ids: &[u32]) -> Vec<TokenId> {
    ids.iter().copied().map(TokenId).collect()
}

/// Ids that the filters keep, by sorting everything; `None` where rounding decides about top-p.
fn slow_filter(logits: &[f32], params: &SamplingParams) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..).take(logits.len()).filter(|&id| logits[id as usize] > f32::NEG_INFINITY).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let highest = logits[order[0] as usize];
    let weight = |id: &u32| f64::from(((logits[*id as usize] - highest) / params.temperature).exp());
    if params.top_p < 1.0 {
        let total: f64 = order.iter().map(weight).sum();
        let target = total * f64::from(params.top_p);
        let sums = order.iter().scan(0.0, |sum, id| {
            *sum += weight(id);
            Some(*sum)
        });
        let sums: Vec<f64> = sums.collect();
        if sums.iter().any(|sum| (sum - target).abs() < 1e-9 * total) {
            return None;
        }
        let n = sums.iter().position(|&sum| sum >= target).map_or(order.len(), |idx| idx + 1);
        order.truncate(n.max(1));
    }
    order.retain(|id| weight(id) >= f64::from(params.min_p));
    order.sort_unstable();
    Some(order)
}

fn filter(logits: &[f32], params: &SamplingParams) -> Vec<u32> {
    let (mut survey, mut scratch) = (Survey::default(), Scratch::default());
    survey.look(&mut logits.to_vec(), None).unwrap();
    candidates::narrow(Row { logits, survey: &survey, temperature: params.temperature }, params, &mut scratch);
    let mut ids: Vec<u32> = scratch.pool.iter().map(|c| c.id).collect();
    ids.sort_unstable();
    ids
}

/// Logits with many ties and some impossible tokens, at least one possible.
fn some_logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        4 => (-20i8..20).prop_map(|tenths| f32::from(tenths) / 4.0),
        3 => -8.0f32..8.0,
        1 => Just(f32::NEG_INFINITY),
    ];
    prop::collection::vec(logit, 1..400).prop_map(|mut logits| {
        logits.push(0.25);
        logits
    })
}

proptest! {
    #[test]
    fn sample_filters_keep_what_the_slow_oracle_keeps(
        logits in some_logits(),
        temperature in 0.1f32..3.0,
        top_k in prop_oneof![Just(0usize), 1usize..450],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.001f32..1.0],
    ) {
        let params = SamplingParams { temperature, top_k, top_p, min_p, ..SamplingParams::default() };
        if let Some(expected) = slow_filter(&logits, &params) {
            prop_assert_eq!(filter(&logits, &params), expected);
        }
    }

    #[test]
    fn sample_survives_any_bits_and_never_breaks_a_mask(
        bits in prop::collection::vec(any::<u32>(), 1..200),
        finite in any::<bool>(),
        temperature in prop_oneof![Just(0.0f32), Just(f32::MIN_POSITIVE), 0.0f32..100.0],
        top_k in 0usize..10,
        penalty in 0.1f32..10.0,
        allowed in prop::collection::vec(0u32..200, 0..20),
    ) {
        let clear_exponent = if finite { 0x4000_0000 } else { 0 };
        let mut logits: Vec<f32> = bits.iter().map(|bits| f32::from_bits(bits & !clear_exponent)).collect();
        let params = SamplingParams { temperature, top_k, repetition_penalty: penalty, ..SamplingParams::default() };
        let mut mask = TokenMask::none(logits.len());
        allowed.iter().filter(|&&id| (id as usize) < bits.len()).for_each(|&id| mask.allow(TokenId(id)));
        let mut sampler = Sampler::new(&params, 1, logits.len()).unwrap();
        sampler.accept_prompt(&tokens(&allowed));
        match sampler.sample_masked(&mut logits, Some(&mask)) {
            Ok(sampled) => prop_assert!(mask.is_allowed(sampled.token)),
            Err(error) => prop_assert!(!finite || mask.is_empty(), "{error}"),
        }
    }

    /// Where nothing of 64 tokens in a row is allowed, their logits may be anything: they are not looked at. The token is the
    /// one that is chosen where all that is forbidden is impossible.
    #[test]
    fn sample_behind_a_narrow_mask_is_as_if_nothing_else_were_there(
        logits in prop::collection::vec(-8.0f32..8.0, 300..700),
        allowed in prop::collection::vec(0u32..300, 1..6),
        garbage in prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(1e30), Just(f32::NEG_INFINITY)],
        (temperature, top_k, top_p, min_p) in (
            prop_oneof![Just(0.0f32), 0.1f32..3.0],
            prop_oneof![Just(0usize), 1usize..40],
            prop_oneof![Just(1.0f32), 0.01f32..1.0],
            prop_oneof![Just(0.0f32), 0.001f32..1.0],
        ),
        seed in any::<u64>(),
    ) {
        let mut mask = TokenMask::none(logits.len());
        allowed.iter().for_each(|&id| mask.allow(TokenId(id)));
        let params = SamplingParams { temperature, top_k, top_p, min_p, ..SamplingParams::default() };
        let (mut alone, mut beside) = (vec![f32::NEG_INFINITY; logits.len()], logits.clone());
        for idx in 0..logits.len() {
            if mask.is_allowed(TokenId(u32::try_from(idx).unwrap())) {
                alone[idx] = logits[idx];
            } else if mask.word(idx / 64) == 0 {
                beside[idx] = garbage;
            }
        }
        let choose = |row: &mut [f32], mask| Sampler::new(&params, seed, row.len()).unwrap().sample_masked(row, mask);
        let token = |sampled: Result<Sampled, SamplingError>| sampled.map(|sampled| sampled.token);
        prop_assert_eq!(token(choose(&mut beside, Some(&mask))), token(choose(&mut alone, None)));
    }

    #[test]
    fn sample_logprobs_match_a_log_softmax_in_double_precision(logits in some_logits(), seed in any::<u64>()) {
        let params = SamplingParams {
            n_logprobs: Some(5),
            temperature: 0.5,
            frequency_penalty: 1.5,
            logit_bias: vec![(TokenId(0), 3.0)],
            seed: Some(seed),
            ..SamplingParams::default()
        };
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits.iter().map(|&l| (f64::from(l) - f64::from(highest)).exp()).sum();
        let expected = |token: TokenId| f64::from(logits[token.index()]) - f64::from(highest) - sum.ln();
        let mut sampler = Sampler::new(&params, 0, logits.len()).unwrap();
        sampler.accept_prompt(&tokens(&[0, 1, 1]));
        let sampled = sampler.sample(&mut logits.clone()).unwrap();
        for (token, logprob) in sampled.top.iter().copied().chain([(sampled.token, sampled.logprob)]) {
            prop_assert!((f64::from(logprob) - expected(token)).abs() < 1e-5, "{token}: {logprob}");
        }
        let n_possible = logits.iter().filter(|l| l.is_finite()).count();
        prop_assert_eq!(sampled.top.len(), n_possible.min(5));
        prop_assert!(sampled.top.is_sorted_by(|a, b| a.1 > b.1 || (a.1 == b.1 && a.0 < b.0)));
    }
}

/// Pearson's chi-square of `n` draws against the weights the filters leave.
fn chi_square(params: &SamplingParams, n: u32) -> f64 {
    let mut sampler = sampler(params);
    let mut counts = [0u32; LOGITS.len()];
    for _ in 0..n {
        counts[sampler.sample(&mut LOGITS.to_vec()).unwrap().token.index()] += 1;
    }
    let kept = slow_filter(&LOGITS, params).unwrap();
    let weight = |id: u32| (f64::from(LOGITS[id as usize]) / f64::from(params.temperature)).exp();
    let total: f64 = kept.iter().map(|&id| weight(id)).sum();
    (0..).zip(counts).fold(0.0, |sum, (id, count)| {
        if !kept.contains(&id) {
            assert_eq!(count, 0, "token {id} was filtered out");
            return sum;
        }
        let expected = f64::from(n) * weight(id) / total;
        sum + (f64::from(count) - expected).powi(2) / expected
    })
}

#[test]
fn sample_draws_follow_the_distribution() {
    let default = SamplingParams::default();
    let cases = [
        ("plain", default.clone()),
        ("cold", SamplingParams { temperature: 0.6, ..default.clone() }),
        ("hot", SamplingParams { temperature: 2.0, seed: Some(99), ..default.clone() }),
        ("top-k", SamplingParams { top_k: 3, ..default.clone() }),
        ("top-p", SamplingParams { top_p: 0.8, seed: Some(u64::MAX), ..default.clone() }),
        ("min-p", SamplingParams { min_p: 0.2, ..default.clone() }),
        ("all", SamplingParams { temperature: 1.3, top_k: 6, top_p: 0.95, min_p: 0.1, ..default }),
    ];
    for (name, params) in cases {
        // At most 7 degrees of freedom: 29.9 is exceeded once in ten thousand seeds.
        let chi_square = chi_square(&params, 20_000);
        assert!(chi_square < 29.9, "{name}: {chi_square}");
    }
}

#[test]
fn sample_draw_depends_on_seed_and_position_only() {
    let params = SamplingParams { seed: Some(42), ..SamplingParams::default() };
    let run = |sampler: &mut Sampler, n: usize| -> Vec<TokenId> {
        (0..n).map(|_| sampler.sample(&mut LOGITS.to_vec()).unwrap().token).collect()
    };
    let whole = run(&mut sampler(&params), 50);
    assert_eq!(run(&mut sampler(&params), 50), whole, "the same seed");
    let mut resumed = sampler(&params);
    resumed.accept_prompt(&tokens(&[1, 2, 3]));
    resumed.accept_output(&whole[..20]);
    assert_eq!(run(&mut resumed, 30), whole[20..], "resumed after 20 tokens");
    let mut failed = sampler(&params);
    assert!(failed.sample(&mut [f32::NAN; 8]).is_err());
    assert_eq!(run(&mut failed, 50), whole, "after a row that was refused");
    let other = SamplingParams { seed: Some(43), ..params };
    assert_ne!(run(&mut sampler(&other), 50), whole, "another seed");
}

#[test]
fn sample_seed_of_the_parameters_wins_over_the_one_given() {
    let draw = |params: &SamplingParams, seed| {
        let mut sampler = Sampler::new(params, seed, LOGITS.len()).unwrap();
        (0..20).map(|_| sampler.sample(&mut LOGITS.to_vec()).unwrap().token).collect::<Vec<_>>()
    };
    let unseeded = SamplingParams::default();
    let seeded = SamplingParams { seed: Some(5), ..SamplingParams::default() };
    assert_eq!(draw(&seeded, 1), draw(&unseeded, 5));
    assert_ne!(draw(&unseeded, 1), draw(&unseeded, 5));
}

#[test]
fn sample_known_tokens_stay_the_same() {
    // A golden sequence: a change here changes every seeded answer that was ever given.
    let mut sampler = sampler(&SamplingParams { seed: Some(2024), ..SamplingParams::default() });
    let ids: Vec<u32> = (0..16).map(|_| sampler.sample(&mut LOGITS.to_vec()).unwrap().token.0).collect();
    assert_eq!(ids, [4, 1, 2, 2, 6, 4, 2, 4, 2, 2, 2, 6, 6, 4, 2, 4]);
}

#[test]
fn sample_greedy_takes_the_first_of_the_most_likely() {
    let inf = f32::NEG_INFINITY;
    let cases: [(&[f32], u32); 6] = [
        (&LOGITS, 2),
        (&[1.0, 3.0, 3.0, 2.0], 1),
        (&[-0.0, 0.0], 0),
        (&[0.0; 5], 0),
        (&[inf, inf, -7.0, inf], 2),
        (&[f32::MIN, f32::MAX, f32::MAX], 1),
    ];
    for (logits, expected) in cases {
        assert_eq!(sample(&SamplingParams::greedy(), logits).unwrap().token, TokenId(expected), "{logits:?}");
    }
}

#[test]
fn sample_top_k_of_one_and_top_p_of_zero_are_greedy() {
    let cases = [
        SamplingParams { top_k: 1, ..SamplingParams::default() },
        SamplingParams { top_p: 0.0, ..SamplingParams::default() },
        SamplingParams { min_p: 1.0, ..SamplingParams::default() },
        SamplingParams { temperature: f32::MIN_POSITIVE, ..SamplingParams::default() },
    ];
    for params in cases {
        assert_eq!(sample(&params, &LOGITS).unwrap().token, TokenId(2), "{params:?}");
    }
}

#[test]
fn sample_penalties_follow_their_formulas() {
    let off = SamplingParams::greedy();
    // (name, parameters, prompt, logits, token): the arg max shows which logits the penalties made.
    let repetition = SamplingParams { repetition_penalty: 2.0, ..off.clone() };
    let frequency = SamplingParams { frequency_penalty: 0.5, ..off.clone() };
    let presence = SamplingParams { presence_penalty: 0.5, ..off.clone() };
    let short = SamplingParams { penalty_window: 2, ..presence.clone() };
    let none = SamplingParams { penalty_window: 0, ..presence.clone() };
    type Case<'a> = (&'a str, &'a SamplingParams, &'a [u32], &'a [f32], u32);
    let cases: [Case<'_>; 12] = [
        ("off", &off, &[0, 0, 0], &[1.0, 0.9], 0),
        ("positive logits are divided", &repetition, &[0], &[4.0, 2.1], 1),
        ("and not more", &repetition, &[0], &[4.0, 1.9], 0),
        ("negative logits are multiplied", &repetition, &[0], &[-1.0, -1.9], 1),
        ("and not more", &repetition, &[0], &[-1.0, -2.1], 0),
        ("repetition does not count", &repetition, &[0, 0, 0], &[4.0, 1.9], 0),
        ("frequency counts", &frequency, &[0, 0, 0], &[2.0, 0.6], 1),
        ("and not more", &frequency, &[0, 0, 0], &[2.0, 0.4], 0),
        ("presence does not count", &presence, &[0, 0, 0], &[2.0, 1.4], 0),
        ("presence applies", &presence, &[0, 0, 0], &[2.0, 1.6], 1),
        ("tokens leave the window", &short, &[0, 1, 1], &[2.0, 2.1], 0),
        ("a window of 0 is off", &none, &[0], &[2.0, 1.9], 0),
    ];
    for (name, params, prompt, logits, expected) in cases {
        let mut sampler = Sampler::new(params, 0, logits.len()).unwrap();
        sampler.accept_prompt(&tokens(prompt));
        assert_eq!(sampler.sample(&mut logits.to_vec()).unwrap().token, TokenId(expected), "{name}");
    }
}

#[test]
fn sample_penalties_count_the_output() {
    let mut sampler = sampler(&SamplingParams { presence_penalty: 1.0, ..SamplingParams::greedy() });
    let ids: Vec<u32> = (0..4).map(|_| sampler.sample(&mut LOGITS.to_vec()).unwrap().token.0).collect();
    // 2.5, then 2.0; after one point each both are at most 1.5, where tokens 2 and 6 tie.
    assert_eq!(ids, [2, 4, 2, 2]);
}

#[test]
fn sample_penalties_ignore_tokens_outside_the_vocabulary() {
    let mut sampler = sampler(&SamplingParams { presence_penalty: 1.0, ..SamplingParams::greedy() });
    sampler.accept_prompt(&tokens(&[1000]));
    assert_eq!(sampler.sample(&mut LOGITS.to_vec()).unwrap().token, TokenId(2));
}

#[test]
fn sample_bias_comes_before_penalties_and_adds_up() {
    let greedy = SamplingParams::greedy();
    let cases: [(&str, SamplingParams, u32); 4] = [
        ("raises", SamplingParams { logit_bias: vec![(TokenId(5), 6.0)], ..greedy.clone() }, 5),
        ("forbids", SamplingParams { logit_bias: vec![(TokenId(2), f32::NEG_INFINITY)], ..greedy.clone() }, 4),
        ("adds up", SamplingParams { logit_bias: vec![(TokenId(5), 3.0), (TokenId(5), 3.0)], ..greedy.clone() }, 5),
        (
            "is penalized: (2.5 + 4) / 4 is less than 2",
            SamplingParams { logit_bias: vec![(TokenId(2), 4.0)], repetition_penalty: 4.0, ..greedy },
            4,
        ),
    ];
    for (name, params, expected) in cases {
        let mut sampler = sampler(&params);
        sampler.accept_prompt(&tokens(&[2]));
        assert_eq!(sampler.sample(&mut LOGITS.to_vec()).unwrap().token, TokenId(expected), "{name}");
    }
}

#[test]
fn sample_logprobs_are_absent_unless_asked_for() {
    let sampled = sample(&SamplingParams::greedy(), &LOGITS).unwrap();
    assert!(sampled.logprob.is_nan() && sampled.top.is_empty());
    let sampled = sample(&SamplingParams { n_logprobs: Some(0), ..SamplingParams::greedy() }, &LOGITS).unwrap();
    assert!(sampled.logprob < 0.0 && sampled.top.is_empty());
}

#[test]
fn sample_refuses_rows_and_masks_it_cannot_use() {
    let inf = f32::INFINITY;
    let (all, none, wide) = (TokenMask::all(2), TokenMask::none(2), TokenMask::all(3));
    let mut second = TokenMask::none(2);
    second.allow(TokenId(1));
    let cases: [(&[f32], Option<&TokenMask>, SamplingError); 7] = [
        (&[0.0], None, SamplingError::LogitsLength { expected: 2, got: 1 }),
        (&[0.0, inf], Some(&all), SamplingError::LogitNotFinite { token: TokenId(1), value: inf }),
        (&[-inf, -inf], None, SamplingError::NoTokenPossible),
        (&[0.0, -inf], Some(&second), SamplingError::NoTokenPossible),
        (&[0.0, 0.0], Some(&none), SamplingError::MaskAllowsNothing),
        (&[0.0, 0.0], Some(&wide), SamplingError::MaskLength { expected: 2, got: 3 }),
        (&[], None, SamplingError::LogitsLength { expected: 2, got: 0 }),
    ];
    for base in [SamplingParams::greedy(), SamplingParams::default()] {
        for n_logprobs in [None, Some(1)] {
            let params = SamplingParams { n_logprobs, ..base.clone() };
            for (logits, mask, expected) in &cases {
                let mut sampler = Sampler::new(&params, 0, 2).unwrap();
                assert_eq!(sampler.sample_masked(&mut logits.to_vec(), *mask), Err(*expected), "{logits:?}");
            }
            let error = Sampler::new(&params, 0, 2).unwrap().sample(&mut [f32::NAN, 0.0]).unwrap_err();
            assert!(matches!(error, SamplingError::LogitNotFinite { token: TokenId(0), value } if value.is_nan()));
            assert_eq!(error.kind(), ErrorKind::Internal);
        }
    }
}

#[test]
fn sample_refuses_parameters_out_of_range() {
    let ok = SamplingParams::default();
    let cases = [
        ("temperature", SamplingParams { temperature: -0.1, ..ok.clone() }),
        ("temperature", SamplingParams { temperature: f32::NAN, ..ok.clone() }),
        ("temperature", SamplingParams { temperature: f32::INFINITY, ..ok.clone() }),
        ("top_p", SamplingParams { top_p: 1.1, ..ok.clone() }),
        ("min_p", SamplingParams { min_p: f32::NAN, ..ok.clone() }),
        ("repetition_penalty", SamplingParams { repetition_penalty: 0.0, ..ok.clone() }),
        ("frequency_penalty", SamplingParams { frequency_penalty: 2.1, ..ok.clone() }),
        ("presence_penalty", SamplingParams { presence_penalty: f32::NEG_INFINITY, ..ok.clone() }),
        ("penalty_window", SamplingParams { penalty_window: PENALTY_WINDOW_MAX + 1, ..ok.clone() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(TokenId(0), f32::NAN)], ..ok.clone() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(TokenId(0), 0.0); 1025], ..ok.clone() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(TokenId(8), 0.0)], ..ok.clone() }),
        ("n_logprobs", SamplingParams { n_logprobs: Some(21), ..ok.clone() }),
    ];
    for (field, params) in cases {
        let error = Sampler::new(&params, 0, 8).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(Sampler::new(&ok, 0, 0).unwrap_err(), SamplingError::VocabSize { got: 0 });
}

/// Indices of the allowed tokens, by their words.
fn indices(mask: &TokenMask) -> impl Iterator<Item = usize> {
    (0..mask.vocab_size().next_multiple_of(64)).filter(|idx| mask.word(idx / 64) >> (idx % 64) & 1 == 1)
}

#[test]
fn sample_masks_hold_exactly_their_tokens() {
    for vocab_size in [0, 1, 63, 64, 65, 200] {
        let (all, none) = (TokenMask::all(vocab_size), TokenMask::none(vocab_size));
        assert_eq!((all.n_allowed(), none.n_allowed()), (vocab_size, 0), "{vocab_size}");
        assert!(indices(&all).eq(0..vocab_size), "{vocab_size}");
        assert!(!all.is_allowed(TokenId(u32::try_from(vocab_size).unwrap())), "{vocab_size}");
    }
    let mut mask = TokenMask::none(130);
    [0, 63, 64, 129].map(TokenId).iter().for_each(|&token| mask.allow(token));
    mask.forbid(TokenId(63));
    assert!(indices(&mask).eq([0, 64, 129]));
    mask.clear();
    assert!(mask.is_empty());
}

#[test]
fn log_probabilities_of_the_draw_are_of_what_the_filters_leave() {
    let of = |params: SamplingParams| {
        let params = SamplingParams { n_logprobs: Some(5), logprobs_of: LogprobsOf::Draw, ..params };
        sample(&params, &LOGITS).unwrap()
    };
    let two = of(SamplingParams { top_k: 2, ..SamplingParams::default() });
    let (first, second) = (1.0 / (1.0 + (-0.5_f32).exp()), (-0.5_f32).exp() / (1.0 + (-0.5_f32).exp()));
    let ids: Vec<u32> = two.top.iter().map(|(token, _)| token.0).collect();
    assert_eq!(ids, [2, 4]);
    for ((_, logprob), expected) in two.top.iter().zip([first, second]) {
        assert!((logprob.exp() - expected).abs() < 1e-6, "{two:?}");
    }
    assert!(two.top.iter().any(|(token, logprob)| *token == two.token && *logprob == two.logprob));
    let greedy = of(SamplingParams::greedy());
    assert_eq!((greedy.token, greedy.logprob, greedy.top), (TokenId(2), 0.0, vec![(TokenId(2), 0.0)]));
    let biased = of(SamplingParams { logit_bias: vec![(TokenId(2), f32::NEG_INFINITY)], ..SamplingParams::default() });
    assert!(biased.top.iter().all(|(token, _)| *token != TokenId(2)) && biased.top.len() == 5);
    let all = SamplingParams { n_logprobs: Some(8), logprobs_of: LogprobsOf::Draw, ..SamplingParams::default() };
    let sum: f32 = sample(&all, &LOGITS).unwrap().top.iter().map(|(_, logprob)| logprob.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}
