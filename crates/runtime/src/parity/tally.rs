//! Differences over many samples.

use super::compare::{Difference, compare_rows, compare_tensors};
use super::error::ParityError;
use super::report::{Exceeded, Measure, OutputParity, ParityReport, ReportHead, WorstElement};
use super::tolerance::Tolerances;
use ballast_backend::{ReasonCode, TensorMap};
use std::collections::BTreeMap;

/// Adds up what is compared, and judges each output of each sample by itself, so that a large output does not hide a
/// small one, nor many good samples a bad one.
#[derive(Clone, Debug)]
pub struct ParityTally {
    tolerances: Tolerances,
    n_samples: u64,
    outputs: BTreeMap<String, OutputParity>,
    exceeded: BTreeMap<(String, Measure), Exceeded>,
    worst: Option<(Option<f64>, WorstElement)>,
}

impl ParityTally {
    /// Nothing yet.
    ///
    /// # Errors
    /// If the tolerances are no bounds.
    pub fn new(tolerances: Tolerances) -> Result<Self, ParityError> {
        tolerances.check()?;
        let (outputs, exceeded) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { tolerances, n_samples: 0, outputs, exceeded, worst: None })
    }

    /// Adds a sample: all outputs of both engines. Returns whether it keeps every bound.
    ///
    /// # Errors
    /// If the outputs have not the same names, types and shapes. The sample does not count then.
    pub fn add_outputs(&mut self, reference: &TensorMap, candidate: &TensorMap) -> Result<bool, ParityError> {
        let only_there =
            |there: &TensorMap, here: &TensorMap| there.keys().find(|name| !here.contains_key(*name)).cloned();
        if let Some(name) = only_there(reference, candidate).or_else(|| only_there(candidate, reference)) {
            return Err(ParityError::OutputMissing { name });
        }
        let compared = reference.iter().zip(candidate.values());
        let compared = compared.map(|((name, a), b)| Ok((name.as_str(), compare_tensors(name, a, b)?)));
        let differences = compared.collect::<Result<Vec<_>, ParityError>>()?;
        Ok(self.add(&differences))
    }

    /// Adds a sample that is one row, such as logits. Returns whether it keeps every bound.
    ///
    /// # Errors
    /// If the rows are not of one length. The sample does not count then.
    pub fn add_row(&mut self, name: &str, reference: &[f32], candidate: &[f32]) -> Result<bool, ParityError> {
        let difference = compare_rows(name, reference, candidate)?;
        Ok(self.add(&[(name, difference)]))
    }

    fn add(&mut self, differences: &[(&str, Difference)]) -> bool {
        let mut is_within = true;
        for (name, difference) in differences {
            self.note_output(name, difference);
            self.note_worst(name, difference);
            for (measure, limit, got) in self.tolerances.exceeded_by(difference) {
                is_within = false;
                let found = Exceeded { output: (*name).to_owned(), measure, limit, got };
                let worst = self.exceeded.entry(((*name).to_owned(), measure)).or_insert_with(|| found.clone());
                let is_worse = match measure {
                    Measure::Cosine => got < worst.got,
                    Measure::Unmatched | Measure::LInf | Measure::Rmse => got > worst.got,
                };
                if is_worse {
                    *worst = found;
                }
            }
        }
        self.n_samples += 1;
        is_within
    }

    fn note_output(&mut self, name: &str, difference: &Difference) {
        let output = self.outputs.entry(name.to_owned()).or_insert_with(|| OutputParity {
            name: name.to_owned(),
            l_inf: 0.0,
            rmse: 0.0,
            cosine: None,
            n_elements: 0,
            n_same_nonfinite: 0,
            n_unmatched: 0,
        });
        output.l_inf = output.l_inf.max(difference.l_inf);
        output.rmse = output.rmse.max(difference.rmse);
        output.cosine = match (output.cosine, difference.cosine) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (known, new) => known.or(new),
        };
        output.n_elements += difference.n_elements as u64;
        output.n_same_nonfinite += difference.n_same_nonfinite as u64;
        output.n_unmatched += difference.n_unmatched as u64;
    }

    fn note_worst(&mut self, name: &str, difference: &Difference) {
        let Some(found) = difference.worst else { return };
        let is_worse = match (&self.worst, found.difference) {
            (None, _) => true,
            (Some((None, _)), _) => false,
            (Some((Some(_), _)), None) => true,
            (Some((Some(known), _)), Some(new)) => new > *known,
        };
        if is_worse {
            let element = WorstElement {
                output: name.to_owned(),
                sample: self.n_samples,
                index: found.index as u64,
                reference: found.reference,
                candidate: found.candidate,
            };
            self.worst = Some((found.difference, element));
        }
    }

    /// The report. `head` says what was compared; its tolerances are replaced by those that were judged by.
    ///
    /// # Errors
    /// If not one element was compared: that would say nothing, and look like agreement.
    pub fn finish(self, head: ReportHead) -> Result<ParityReport, ParityError> {
        if self.outputs.values().all(|output| output.n_elements == 0) {
            return Err(ParityError::NothingCompared);
        }
        let exceeded: Vec<Exceeded> = self.exceeded.into_values().collect();
        Ok(ParityReport {
            format: ParityReport::FORMAT,
            head: ReportHead { tolerances: self.tolerances, ..head },
            n_samples: self.n_samples,
            outputs: self.outputs.into_values().collect(),
            worst: self.worst.map(|(_, element)| element),
            reason: (!exceeded.is_empty()).then_some(ReasonCode::ParityExceeded),
            exceeded,
        })
    }
}
