//! Tools that a request offers, whatever wire it came by: what the model is told of them, what it may call, and calls
//! taken out of its answer.

mod declared;
mod partial;
mod said;

pub(crate) use declared::{Declared, arguments, declare, known_answer};
pub(crate) use partial::whole_object;
pub(crate) use said::{Said, SaidCall, SaidEvent, SaidWhole, call_id};

use crate::api_error::ApiError;
use crate::fields::ParamError;
use crate::models::GeneratorUse;
use crate::params::GenerationParams;
use ballast_tokens::{CallCount, CallNeed, Constraint, ToolGrammar, ToolParser, ToolSpec};
use serde_json::Value;

/// Most tools of one request.
pub const TOOLS_MAX: usize = 128;
/// Most bytes of JSON that the schemas of one request's tools may have together.
pub const TOOL_SCHEMAS_BYTES_MAX: usize = 128 << 10;

/// A tool, and the parameter that its schema came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) spec: ToolSpec,
    pub(crate) schema_param: String,
}

/// Tools, and what is to be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools {
    /// What the model is told of; empty where none may be called.
    offered: Vec<Tool>,
    /// Indices of those that it may call.
    callable: Vec<usize>,
    need: CallNeed,
    count: CallCount,
}

/// Which tools may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// None: the model is not told of them.
    None,
    /// Any, or none.
    Auto,
    /// At least one.
    Required,
    /// Of these only, and at least one where `need` says so.
    Only { names: Vec<String>, need: CallNeed },
}

impl Default for Tools {
    fn default() -> Self {
        Self { offered: Vec::new(), callable: Vec::new(), need: CallNeed::Optional, count: CallCount::Many }
    }
}

impl Tools {
    /// # Errors
    /// If a choice needs a tool that there is not; `param` is whose fault that is.
    pub(crate) fn new(offered: Vec<Tool>, choice: &Choice, count: CallCount, param: &str) -> Result<Self, ParamError> {
        let wrong = |expected: &str| Err(ParamError::wrong(param.to_owned(), expected, &Value::from(String::new())));
        let all = (0..offered.len()).collect();
        let (callable, need) = match choice {
            Choice::None => return Ok(Self { count, ..Self::default() }),
            Choice::Auto => (all, CallNeed::Optional),
            Choice::Required if offered.is_empty() => return wrong("it only with `tools`"),
            Choice::Required => (all, CallNeed::Required),
            Choice::Only { names, need } => {
                let place = |name: &String| offered.iter().position(|tool| tool.spec.name == *name);
                let Some(mut places) = names.iter().map(place).collect::<Option<Vec<usize>>>() else {
                    return wrong("the name of one of `tools`");
                };
                places.sort_unstable();
                places.dedup();
                if places.is_empty() {
                    return wrong("at least one of `tools`");
                }
                (places, *need)
            }
        };
        Ok(Self { offered, callable, need, count })
    }

    /// What a template is told of them.
    pub(crate) fn told(&self) -> Option<Value> {
        (!self.offered.is_empty()).then(|| self.offered.iter().map(|tool| tool.spec.to_json()).collect())
    }

    /// Has answers keep to what may be called, and gives what takes calls out of them; `None` where there are no tools.
    ///
    /// # Errors
    /// If a schema cannot be enforced, or the answer is to look like something else, too.
    pub(crate) fn constrain(
        &self,
        model: &GeneratorUse,
        generation: &mut GenerationParams,
    ) -> Result<Option<ToolParser>, ApiError> {
        if self.offered.is_empty() {
            return Ok(None);
        }
        if generation.constraint.is_some() {
            let param = generation.constrained_by.unwrap_or("tools").to_owned();
            return Err(ParamError::Unsupported { param, supported: "not together with `tools`" }.into());
        }
        let format = model.format().tool_format()?;
        let mut control_tokens = model.format().control_tokens();
        control_tokens.retain(|(name, _)| format.mentions(name));
        let tools: Vec<ToolSpec> = self.callable.iter().map(|&idx| self.offered[idx].spec.clone()).collect();
        let wanted = ToolGrammar { tools: &tools, need: self.need, count: self.count, control_tokens: &control_tokens };
        let constraint = Constraint::Lark(format.grammar(&wanted));
        if let Err(error) = model.runtime().compile(&constraint) {
            let schema = |idx: &usize| {
                let Tool { spec, schema_param } = &self.offered[*idx];
                let schema = Constraint::JsonSchema(spec.parameters.clone()?);
                let error = model.runtime().compile(&schema).err()?;
                Some(ApiError::ToolSchema { param: schema_param.clone(), error })
            };
            let blamed = self.callable.iter().find_map(schema);
            return Err(blamed.unwrap_or(ApiError::ToolSchema { param: "tools".to_owned(), error }));
        }
        generation.constraint = Some(constraint);
        generation.constrained_by = Some("tools");
        generation.show_special |= !control_tokens.is_empty();
        Ok(Some(ToolParser::new(format, tools)))
    }
}

#[cfg(test)]
impl Tools {
    pub(crate) fn may_call(&self) -> Vec<&str> {
        self.callable.iter().map(|&idx| self.offered[idx].spec.name.as_str()).collect()
    }

    pub(crate) fn need(&self) -> CallNeed {
        self.need
    }

    pub(crate) fn count(&self) -> CallCount {
        self.count
    }
}

#[cfg(test)]
mod tests;
