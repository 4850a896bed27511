//! Sounds as a model takes them: WAV files, mixed to one channel, cut into frames.

use super::error::TensorIoError;
use super::files::malformed;
use super::manifest::AudioRule;
use hound::{SampleFormat, WavReader};
use std::path::Path;

/// Most frames of one sound.
pub(super) const FRAMES_MAX: usize = 1 << 16;

/// A sound's samples, cut into frames when they are asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sound {
    samples: Vec<f32>,
    frame_len: usize,
    hop: usize,
    pad_start: usize,
    sample_rate: u32,
}

impl Sound {
    /// Reads a WAV file from untrusted bytes.
    pub(super) fn read(path: &Path, bytes: &[u8], rule: &AudioRule) -> Result<Self, TensorIoError> {
        let fault = |error: hound::Error| malformed(path, "a WAV file", error);
        let mut reader = WavReader::new(bytes).map_err(fault)?;
        let spec = reader.spec();
        if spec.sample_rate != rule.sample_rate {
            let expected = format!("{} samples a second, as the manifest declares", rule.sample_rate);
            return Err(malformed(path, expected, spec.sample_rate));
        }
        let n_channels = usize::from(spec.channels);
        if n_channels == 0 {
            return Err(malformed(path, "a channel", "none"));
        }
        let samples: Vec<f32> = match spec.sample_format {
            SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(fault)?,
            SampleFormat::Int => {
                let full = 2_f64.powi(i32::from(spec.bits_per_sample) - 1);
                #[expect(clippy::cast_possible_truncation, reason = "a sample of at most 32 bits over its bound")]
                let share = |sample: i32| (f64::from(sample) / full) as f32;
                let samples = reader.samples::<i32>().map(|sample| sample.map(share));
                samples.collect::<Result<_, _>>().map_err(fault)?
            }
        };
        let mixed = samples.chunks_exact(n_channels).map(|all| all.iter().sum::<f32>() / f32::from(spec.channels));
        Self::new(mixed.collect(), rule).map_err(|(expected, got)| malformed(path, expected, got))
    }

    fn new(samples: Vec<f32>, rule: &AudioRule) -> Result<Self, (String, String)> {
        if samples.is_empty() {
            return Err(("samples".to_owned(), "none".to_owned()));
        }
        let frame_len = rule.frame_len.unwrap_or(rule.pad_start + samples.len());
        let hop = rule.hop.unwrap_or(frame_len);
        let sound = Self { samples, frame_len, hop, pad_start: rule.pad_start, sample_rate: rule.sample_rate };
        let n_frames = sound.n_frames();
        if n_frames > FRAMES_MAX {
            return Err((format!("at most {FRAMES_MAX} frames"), n_frames.to_string()));
        }
        Ok(sound)
    }

    /// How many frames begin within the samples.
    pub(super) fn n_frames(&self) -> usize {
        self.samples.len().div_ceil(self.hop)
    }

    /// Seconds from one frame to the next.
    #[expect(clippy::cast_precision_loss, reason = "hops are far below 2^52 samples")]
    pub(super) fn step_seconds(&self) -> f64 {
        self.hop as f64 / f64::from(self.sample_rate)
    }

    /// The samples of a frame, silence where there are none.
    pub(super) fn frame(&self, idx: usize) -> Vec<f32> {
        let start = idx * self.hop;
        let sample = |at: usize| at.checked_sub(self.pad_start).and_then(|at| self.samples.get(at)).copied();
        (start..start + self.frame_len).map(|at| sample(at).unwrap_or(0.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};
    use std::io::Cursor;

    fn rule(frame_len: Option<usize>, hop: Option<usize>, pad_start: usize) -> AudioRule {
        AudioRule { sample_rate: 8000, frame_len, hop, pad_start }
    }

    fn wav(channels: u16, bits_per_sample: u16, samples: &[i32]) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: 8000, bits_per_sample, sample_format: SampleFormat::Int };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
        samples.iter().for_each(|&sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    fn read(bytes: &[u8], rule: &AudioRule) -> Result<Sound, TensorIoError> {
        Sound::read(Path::new("x.wav"), bytes, rule)
    }

    #[test]
    fn samples_are_shares_of_full_scale_and_channels_are_mixed() {
        for bits in [8_u16, 16, 24, 32] {
            let half = 1 << (bits - 2);
            let sound = read(&wav(2, bits, &[half, half, -half, 0]), &rule(None, None, 0)).unwrap();
            assert_eq!((sound.n_frames(), sound.frame(0)), (1, vec![0.5, -0.25]), "{bits}");
        }
    }

    #[test]
    fn frames_follow_at_the_hop_and_end_in_silence() {
        let samples: Vec<f32> = (1..=5_u8).map(f32::from).collect();
        let sound = Sound::new(samples, &rule(Some(4), Some(2), 2)).unwrap();
        assert_eq!(sound.n_frames(), 3);
        assert_eq!(sound.frame(0), [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(sound.frame(1), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(sound.frame(2), [3.0, 4.0, 5.0, 0.0]);
        assert!((sound.step_seconds() - 0.000_25).abs() < 1e-12);
        assert!(Sound::new(vec![0.0; FRAMES_MAX + 1], &rule(Some(1), None, 0)).is_err());
        assert!(Sound::new(vec![0.0; FRAMES_MAX], &rule(Some(1), None, 0)).is_ok());
    }

    #[test]
    fn what_is_no_sound_of_the_rate_is_refused() {
        let good = wav(1, 16, &[1, 2, 3]);
        assert!(read(&good, &rule(None, None, 0)).is_ok());
        let other = AudioRule { sample_rate: 16000, ..rule(None, None, 0) };
        assert!(read(&good, &other).unwrap_err().to_string().contains("16000"));
        assert!(read(&wav(1, 16, &[]), &rule(None, None, 0)).is_err());
        for n_bytes in 0..good.len() {
            drop(read(&good[..n_bytes], &rule(None, None, 0)));
        }
        assert!(read(b"RIFF", &rule(None, None, 0)).is_err() && read(b"", &rule(None, None, 0)).is_err());
    }
}
