//! Pictures as a model takes them: decoded, fitted, normalised; and where each point of them went.

use super::elements::of_numbers;
use super::error::TensorIoError;
use super::files::malformed;
use super::manifest::{Anchor, Channels, Filter, Layout, PictureRule, Resize};
use ballast_backend::{DType, Tensor};
use image::imageops::{self, FilterType};
use image::{ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Most pixels of a picture, before and after it is fitted.
pub(super) const PIXELS_MAX: u64 = 1 << 26;
/// Most pixels of a side.
const SIDE_MAX: u32 = 1 << 15;
/// Most bytes that decoding may take besides the picture.
const DECODER_BYTES_MAX: u64 = 512 << 20;

/// Where a picture went: a point at `x` is at `x * scale_x + left` in what the model saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placement {
    scale: [f32; 2],
    offset: [f32; 2],
    /// Columns and rows of the picture.
    size: [u32; 2],
    /// Columns and rows of what the model saw.
    seen: [u32; 2],
}

impl Placement {
    /// A point of what the model saw as a point of the picture, `[x, y]`, kept inside of it.
    pub(super) fn back(&self, point: [f32; 2]) -> [f32; 2] {
        std::array::from_fn(|axis| {
            let found = (point[axis] - self.offset[axis]) / self.scale[axis];
            found.clamp(0.0, pixels(self.size[axis]))
        })
    }

    /// Columns and rows of what the model saw.
    pub(super) fn seen(&self) -> [f32; 2] {
        self.seen.map(pixels)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sides have at most 2^16 pixels")]
fn pixels(n: u32) -> f32 {
    n as f32
}

/// Decodes a PNG or JPEG picture from untrusted bytes.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage, TensorIoError> {
    let fault = |error: &dyn std::fmt::Display| malformed(path, "a PNG or JPEG picture", error);
    let reader = || ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let (width, height) = reader().map_err(|error| fault(&error))?.into_dimensions().map_err(|error| fault(&error))?;
    if u64::from(width) * u64::from(height) > PIXELS_MAX || width.max(height) > SIDE_MAX || width.min(height) == 0 {
        let expected = format!("a picture of at most {PIXELS_MAX} pixels, {SIDE_MAX} a side");
        return Err(malformed(path, expected, format!("{width} x {height}")));
    }
    let mut reader = reader().map_err(|error| fault(&error))?;
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE_MAX), Some(SIDE_MAX));
    limits.max_alloc = Some(DECODER_BYTES_MAX);
    reader.limits(limits);
    Ok(reader.decode().map_err(|error| fault(&error))?.into_rgb8())
}

/// How large a picture becomes, and what is cut from it or put around it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fitting {
    /// Columns and rows that it is scaled to.
    scaled: [u32; 2],
    /// Columns and rows that the model gets.
    seen: [u32; 2],
    /// Where the scaled picture's corner stands in them.
    offset: [i64; 2],
    pad: f32,
}

impl Fitting {
    fn new(resize: Resize, size: [u32; 2]) -> Option<Self> {
        let plain = |scaled: [u32; 2]| Self { scaled, seen: scaled, offset: [0, 0], pad: 0.0 };
        let sides = size.map(f64::from);
        let (short, long) = (sides[0].min(sides[1]), sides[0].max(sides[1]));
        Some(match resize {
            Resize::Stretch { height, width } => plain([extent(width)?, extent(height)?]),
            Resize::Crop { height, width, short_side } => {
                let scale = f64::from(extent(short_side)?) / short;
                let (scaled, seen) = (sides.map(|side| rounded(side * scale)), [extent(width)?, extent(height)?]);
                let offset = std::array::from_fn(|axis| -((i64::from(scaled[axis]) - i64::from(seen[axis])) / 2));
                Self { scaled, seen, offset, pad: 0.0 }
            }
            Resize::Fit { height, width, anchor, pad } => {
                let seen = [extent(width)?, extent(height)?];
                let scale = (f64::from(seen[0]) / sides[0]).min(f64::from(seen[1]) / sides[1]);
                let scaled: [u32; 2] = std::array::from_fn(|axis| rounded(sides[axis] * scale).min(seen[axis]));
                let offset = std::array::from_fn(|axis| match anchor {
                    Anchor::Corner => 0,
                    Anchor::Center => i64::from((seen[axis] - scaled[axis]) / 2),
                });
                Self { scaled, seen, offset, pad }
            }
            Resize::Height { height, width_min, width_max, pad } => {
                let height = extent(height)?;
                let width = (sides[0] / sides[1] * f64::from(height)).ceil().min(f64::from(extent(width_max)?));
                let width = rounded(width);
                Self { scaled: [width, height], seen: [width.max(extent(width_min)?), height], offset: [0, 0], pad }
            }
            Resize::Multiple { of, short_side_min, long_side_max } => {
                let (of, most) = (extent(of)?, extent(long_side_max)?);
                let wanted = (f64::from(extent(short_side_min)?) / short).max(1.0);
                let scale = wanted.min(f64::from(most) / long);
                plain(sides.map(|side| (rounded(side * scale / f64::from(of)) * of).min(most / of * of)))
            }
        })
    }
}

fn extent(n: usize) -> Option<u32> {
    u32::try_from(n).ok()
}

/// The nearest whole number above 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are bounded, and `as` keeps to u32")]
fn rounded(side: f64) -> u32 {
    (side.round() as u32).max(1)
}

/// The picture as the model takes it.
pub(super) fn tensor(
    picture: &RgbImage,
    rule: &PictureRule,
    (dtype, rank): (DType, usize),
) -> Result<(Tensor, Placement), String> {
    let size = [picture.width(), picture.height()];
    let fitting = Fitting::new(rule.resize, size).ok_or("a size that is none")?;
    for sides in [fitting.scaled, fitting.seen] {
        if u64::from(sides[0]) * u64::from(sides[1]) > PIXELS_MAX {
            return Err(format!("{} x {} pixels, of which at most {PIXELS_MAX} are computed", sides[0], sides[1]));
        }
    }
    let filter = match rule.filter {
        Filter::Nearest => FilterType::Nearest,
        Filter::Bilinear => FilterType::Triangle,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    let [width, height] = fitting.scaled;
    let scaled =
        if fitting.scaled == size { picture.clone() } else { imageops::resize(picture, width, height, filter) };
    let values = values(&scaled, &fitting, rule);
    let [columns, rows] = fitting.seen.map(|side| side as usize);
    let mut shape = match rule.layout {
        Layout::Nchw => vec![1, rule.channels.count(), rows, columns],
        Layout::Nhwc => vec![1, rows, columns, rule.channels.count()],
    };
    match rank {
        4 => {}
        3 => drop(shape.remove(0)),
        other => return Err(format!("an input of {other} dimensions")),
    }
    if let Some(declared) = rule.dtype.as_deref().filter(|declared| *declared != dtype.as_str()) {
        return Err(format!("elements of {dtype}, where the manifest declares {declared}"));
    }
    let data = of_numbers(&values, dtype).ok_or_else(|| format!("elements of {dtype}"))?;
    let tensor = Tensor::new(shape, data).map_err(|error| error.to_string())?;
    #[expect(clippy::cast_precision_loss, reason = "sides have at most 2^16 pixels")]
    let offset = fitting.offset.map(|offset| offset as f32);
    let scale = std::array::from_fn(|axis| pixels(fitting.scaled[axis]) / pixels(size[axis]));
    Ok((tensor, Placement { scale, offset, size, seen: fitting.seen }))
}

/// Every element, in the order of the layout.
fn values(scaled: &RgbImage, fitting: &Fitting, rule: &PictureRule) -> Vec<f32> {
    let normal = |value: f32, channel: usize| {
        let of = |values: &[f32], default: f32| match values {
            [] => default,
            [one] => *one,
            several => several[channel],
        };
        (value * rule.scale - of(&rule.mean, 0.0)) / of(&rule.std, 1.0)
    };
    let [columns, rows] = fitting.seen;
    let element = |channel: usize, row: u32, column: u32| {
        let at = [column, row].map(i64::from);
        let at: [i64; 2] = std::array::from_fn(|axis| at[axis] - fitting.offset[axis]);
        let pixel = u32::try_from(at[0]).ok().zip(u32::try_from(at[1]).ok());
        let pixel = pixel.and_then(|(x, y)| scaled.get_pixel_checked(x, y));
        normal(pixel.map_or(fitting.pad, |pixel| brightness(pixel.0, rule.channels, channel)), channel)
    };
    let n_channels = rule.channels.count();
    match rule.layout {
        Layout::Nchw => {
            let planes = (0..n_channels).flat_map(|channel| (0..rows).map(move |row| (channel, row)));
            planes.flat_map(|(channel, row)| (0..columns).map(move |column| element(channel, row, column))).collect()
        }
        Layout::Nhwc => {
            let points = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            points.flat_map(|(row, column)| (0..n_channels).map(move |channel| element(channel, row, column))).collect()
        }
    }
}

/// One channel of a pixel; gray weighs the three as ITU-R BT.601 does.
fn brightness([red, green, blue]: [u8; 3], channels: Channels, channel: usize) -> f32 {
    let rgb = [red, green, blue].map(f32::from);
    match channels {
        Channels::Rgb => rgb[channel],
        Channels::Bgr => rgb[2 - channel],
        Channels::Gray => 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgb};

    fn rule(resize: Resize) -> PictureRule {
        PictureRule {
            resize,
            filter: Filter::Nearest,
            layout: Layout::Nchw,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: Vec::new(),
            std: Vec::new(),
            dtype: None,
        }
    }

    fn two_by_one() -> RgbImage {
        RgbImage::from_fn(2, 1, |x, _| if x == 0 { Rgb([10, 20, 30]) } else { Rgb([40, 50, 60]) })
    }

    fn made(rule: &PictureRule) -> (Vec<usize>, Vec<f32>, Placement) {
        let (tensor, placement) = tensor(&two_by_one(), rule, (DType::F32, 4)).unwrap();
        (tensor.shape().to_vec(), tensor.as_f32().unwrap().to_vec(), placement)
    }

    #[test]
    fn layout_channels_and_normalisation_are_obeyed() {
        let plain = rule(Resize::Stretch { height: 1, width: 2 });
        assert_eq!(made(&plain).1, [10.0, 40.0, 20.0, 50.0, 30.0, 60.0]);
        let nhwc = PictureRule { layout: Layout::Nhwc, ..plain.clone() };
        assert_eq!((made(&nhwc).0, made(&nhwc).1), (vec![1, 1, 2, 3], vec![10.0, 20.0, 30.0, 40.0, 50.0, 60.0]));
        let bgr = PictureRule { channels: Channels::Bgr, ..nhwc.clone() };
        assert_eq!(made(&bgr).1, [30.0, 20.0, 10.0, 60.0, 50.0, 40.0]);
        let gray = PictureRule { channels: Channels::Gray, ..plain.clone() };
        assert_eq!(made(&gray).0, [1, 1, 1, 2]);
        assert!((made(&gray).1[0] - 18.15).abs() < 1e-4);
        let normal = PictureRule { scale: 0.5, mean: vec![1.0, 2.0, 3.0], std: vec![2.0], ..plain.clone() };
        assert_eq!(made(&normal).1, [2.0, 9.5, 4.0, 11.5, 6.0, 13.5]);
        let (bytes, _) = tensor(&two_by_one(), &plain, (DType::U8, 3)).unwrap();
        assert_eq!((bytes.shape(), bytes.dtype()), (&[3, 1, 2][..], DType::U8));
        let declared = PictureRule { dtype: Some("f16".to_owned()), ..plain };
        assert!(tensor(&two_by_one(), &declared, (DType::F32, 4)).unwrap_err().contains("f16"));
        assert!(tensor(&two_by_one(), &declared, (DType::F16, 4)).is_ok());
        assert!(tensor(&two_by_one(), &declared, (DType::F16, 2)).is_err());
    }

    #[test]
    fn every_way_to_fit_gives_the_size_and_the_way_back() {
        struct Case {
            resize: Resize,
            size: [u32; 2],
            scaled: [u32; 2],
            seen: [u32; 2],
            offset: [i64; 2],
        }
        let (height, width, pad) = (10, 20, 0.0);
        let fit = |anchor| Resize::Fit { height, width, anchor, pad };
        let high = Resize::Height { height, width_min: 30, width_max: 50, pad };
        let many = Resize::Multiple { of: 32, short_side_min: 64, long_side_max: 200 };
        let case = |resize, size, scaled, seen, offset| Case { resize, size, scaled, seen, offset };
        let cases = [
            case(Resize::Stretch { height, width }, [7, 9], [20, 10], [20, 10], [0, 0]),
            case(Resize::Crop { height: 8, width: 8, short_side: 10 }, [40, 20], [20, 10], [8, 8], [-6, -1]),
            case(fit(Anchor::Corner), [10, 10], [10, 10], [20, 10], [0, 0]),
            case(fit(Anchor::Center), [10, 10], [10, 10], [20, 10], [5, 0]),
            case(high, [11, 10], [11, 10], [30, 10], [0, 0]),
            case(high, [900, 10], [50, 10], [50, 10], [0, 0]),
            case(many, [100, 40], [160, 64], [160, 64], [0, 0]),
            case(many, [1000, 40], [192, 32], [192, 32], [0, 0]),
        ];
        for Case { resize, size, scaled, seen, offset } in cases {
            let found = Fitting::new(resize, size).unwrap();
            assert_eq!((found.scaled, found.seen, found.offset), (scaled, seen, offset), "{resize:?} {size:?}");
        }
        let (_, _, placement) = made(&rule(fit(Anchor::Center)));
        assert_eq!((placement.back([0.0, 0.0]), placement.back([20.0, 10.0])), ([0.0, 0.0], [2.0, 1.0]));
        assert_eq!(placement.back([1e9, -1e9]), [2.0, 0.0]);
    }

    #[test]
    fn the_rest_of_a_place_has_the_padding_as_a_pixel() {
        let resize = Resize::Fit { height: 1, width: 3, anchor: Anchor::Corner, pad: 127.0 };
        let (_, values, _) = made(&PictureRule { mean: vec![100.0], ..rule(Resize::Stretch { height: 1, width: 1 }) });
        assert_eq!(values.len(), 3);
        let padded = RgbImage::from_pixel(2, 1, Rgb([1, 1, 1]));
        let (tensor, _) = tensor(&padded, &rule(resize), (DType::F32, 4)).unwrap();
        assert_eq!(tensor.as_f32().unwrap()[..3], [1.0, 1.0, 127.0]);
    }

    #[test]
    fn bytes_that_are_no_picture_are_refused() {
        let path = Path::new("x.png");
        let mut png = Vec::new();
        two_by_one().write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
        assert_eq!(decode(path, &png).unwrap(), two_by_one());
        // The last bytes only say that nothing follows.
        for n_bytes in 0..png.len() {
            let is_whole = decode(path, &png[..n_bytes]).is_ok();
            assert!(!is_whole || n_bytes > png.len() / 2, "{n_bytes}");
        }
        assert!(decode(path, b"GIF89a").is_err() && decode(path, b"\xff\xd8\xff\xe0").is_err());
        // A header that claims 2^31 - 1 pixels a side.
        let mut huge = png.clone();
        huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode(path, &huge).is_err());
    }
}
