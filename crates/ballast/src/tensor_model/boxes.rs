//! Boxes around things in a picture, from rows of four numbers and scores.

use super::error::TensorIoError;
use super::manifest::{BoxForm, BoxesRule};
use super::reading::Source;
use serde::Serialize;

/// Most boxes of one answer that are compared with each other.
const BOXES_MAX: usize = 10_000;

/// A thing in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundBox {
    /// What it is.
    pub name: String,
    /// How likely.
    pub score: f32,
    /// Left, top, right and bottom in pixels; of the picture, if the input was one.
    pub corners: [f32; 4],
}

/// A row of numbers with its best class.
struct Candidate {
    numbers: [f32; 4],
    score: f32,
    class: usize,
}

/// Reads an output of boxes.
pub(super) fn read(
    source: &Source<'_>,
    name: &str,
    rule: &BoxesRule,
    names: &[String],
) -> Result<Vec<FoundBox>, TensorIoError> {
    let placement = source.placement;
    let seen = placement.map(|placement| placement.seen());
    if rule.unit && seen.is_none() {
        return Err(TensorIoError::output(name, "a picture that shares of it are told of", "none"));
    }
    let mut candidates = candidates(source, name, rule)?;
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(BOXES_MAX);
    let mut found: Vec<(usize, FoundBox)> = Vec::new();
    for candidate in candidates {
        let mut corners = corners(candidate.numbers, rule.form);
        if let Some(seen) = seen.filter(|_| rule.unit) {
            corners = std::array::from_fn(|idx| corners[idx] * seen[idx % 2]);
        }
        if let Some(placement) = placement {
            let (low, high) = (placement.back([corners[0], corners[1]]), placement.back([corners[2], corners[3]]));
            corners = [low[0], low[1], high[0], high[1]];
        }
        let overlaps = |(class, other): &&(usize, FoundBox)| {
            *class == candidate.class
                && rule.overlap_max.is_some_and(|overlap_max| overlap(other.corners, corners) > overlap_max)
        };
        if found.iter().any(|other| overlaps(&other)) {
            continue;
        }
        let name = names.get(candidate.class).cloned().unwrap_or_else(|| candidate.class.to_string());
        found.push((candidate.class, FoundBox { name, score: candidate.score, corners }));
    }
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// The rows whose best score reaches the threshold.
fn candidates(source: &Source<'_>, name: &str, rule: &BoxesRule) -> Result<Vec<Candidate>, TensorIoError> {
    let (mut rows, width) = rows(source, name, rule.transposed)?;
    let n_rows = rows.len() / width.max(1);
    let wrong = |expected: String, got: usize| Err(TensorIoError::output(name, expected, got));
    if width < 4 || (rule.scores.is_none() && width < 5) || (rule.scores.is_some() && width != 4) {
        return wrong("rows of four numbers, with scores behind them unless another output has them".to_owned(), width);
    }
    let (scores, n_classes) = match &rule.scores {
        None => {
            let scores = rows.chunks_exact(width).flat_map(|row| row[4..].to_vec()).collect();
            rows = rows.chunks_exact(width).flat_map(|row| row[..4].to_vec()).collect();
            (scores, width - 4)
        }
        Some(output) => {
            let scores: Vec<f32> = source.numbers(output)?;
            if n_rows == 0 || scores.is_empty() || !scores.len().is_multiple_of(n_rows) {
                return if n_rows == 0 {
                    Ok(Vec::new())
                } else {
                    wrong(format!("scores of {n_rows} rows"), scores.len())
                };
            }
            let n_classes = scores.len() / n_rows;
            (scores, n_classes)
        }
    };
    let classes = rule.classes.as_ref().map(|output| source.numbers(output)).transpose()?;
    if let Some(classes) = classes.as_ref().filter(|classes| classes.len() != n_rows) {
        return wrong(format!("classes of {n_rows} rows"), classes.len());
    }
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap_or(0);
    let each = rows.chunks_exact(4).zip(scores.chunks_exact(n_classes.max(1))).enumerate();
    let candidates = each.map(|(idx, (numbers, scores))| {
        let best = best(scores);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` keeps to the bounds")]
        let class = classes.as_ref().map_or(best, |classes| classes[idx].round() as usize);
        Candidate { numbers: [numbers[0], numbers[1], numbers[2], numbers[3]], score: scores[best], class }
    });
    Ok(candidates.filter(|candidate| candidate.score >= rule.threshold).collect())
}

/// The output's rows one after another, and how long each is.
fn rows(source: &Source<'_>, name: &str, transposed: bool) -> Result<(Vec<f32>, usize), TensorIoError> {
    let shape = source.tensor(name)?.shape().to_vec();
    let [n_rows, width] = match shape[..] {
        [1, a, b] | [a, b] if transposed => [b, a],
        [1, a, b] | [a, b] => [a, b],
        _ => return Err(TensorIoError::output(name, "rows of one picture", format!("{shape:?}"))),
    };
    let values = source.numbers(name)?;
    if !transposed {
        return Ok((values, width));
    }
    let turned = (0..n_rows).flat_map(|row| (0..width).map(move |column| (row, column)));
    Ok((turned.map(|(row, column)| values[column * n_rows + row]).collect(), width))
}

/// Left, top, right, bottom.
fn corners([a, b, c, d]: [f32; 4], form: BoxForm) -> [f32; 4] {
    match form {
        BoxForm::Xyxy => [a, b, c, d],
        BoxForm::Yxyx => [b, a, d, c],
        BoxForm::Xywh => [a, b, a + c, b + d],
        BoxForm::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
    }
}

/// The share of two boxes' common area in the area of both.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let both = area(a) + area(b) - common;
    if both > 0.0 { common / both } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_model::manifest::OutputRule;
    use crate::tensor_model::reading::Reading;
    use ballast_backend::{Tensor, TensorData, TensorMap};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn boxes(outputs: &[(&str, Vec<usize>, Vec<f32>)], rule: &str) -> Result<Vec<FoundBox>, String> {
        let tensor = |(name, shape, values): &(&str, Vec<usize>, Vec<f32>)| {
            ((*name).to_owned(), Tensor::new(shape.clone(), TensorData::F32(values.clone())).unwrap())
        };
        let outputs: [TensorMap; 1] = [outputs.iter().map(tensor).collect()];
        let metadata = BTreeMap::new();
        let source = Source {
            outputs: &outputs,
            placement: None,
            step_seconds: None,
            folder: Path::new(""),
            metadata: &metadata,
        };
        let rule: OutputRule = serde_json::from_str(rule).unwrap();
        let reading = source.read("b", &rule).map_err(|error| error.to_string())?;
        let Reading::Boxes { boxes } = reading else { panic!("expected boxes, got {reading:?}") };
        Ok(boxes)
    }

    #[test]
    fn rows_scores_and_classes_come_together_or_apart() {
        let together = ("b", vec![1, 2, 6], vec![0., 0., 2., 2., 0.1, 0.9, 1., 1., 3., 3., 0.2, 0.3]);
        let found = boxes(&[together], r#"{"kind": "boxes", "form": "xyxy", "names": ["x", "y"]}"#).unwrap();
        assert_eq!(found, [FoundBox { name: "y".to_owned(), score: 0.9, corners: [0.0, 0.0, 2.0, 2.0] }]);
        let turned = ("b", vec![5, 2], vec![5., 1., 5., 1., 2., 3., 4., 3., 0.6, 0.7]);
        let found = boxes(&[turned], r#"{"kind": "boxes", "form": "cxcywh", "transposed": true}"#).unwrap();
        assert_eq!(found[1].corners, [4.0, 3.0, 6.0, 7.0]);
        assert_eq!((found[0].score, found[0].name.as_str()), (0.7, "0"));
        let apart = [
            ("b", vec![2, 4], vec![0., 1., 2., 3., 4., 5., 6., 7.]),
            ("s", vec![1, 2], vec![0.5, 0.4]),
            ("c", vec![2], vec![7.0, 1.0]),
        ];
        let rule = r#"{"kind": "boxes", "form": "yxyx", "scores": "s", "classes": "c", "threshold": 0.45}"#;
        assert_eq!(
            boxes(&apart, rule).unwrap(),
            [FoundBox { name: "7".to_owned(), score: 0.5, corners: [1., 0., 3., 2.] }]
        );
        let xywh = r#"{"kind": "boxes", "form": "xywh", "scores": "s", "threshold": 0.45}"#;
        assert_eq!(boxes(&apart, xywh).unwrap()[0].corners, [0.0, 1.0, 2.0, 4.0]);
    }

    #[test]
    fn boxes_of_a_class_that_overlap_are_one() {
        let rows = |class: f32| {
            let b = ("b", vec![3, 4], vec![0., 0., 10., 10., 1., 1., 10., 10., 20., 20., 30., 30.]);
            [b, ("s", vec![3], vec![0.8, 0.9, 0.7]), ("c", vec![3], vec![0.0, class, 0.0])]
        };
        let rule = r#"{"kind": "boxes", "form": "xyxy", "scores": "s", "classes": "c", "overlap_max": 0.5}"#;
        let scores = |class| boxes(&rows(class), rule).unwrap().iter().map(|found| found.score).collect::<Vec<_>>();
        assert_eq!(scores(0.0), [0.9, 0.7]);
        assert_eq!(scores(1.0), [0.9, 0.8, 0.7]);
    }

    #[test]
    fn outputs_that_are_no_boxes_are_refused() {
        let rule = r#"{"kind": "boxes", "form": "xyxy"}"#;
        assert!(boxes(&[("b", vec![1, 4], vec![0.0; 4])], rule).is_err());
        assert!(boxes(&[("b", vec![2, 1, 5], vec![0.0; 10])], rule).is_err());
        let scored = r#"{"kind": "boxes", "form": "xyxy", "scores": "s"}"#;
        assert!(boxes(&[("b", vec![2, 4], vec![0.0; 8])], scored).is_err());
        assert!(boxes(&[("b", vec![2, 4], vec![0.0; 8]), ("s", vec![3], vec![0.0; 3])], scored).is_err());
        assert_eq!(boxes(&[("b", vec![0, 4], vec![]), ("s", vec![0], vec![])], scored), Ok(Vec::new()));
        let unit = r#"{"kind": "boxes", "form": "xyxy", "unit": true}"#;
        assert!(boxes(&[("b", vec![1, 5], vec![0.0; 5])], unit).unwrap_err().contains("picture"));
    }
}
