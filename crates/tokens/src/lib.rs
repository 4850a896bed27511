//! Between text and logits: tokenizers, chat templates, samplers, stop rules, detokenizer.
