//! Boxes drawn on a picture, numbered as they are listed.

use super::boxes::FoundBox;
use super::error::TensorIoError;
use image::{ImageFormat, Rgb, RgbImage};
use std::io::Cursor;
use std::path::PathBuf;

/// A picture, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// A PNG file.
    pub png: Vec<u8>,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

/// Colours of the boxes, one after the other; far apart for every kind of sight. (Okabe and Ito, "Color Universal Design")
const COLOURS: [[u8; 3]; 6] =
    [[213, 94, 0], [0, 114, 178], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233]];

/// Beyond every picture.
const FAR: f32 = 1e6;

/// Digits of three columns and five rows, a row in three bits.
const DIGITS: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 1, 1, 1],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

/// Draws the boxes, the first in the list last, so that it is on top.
pub(super) fn draw_boxes(picture: &RgbImage, boxes: &[FoundBox]) -> Result<Drawn, TensorIoError> {
    let mut canvas = picture.clone();
    let thickness = (picture.width().max(picture.height()) / 400).max(1);
    for (idx, found) in boxes.iter().enumerate().rev() {
        let colour = Rgb(COLOURS[idx % COLOURS.len()]);
        frame(&mut canvas, found.corners, thickness, colour);
        number(&mut canvas, idx + 1, [found.corners[0], found.corners[1]], 2 * thickness);
    }
    let mut png = Cursor::new(Vec::new());
    canvas.write_to(&mut png, ImageFormat::Png).map_err(|error| TensorIoError::Write {
        path: PathBuf::from("picture"),
        source: std::io::Error::other(error),
    })?;
    Ok(Drawn { png: png.into_inner(), width: canvas.width(), height: canvas.height() })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` keeps to the bounds")]
fn pixel(at: f32) -> u32 {
    at.round().min(FAR) as u32
}

fn frame(canvas: &mut RgbImage, [left, top, right, bottom]: [f32; 4], thickness: u32, colour: Rgb<u8>) {
    let [left, top, right, bottom] = [left, top, right, bottom].map(pixel);
    fill(canvas, [left, top], [right, top.saturating_add(thickness)], colour);
    fill(canvas, [left, bottom.saturating_sub(thickness)], [right, bottom], colour);
    fill(canvas, [left, top], [left.saturating_add(thickness), bottom], colour);
    fill(canvas, [right.saturating_sub(thickness), top], [right, bottom], colour);
}

/// A filled rectangle, as far as it is on the canvas.
fn fill(canvas: &mut RgbImage, low: [u32; 2], high: [u32; 2], colour: Rgb<u8>) {
    for y in low[1]..high[1].min(canvas.height()) {
        for x in low[0]..high[0].min(canvas.width()) {
            canvas.put_pixel(x, y, colour);
        }
    }
}

/// A number in white on black, its pixels `size` wide.
fn number(canvas: &mut RgbImage, number: usize, [left, top]: [f32; 2], size: u32) {
    let (left, top) = (pixel(left), pixel(top));
    let digits: Vec<usize> = number.to_string().bytes().map(|digit| usize::from(digit - b'0')).collect();
    let n_columns = u32::try_from(digits.len()).unwrap_or(u32::MAX).saturating_mul(4) + 1;
    fill(canvas, [left, top], [left + n_columns * size, top + 7 * size], Rgb([0, 0, 0]));
    for (at, &digit) in (0_u32..).zip(&digits) {
        for (row, bits) in (0_u32..).zip(DIGITS[digit]) {
            for column in (0..3_u32).filter(|column| bits >> (2 - column) & 1 == 1) {
                let low = [left + (at * 4 + 1 + column) * size, top + (row + 1) * size];
                fill(canvas, low, [low[0] + size, low[1] + size], Rgb([255, 255, 255]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(corners: [f32; 4]) -> RgbImage {
        let boxes = [FoundBox { name: "x".to_owned(), score: 1.0, corners }];
        let drawn = draw_boxes(&RgbImage::new(60, 40), &boxes).unwrap();
        assert_eq!((drawn.width, drawn.height), (60, 40));
        image::load_from_memory_with_format(&drawn.png, ImageFormat::Png).unwrap().into_rgb8()
    }

    #[test]
    fn a_box_has_edges_and_a_number_and_an_empty_middle() {
        let picture = drawn([20.0, 10.0, 50.0, 35.0]);
        let colour = Rgb(COLOURS[0]);
        for at in [(49, 20), (30, 34), (45, 10), (20, 30)] {
            assert_eq!(picture.get_pixel(at.0, at.1), &colour, "{at:?}");
        }
        assert_eq!(picture.get_pixel(40, 28), &Rgb([0, 0, 0]));
        // The stem of the one.
        assert_eq!(picture.get_pixel(24, 18), &Rgb([255, 255, 255]));
    }

    #[test]
    fn boxes_outside_of_the_picture_are_cut() {
        for corners in [[-50.0, -50.0, 900.0, 900.0], [59.0, 39.0, 60.0, 40.0], [f32::NAN; 4], [1e30; 4]] {
            drop(drawn(corners));
        }
    }
}
