//! One step of a recurrent network. (ONNX `LSTM`, `GRU`, `RNN`, on equations)

use super::activation::Activation;
use crate::ops::matmul::{Packed, multiply};
use crate::pieces::Epilogue;
use crate::run::Context;
use ballast_kernels::Pointwise;

/// What happens in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Lstm,
    /// What is forgotten is what is not taken in.
    LstmCoupled,
    Gru,
    /// The reset gate weighs what the recurrence came to, not the state.
    GruLinearBeforeReset,
    Rnn,
}

impl Cell {
    pub(super) fn n_gates(self) -> usize {
        match self {
            Self::Lstm | Self::LstmCoupled => 4,
            Self::Gru | Self::GruLinearBeforeReset => 3,
            Self::Rnn => 1,
        }
    }

    pub(super) fn has_memory(self) -> bool {
        matches!(self, Self::Lstm | Self::LstmCoupled)
    }

    pub(super) fn default_activations(self) -> &'static [Pointwise] {
        match self {
            Self::Lstm | Self::LstmCoupled => &[Pointwise::Sigmoid, Pointwise::Tanh, Pointwise::Tanh],
            Self::Gru | Self::GruLinearBeforeReset => &[Pointwise::Sigmoid, Pointwise::Tanh],
            Self::Rnn => &[Pointwise::Tanh],
        }
    }
}

/// What a step needs besides its state.
pub(super) struct Step<'a> {
    pub(super) cell: Cell,
    pub(super) hidden: usize,
    pub(super) recurrence: &'a Packed,
    /// Of the input, then of the recurrence.
    pub(super) bias: Option<&'a [f32]>,
    /// Of input, output and forget gate.
    pub(super) peepholes: Option<&'a [f32]>,
    pub(super) clip: Option<f32>,
    pub(super) activations: &'a [Activation],
}

impl Step<'_> {
    fn width(&self) -> usize {
        self.cell.n_gates() * self.hidden
    }

    /// What the gates of one of the batch add up from, before input and recurrence.
    pub(super) fn begin(&self, gates: &mut [f32]) {
        let Some(bias) = self.bias else { return };
        let (input, recurrence) = bias.split_at(self.width());
        // The reset gate weighs this bias, too, so that it comes later.
        let n_joined = if self.cell == Cell::GruLinearBeforeReset { 2 * self.hidden } else { self.width() };
        gates.copy_from_slice(input);
        gates[..n_joined].iter_mut().zip(recurrence).for_each(|(gate, bias)| *gate += bias);
    }

    /// One step of the whole batch. `gates` has what the input came to.
    pub(super) fn run(&self, gates: &mut [f32], h: &mut [f32], c: &mut [f32], context: &mut Context<'_>) {
        match self.cell {
            Cell::Lstm | Cell::LstmCoupled => self.lstm(gates, h, c, context),
            Cell::Gru | Cell::GruLinearBeforeReset => self.gru(gates, h, context),
            Cell::Rnn => {
                self.recur(h, gates, context);
                self.activate(0, gates, context);
                h.copy_from_slice(gates);
            }
        }
    }

    /// Adds what the recurrence comes to.
    fn recur(&self, h: &[f32], gates: &mut [f32], context: &mut Context<'_>) {
        multiply(h, [self.hidden, 1], &self.recurrence.view(), gates, (&Epilogue::default(), context));
    }

    fn activate(&self, which: usize, x: &mut [f32], context: &Context<'_>) {
        if let Some(clip) = self.clip {
            context.kernels.pointwise(Pointwise::Clip(-clip, clip), x);
        }
        self.activations[which].apply(context.kernels, x);
    }

    fn lstm(&self, gates: &mut [f32], h: &mut [f32], c: &mut [f32], context: &mut Context<'_>) {
        let n = self.hidden;
        self.recur(h, gates, context);
        let states = h.chunks_exact_mut(n).zip(c.chunks_exact_mut(n));
        for (gates, (h, c)) in gates.chunks_exact_mut(4 * n).zip(states) {
            let (input, rest) = gates.split_at_mut(n);
            let (output, rest) = rest.split_at_mut(n);
            let (forget, update) = rest.split_at_mut(n);
            if let Some(peepholes) = self.peepholes {
                add_product(input, &peepholes[..n], c);
                add_product(forget, &peepholes[2 * n..], c);
            }
            self.activate(0, input, context);
            if self.cell == Cell::LstmCoupled {
                forget.iter_mut().zip(&*input).for_each(|(forget, input)| *forget = 1.0 - input);
            } else {
                self.activate(0, forget, context);
            }
            self.activate(1, update, context);
            for ((c, forget), (input, update)) in c.iter_mut().zip(&*forget).zip(input.iter().zip(&*update)) {
                *c = *c * forget + input * update;
            }
            if let Some(peepholes) = self.peepholes {
                add_product(output, &peepholes[n..2 * n], c);
            }
            self.activate(0, output, context);
            h.copy_from_slice(c);
            self.activations[2].apply(context.kernels, h);
            h.iter_mut().zip(&*output).for_each(|(h, output)| *h *= output);
        }
    }

    fn gru(&self, gates: &mut [f32], h: &mut [f32], context: &mut Context<'_>) {
        let n = self.hidden;
        // The recurrence of all three gates; the last of them again where the state is weighed before.
        let mut recurrence = vec![0.0; gates.len()];
        self.recur(h, &mut recurrence, context);
        for (gates, recurrence) in gates.chunks_exact_mut(3 * n).zip(recurrence.chunks_exact(3 * n)) {
            let both = &mut gates[..2 * n];
            both.iter_mut().zip(recurrence).for_each(|(gate, recurrence)| *gate += recurrence);
            self.activate(0, both, context);
        }
        if self.cell == Cell::Gru {
            let reset = |(h, gates): (&[f32], &[f32])| -> Vec<f32> {
                h.iter().zip(&gates[n..2 * n]).map(|(h, reset)| h * reset).collect()
            };
            let weighed: Vec<f32> = h.chunks_exact(n).zip(gates.chunks_exact(3 * n)).flat_map(reset).collect();
            recurrence.fill(0.0);
            self.recur(&weighed, &mut recurrence, context);
        }
        let rows = gates.chunks_exact_mut(3 * n).zip(recurrence.chunks_exact(3 * n)).zip(h.chunks_exact_mut(n));
        for ((gates, recurrence), h) in rows {
            let (both, candidate) = gates.split_at_mut(2 * n);
            let (update, reset) = both.split_at(n);
            for (idx, (candidate, recurrence)) in candidate.iter_mut().zip(&recurrence[2 * n..]).enumerate() {
                *candidate += if self.cell == Cell::Gru {
                    *recurrence
                } else {
                    reset[idx] * (recurrence + self.bias.map_or(0.0, |bias| bias[5 * n + idx]))
                };
            }
            self.activate(1, candidate, context);
            for ((h, update), candidate) in h.iter_mut().zip(update).zip(&*candidate) {
                *h = (1.0 - update) * candidate + update * *h;
            }
        }
    }
}

fn add_product(gate: &mut [f32], weights: &[f32], c: &[f32]) {
    for ((gate, weight), c) in gate.iter_mut().zip(weights).zip(c) {
        *gate += weight * c;
    }
}
