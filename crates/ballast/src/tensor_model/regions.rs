//! Parts of a picture that a map of probabilities shows: upright boxes around connected pixels.
//!
//! What differentiable binarisation leaves to be done after the network (Liao et al., "Real-time Scene Text Detection with
//! Differentiable Binarization", section 3.5), with upright boxes in place of polygons.

use super::boxes::FoundBox;
use super::error::TensorIoError;
use super::manifest::RegionsRule;
use super::reading::Source;

/// Most parts of one answer.
const REGIONS_MAX: usize = 10_000;

/// Reads an output that is a map.
pub(super) fn read(source: &Source<'_>, name: &str, rule: &RegionsRule) -> Result<Vec<FoundBox>, TensorIoError> {
    let shape = source.tensor(name)?.shape().to_vec();
    let (rows, columns) = match shape[..] {
        [1, 1, rows, columns] | [1, rows, columns] | [rows, columns] => (rows, columns),
        _ => return Err(TensorIoError::output(name, "a map of one picture", format!("{shape:?}"))),
    };
    let map = source.numbers(name)?;
    let parts = parts(&map, (rows, columns), rule.threshold);
    #[expect(clippy::cast_precision_loss, reason = "sides have at most 2^16 pixels")]
    let pixels = |n: usize| n as f32;
    let mut found: Vec<FoundBox> = Vec::new();
    for part in parts {
        let [width, height] = [part.right - part.left + 1, part.bottom - part.top + 1];
        let score = part.sum / pixels(part.n_pixels);
        if width.min(height) < rule.side_min || score < rule.score_min || found.len() == REGIONS_MAX {
            continue;
        }
        let grow = pixels(width * height) * rule.grow / pixels(2 * (width + height));
        let (low, high) = ([pixels(part.left) - grow, pixels(part.top) - grow], [part.right, part.bottom]);
        let high = high.map(|edge| pixels(edge + 1) + grow);
        // The map is of the size that the model saw, or smaller by a factor.
        let (low, high) = match source.placement {
            None => (low, high),
            Some(placement) => {
                let [seen_width, seen_height] = placement.seen();
                let scale = [seen_width / pixels(columns.max(1)), seen_height / pixels(rows.max(1))];
                let back = |point: [f32; 2]| placement.back([point[0] * scale[0], point[1] * scale[1]]);
                (back(low), back(high))
            }
        };
        found.push(FoundBox { name: rule.name.clone(), score, corners: [low[0], low[1], high[0], high[1]] });
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(found)
}

/// Connected pixels.
#[derive(Clone, Copy, Debug)]
struct Part {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    n_pixels: usize,
    sum: f32,
}

/// Every set of pixels over the threshold that touch, corners included.
fn parts(map: &[f32], (rows, columns): (usize, usize), threshold: f32) -> Vec<Part> {
    let mut is_open: Vec<bool> = map.iter().map(|&value| value > threshold).collect();
    let (mut parts, mut waiting) = (Vec::new(), Vec::new());
    for start in 0..map.len() {
        if !std::mem::take(&mut is_open[start]) {
            continue;
        }
        let (row, column) = (start / columns, start % columns);
        let mut part = Part { left: column, right: column, top: row, bottom: row, n_pixels: 0, sum: 0.0 };
        waiting.push(start);
        while let Some(at) = waiting.pop() {
            let (row, column) = (at / columns, at % columns);
            (part.left, part.right) = (part.left.min(column), part.right.max(column));
            (part.top, part.bottom) = (part.top.min(row), part.bottom.max(row));
            part.n_pixels += 1;
            part.sum += map[at];
            for row in row.saturating_sub(1)..rows.min(row + 2) {
                for column in column.saturating_sub(1)..columns.min(column + 2) {
                    let next = row * columns + column;
                    if std::mem::take(&mut is_open[next]) {
                        waiting.push(next);
                    }
                }
            }
        }
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast_backend::{Tensor, TensorData, TensorMap};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn found(picture: &[&str], rule: &RegionsRule) -> Vec<FoundBox> {
        let values: Vec<f32> = picture
            .concat()
            .bytes()
            .map(|byte| if byte == b'.' { 0.0 } else { f32::from(byte - b'0') / 10.0 })
            .collect();
        let shape = vec![1, 1, picture.len(), picture[0].len()];
        let map = Tensor::new(shape, TensorData::F32(values)).unwrap();
        let outputs = [TensorMap::from([("m".to_owned(), map)])];
        let metadata = BTreeMap::new();
        let source = Source {
            outputs: &outputs,
            placement: None,
            step_seconds: None,
            folder: Path::new(""),
            metadata: &metadata,
        };
        read(&source, "m", rule).unwrap()
    }

    fn rule() -> RegionsRule {
        RegionsRule { name: "text".to_owned(), threshold: 0.3, score_min: 0.5, grow: 0.0, side_min: 2 }
    }

    #[test]
    fn connected_pixels_are_a_part_and_faint_or_small_ones_are_none() {
        let picture = ["88...", "88..4", "..9.4", "....."];
        let boxes = found(&picture, &rule());
        assert_eq!(boxes.len(), 1);
        assert_eq!(boxes[0].corners, [0.0, 0.0, 3.0, 3.0]);
        assert!((boxes[0].score - 0.82).abs() < 1e-6);
        let faint = found(&picture, &RegionsRule { score_min: 0.0, side_min: 1, ..rule() });
        assert_eq!(faint[1].corners, [4.0, 1.0, 5.0, 3.0]);
        assert!(found(&["..", ".."], &rule()).is_empty());
    }

    #[test]
    fn parts_grow_by_area_over_circumference() {
        let boxes = found(&["....", ".99.", ".99.", "...."], &RegionsRule { grow: 2.0, ..rule() });
        assert_eq!(boxes[0].corners, [0.0, 0.0, 4.0, 4.0]);
    }
}
