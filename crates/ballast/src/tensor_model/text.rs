//! Texts as a model takes them: tokens, a mask of ones, types.

use super::elements::of_integers;
use super::error::TensorIoError;
use super::manifest::TextRule;
use crate::Error;
use crate::convert::word_piece;
use ballast_backend::{DType, IoSchema, Tensor, TensorMap};
use std::path::Path;

/// The inputs that a text's rule fills. `name` is the one that gets the tokens.
pub(super) fn tensors(
    text: &str,
    name: &str,
    rule: &TextRule,
    (folder, schema): (&Path, &IoSchema),
) -> Result<TensorMap, Error> {
    let tokenizer = word_piece(&folder.join(&rule.tokenizer))?;
    let framed = tokenizer.truncate(tokenizer.single(text), rule.length_max);
    let n_tokens = framed.tokens.len();
    let len = rule.pad_to.map_or(n_tokens, |pad_to| pad_to.max(n_tokens));
    if let Some(pad_to) = rule.pad_to.filter(|pad_to| *pad_to < n_tokens) {
        let expected = format!("at most {pad_to} tokens; declare a smaller length_max");
        return Err(TensorIoError::input(name, expected, n_tokens).into());
    }
    let padded = |values: Vec<i64>| values.into_iter().chain(std::iter::repeat(0)).take(len).collect::<Vec<_>>();
    let tokens = framed.tokens.iter().map(|token| i64::from(token.0)).collect();
    let mut all = vec![(name, padded(tokens))];
    all.extend(rule.mask.as_deref().map(|mask| (mask, padded(vec![1; n_tokens]))));
    all.extend(rule.types.as_deref().map(|types| (types, padded(Vec::new()))));
    let made = all.into_iter().map(|(name, values)| {
        let spec = schema.inputs.iter().find(|spec| spec.name == name);
        let dtype = spec.map_or(DType::I64, |spec| spec.dtype);
        let data = of_integers(&values, dtype);
        let data = data.ok_or_else(|| TensorIoError::input(name, format!("tokens as {dtype}"), "larger ones"))?;
        let shape = if spec.is_some_and(|spec| spec.shape.len() == 1) { vec![len] } else { vec![1, len] };
        let tensor = Tensor::new(shape, data).map_err(|error| TensorIoError::input(name, "tokens", error))?;
        Ok((name.to_owned(), tensor))
    });
    made.collect()
}
