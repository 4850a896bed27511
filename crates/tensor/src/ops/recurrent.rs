//! Recurrent networks: `LSTM`, `GRU`, `RNN`.

mod activation;
mod cell;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, wrong_type};
use crate::ops::matmul::{Packed, multiply};
use crate::ops::widen;
use crate::pieces::Epilogue;
use crate::run::Context;
use activation::Activation;
use cell::{Cell, Step};

pub(super) const OPS: &[(&str, Build)] = &[("GRU", gru), ("LSTM", lstm), ("RNN", rnn)];

fn gru(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let cell = if spec.flag("linear_before_reset", false)? { Cell::GruLinearBeforeReset } else { Cell::Gru };
    Recurrent::build(spec, cell)
}

fn lstm(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let cell = if spec.flag("input_forget", false)? { Cell::LstmCoupled } else { Cell::Lstm };
    Recurrent::build(spec, cell)
}

fn rnn(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Recurrent::build(spec, Cell::Rnn)
}

/// Which way a network goes over its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
}

/// Which of the first two dimensions of a sequence is time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    TimeFirst,
    BatchFirst,
}

/// A network over a sequence, in each of its directions.
#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    hidden: Option<usize>,
    directions: Vec<Direction>,
    layout: Layout,
    clip: Option<f32>,
    /// For all directions.
    activations: Vec<Activation>,
    known: Option<Vec<Weights>>,
}

/// The weights of a direction.
#[derive(Clone, Debug)]
struct Weights {
    input: Packed,
    recurrence: Packed,
}

/// Packs `[directions, gates, columns]`, transposed.
fn pack(idx: usize, array: &Array, n_directions: usize) -> Result<Vec<Packed>, OpError> {
    let values = array.values::<f32>().ok_or_else(|| wrong_type(idx, "f32", array.dtype()))?;
    let &[n, n_gates, n_cols] = array.shape() else { return Err(OpError::shape("three dimensions", array.shape())) };
    if n != n_directions || n_gates == 0 || n_cols == 0 {
        return Err(OpError::shape(format!("weights of {n_directions} directions"), array.shape()));
    }
    Ok(values.chunks_exact(n_gates * n_cols).map(|values| Packed::new(values, [1, n_cols], n_cols, n_gates)).collect())
}

fn pack_both(input: &Array, recurrence: &Array, n_directions: usize) -> Result<Vec<Weights>, OpError> {
    let both = pack(1, input, n_directions)?.into_iter().zip(pack(2, recurrence, n_directions)?);
    Ok(both.map(|(input, recurrence)| Weights { input, recurrence }).collect())
}

impl Recurrent {
    fn build(spec: &NodeSpec<'_>, cell: Cell) -> Result<Box<dyn Operator>, OpError> {
        let directions = match spec.text("direction")?.unwrap_or("forward") {
            "forward" => vec![Direction::Forward],
            "reverse" => vec![Direction::Reverse],
            "bidirectional" => vec![Direction::Forward, Direction::Reverse],
            other => return Err(NodeSpec::wrong("direction", "forward, reverse or bidirectional", other)),
        };
        let hidden = spec.int("hidden_size")?.map(|size| usize::try_from(size).ok().filter(|&size| size > 0));
        if hidden == Some(None) {
            return Err(NodeSpec::wrong("hidden_size", "a number from 1 on", "another"));
        }
        let clip = spec.float("clip")?;
        if clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
            return Err(NodeSpec::wrong("clip", "a number from 0 on", format!("{clip:?}")));
        }
        // Gone since version 7, where outputs that nobody wants are left out.
        spec.int("output_sequence")?;
        let f32s = |idx| spec.constant(idx).filter(|array| array.values::<f32>().is_some());
        let known = f32s(1).zip(f32s(2)).map(|(w, r)| pack_both(w, r, directions.len())).transpose()?;
        Ok(Box::new(Self {
            cell,
            hidden: hidden.flatten(),
            layout: if spec.flag("layout", false)? { Layout::BatchFirst } else { Layout::TimeFirst },
            clip: clip.filter(|clip| *clip > 0.0),
            activations: activation::read(spec, cell.default_activations(), directions.len())?,
            directions,
            known,
        }))
    }

    /// The sequence with time first, and its extents: time, batch, entries.
    fn sequence(&self, x: &[f32], shape: &[usize]) -> Result<(Vec<f32>, [usize; 3]), OpError> {
        let &[a, b, n] = shape else { return Err(OpError::shape("three dimensions", shape)) };
        match self.layout {
            Layout::TimeFirst => Ok((x.to_vec(), [a, b, n])),
            Layout::BatchFirst => Ok((swapped(x, [a, b, n]), [b, a, n])),
        }
    }

    /// `[directions, batch, hidden]` of a state, zeros if it is left out.
    fn state(&self, inputs: &Inputs, idx: usize, [n_batch, hidden]: [usize; 2]) -> Result<Vec<f32>, OpError> {
        let n_directions = self.directions.len();
        let Some(state) = inputs.find(idx)? else { return Ok(vec![0.0; n_directions * n_batch * hidden]) };
        let values = inputs.values::<f32>(idx)?;
        let expected = match self.layout {
            Layout::TimeFirst => [n_directions, n_batch, hidden],
            Layout::BatchFirst => [n_batch, n_directions, hidden],
        };
        if state.shape() != expected {
            return Err(OpError::input(idx, format!("the shape {expected:?}"), format!("{:?}", state.shape())));
        }
        Ok(if self.layout == Layout::TimeFirst { values.to_vec() } else { swapped(values, expected) })
    }
}

/// Swaps the first two of three dimensions.
fn swapped(x: &[f32], [a, b, n]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for j in 0..b {
        for i in 0..a {
            out.extend_from_slice(&x[(i * b + j) * n..][..n]);
        }
    }
    out
}

/// Entries of an input that has `len` for each direction.
fn of_direction(inputs: &Inputs, idx: usize, len: usize, n: usize) -> Result<Option<Vec<&[f32]>>, OpError> {
    if inputs.find(idx)?.is_none() {
        return Ok(None);
    }
    let values = inputs.values::<f32>(idx)?;
    if values.len() != n * len {
        return Err(OpError::input(idx, format!("{n} times {len} entries"), values.len().to_string()));
    }
    Ok(Some(values.chunks_exact(len).collect()))
}

impl Operator for Recurrent {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (inputs, narrow) = widen::inputs(inputs, context)?;
        let packed;
        let weights = match &self.known {
            Some(weights) => weights,
            None => {
                packed = pack_both(inputs.get(1)?, inputs.get(2)?, self.directions.len())?;
                &packed
            }
        };
        let (x, sizes) = self.sequence(inputs.values::<f32>(0)?, inputs.get(0)?.shape())?;
        let ([n_times, n_batch, n_in], hidden, n_gates) = (sizes, weights[0].recurrence.n_rows(), self.cell.n_gates());
        let fits = weights.iter().all(|weights| {
            weights.input.n_rows() == n_in
                && weights.input.n_cols() == n_gates * hidden
                && weights.recurrence.n_cols() == n_gates * hidden
        });
        if !fits || hidden == 0 || self.hidden.is_some_and(|size| size != hidden) {
            return Err(OpError::shape(format!("weights of {n_gates} gates of {hidden} for {n_in} entries"), &sizes));
        }
        let n_directions = self.directions.len();
        let biases = of_direction(&inputs, 3, 2 * n_gates * hidden, n_directions)?;
        let peepholes = of_direction(&inputs, 7, 3 * hidden, n_directions)?;
        let lens = lens(&inputs, n_times, n_batch)?;
        let mut h = self.state(&inputs, 5, [n_batch, hidden])?;
        let mut c = self.state(&inputs, 6, [n_batch, hidden])?;
        let mut y = context.zeros::<f32>(&[n_times, n_directions, n_batch, hidden])?;
        for (idx, direction) in self.directions.iter().enumerate() {
            let n_activations = self.activations.len() / n_directions;
            let step = Step {
                cell: self.cell,
                hidden,
                recurrence: &weights[idx].recurrence,
                bias: biases.as_ref().map(|biases| biases[idx]),
                peepholes: peepholes.as_ref().map(|peepholes| peepholes[idx]),
                clip: self.clip,
                activations: &self.activations[idx * n_activations..][..n_activations],
            };
            let width = n_gates * hidden;
            let mut gates = context.zeros::<f32>(&[n_times * n_batch, width])?;
            gates.chunks_exact_mut(width).for_each(|row| step.begin(row));
            multiply(&x, [n_in, 1], &weights[idx].input.view(), &mut gates, (&Epilogue::default(), context));
            let state = n_batch * hidden;
            let (h, c) = (&mut h[idx * state..][..state], &mut c[idx * state..][..state]);
            let walk = Walk { step: &step, direction: *direction, lens: &lens, gates: &gates };
            walk.run([h, c], context, |at, row, h| {
                let to = ((at * n_directions + idx) * n_batch + row) * hidden;
                y[to..to + hidden].copy_from_slice(h);
            });
        }
        widen::output(self.outputs(y, h, c, [n_times, n_batch, hidden]), narrow, context)
    }

    fn keeps(&self, input: usize) -> bool {
        matches!(input, 1 | 2) && self.known.is_some()
    }
}

/// One direction of a network over its sequence.
struct Walk<'a> {
    step: &'a Step<'a>,
    direction: Direction,
    /// How long the sequence of each of the batch is.
    lens: &'a [usize],
    /// What the input comes to, `[time, batch, gates]`.
    gates: &'a [f32],
}

impl Walk<'_> {
    /// Steps through time. Calls `gave` for each step of each of the batch with the time, the row and the state; who is
    /// at the end of its sequence keeps its state.
    fn run(&self, [h, c]: [&mut [f32]; 2], context: &mut Context<'_>, mut gave: impl FnMut(usize, usize, &[f32])) {
        let (n_batch, hidden) = (self.lens.len(), self.step.hidden);
        let width = self.step.cell.n_gates() * hidden;
        let mut now = vec![0.0; n_batch * width];
        for t in 0..self.lens.iter().copied().max().unwrap_or(0) {
            for ((row, now), len) in now.chunks_exact_mut(width).enumerate().zip(self.lens) {
                if t < *len {
                    now.copy_from_slice(&self.gates[(self.at(t, *len) * n_batch + row) * width..][..width]);
                }
            }
            let before = self.lens.iter().any(|len| t >= *len).then(|| (h.to_vec(), c.to_vec()));
            self.step.run(&mut now, h, c, context);
            for (row, len) in self.lens.iter().enumerate() {
                let range = row * hidden..(row + 1) * hidden;
                match &before {
                    Some((h_before, c_before)) if t >= *len => {
                        h[range.clone()].copy_from_slice(&h_before[range.clone()]);
                        c[range.clone()].copy_from_slice(&c_before[range]);
                    }
                    Some(_) | None => gave(self.at(t, *len), row, &h[range]),
                }
            }
        }
    }

    /// Where a sequence is at a step.
    fn at(&self, t: usize, len: usize) -> usize {
        match self.direction {
            Direction::Forward => t,
            Direction::Reverse => len - 1 - t,
        }
    }
}

/// How long the sequence of each of the batch is.
fn lens(inputs: &Inputs, n_times: usize, n_batch: usize) -> Result<Vec<usize>, OpError> {
    let Some(lens) = inputs.find_ints(4)? else { return Ok(vec![n_times; n_batch]) };
    let len = |len: &i64| usize::try_from(*len).ok().filter(|&len| len <= n_times);
    let found: Option<Vec<usize>> = lens.iter().map(len).collect();
    let fits = found.filter(|found| found.len() == n_batch);
    fits.ok_or_else(|| OpError::input(4, format!("{n_batch} lengths up to {n_times}"), format!("{lens:?}")))
}

impl Recurrent {
    fn outputs(&self, y: Vec<f32>, h: Vec<f32>, c: Vec<f32>, [n_times, n_batch, hidden]: [usize; 3]) -> Outputs {
        let n_directions = self.directions.len();
        let state = |values: Vec<f32>| match self.layout {
            Layout::TimeFirst => Array::new(&[n_directions, n_batch, hidden], values),
            Layout::BatchFirst => {
                Array::new(&[n_batch, n_directions, hidden], swapped(&values, [n_directions, n_batch, hidden]))
            }
        };
        let y = match self.layout {
            Layout::TimeFirst => Array::new(&[n_times, n_directions, n_batch, hidden], y),
            Layout::BatchFirst => {
                let by_batch = swapped(&y, [n_times * n_directions, n_batch, hidden]);
                Array::new(&Shape::from_slice(&[n_batch, n_times, n_directions, hidden]), by_batch)
            }
        };
        let mut outputs = Outputs::from_iter([y.into(), state(h).into()]);
        if self.cell.has_memory() {
            outputs.push(state(c).into());
        }
        outputs
    }
}
