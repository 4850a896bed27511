//! What a link shows before it joins the chain: that it opens, and that it answers as the link behind it.

use super::Shared;
use super::block_on::block_on;
use super::link::{Ask, NotReady, Ready};
use super::options::{Promotion, SHADOW_RANK};
use crate::parity::seeded_inputs;
use crate::telemetry::{CorrelationId, TenantId};
use std::sync::Arc;

impl Shared {
    /// Has link `idx` show what `promotion` asks. The last link, and one behind which none becomes ready, joins at once.
    pub(super) fn prove(&self, idx: usize, ready: &Ready, promotion: &Promotion) -> Result<(), NotReady> {
        let Some(reference) = self.settled_reference(idx) else {
            self.warm_up(ready);
            return Ok(());
        };
        block_on(ready.warm_up()).map_err(NotReady::Unproven)?;
        let Some(schema) = self.schema.get() else { return Ok(()) };
        let engine = ready.crew.engine;
        for number in 0..u64::from(promotion.n_samples) {
            let inputs = match seeded_inputs(schema, &promotion.inputs, number) {
                Ok(inputs) => Arc::new(inputs),
                Err(error) => {
                    tracing::warn!(engine, %error, "it joins uncompared: no inputs can be made from a seed");
                    return Ok(());
                }
            };
            let (correlation, tenant) = (CorrelationId::from_number(number), TenantId::default());
            let ask = Ask { number, inputs, rank: SHADOW_RANK, correlation, tenant };
            let limit = || self.parts.clock.now().saturating_add(promotion.answer_max);
            let expected = match block_on(reference.attempt(&ask, limit())).end {
                Ok(expected) => expected.outputs.copied(),
                Err(error) => {
                    tracing::warn!(engine, %error, "it joins uncompared: the next engine does not answer these inputs");
                    return Ok(());
                }
            };
            let got = block_on(ready.attempt(&ask, limit())).end.map_err(NotReady::Unproven)?;
            if !self.compare(ready, &expected, &got.outputs.copied(), promotion.tolerances) {
                return Err(NotReady::Differs);
            }
        }
        Ok(())
    }

    /// The next link that can be asked, once one can or all behind `idx` have failed.
    fn settled_reference(&self, idx: usize) -> Option<&Ready> {
        let until = self.parts.clock.now().saturating_add(self.options.prepare_max);
        let behind = &self.links[idx + 1..];
        let mut settled = self.settled();
        while behind.iter().any(|link| link.ready.get().is_none())
            && !behind.iter().any(|link| link.ready().is_ok())
            && !self.keeper.is_draining()
            && self.parts.clock.now() < until
        {
            settled = self.wait_settled(settled);
        }
        drop(settled);
        self.reference(idx)
    }
}
