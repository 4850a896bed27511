//! `tools`, `tool_choice` and `parallel_tool_calls`, in the two layouts that this wire has for functions.

use crate::fields::{Fields, ParamError};
use crate::tools::{Choice, Declared, Tool, Tools, declare};
use ballast_tokens::{CallCount, CallNeed};
use serde_json::Value;

const FUNCTIONS_ONLY: &str = "tools are of type `function`";
const CHOICES: &str = "none, auto, required, or an object that names functions";

/// Where what a `type` speaks of stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// In an object of its own, as chat has it: `{"type": "function", "function": {"name": ..}}`.
    Nested,
    /// Beside the type, as responses have it: `{"type": "function", "name": ..}`.
    Flat,
}

impl Layout {
    /// The fields that belong to a type; `kind` is the object's name where it has one.
    fn fields_of(self, mut fields: Fields, kind: &str) -> Result<Fields, ParamError> {
        match self {
            Self::Flat => Ok(fields),
            Self::Nested => {
                let inner = inner(&mut fields, kind)?;
                fields.finish()?;
                Ok(inner)
            }
        }
    }

    /// # Errors
    /// The first thing that is wrong, by its name.
    pub(super) fn take(self, fields: &mut Fields) -> Result<Tools, ParamError> {
        let offered = self.functions(fields.take("tools"))?;
        let choice = fields.take("tool_choice").map_or(Ok(Choice::Auto), |choice| self.choice(choice))?;
        let count = match fields.bool("parallel_tool_calls")? {
            Some(false) => CallCount::One,
            Some(true) | None => CallCount::Many,
        };
        Tools::new(offered, &choice, count, "tool_choice")
    }

    fn functions(self, value: Option<Value>) -> Result<Vec<Tool>, ParamError> {
        declare(
            value,
            |idx| format!("tools[{idx}]"),
            |mut fields| {
                is_function(&mut fields)?;
                let mut function = self.fields_of(fields, "function")?;
                // Schemas are always kept to.
                function.bool("strict")?;
                Ok(Declared { fields: function, schema: "parameters" })
            },
        )
    }

    fn choice(self, value: Value) -> Result<Choice, ParamError> {
        match value.as_str() {
            Some("none") => return Ok(Choice::None),
            Some("auto") => return Ok(Choice::Auto),
            Some("required") => return Ok(Choice::Required),
            Some(_) => return Err(ParamError::wrong("tool_choice".to_owned(), CHOICES, &value)),
            None => {}
        }
        if !value.is_object() {
            return Err(ParamError::wrong("tool_choice".to_owned(), CHOICES, &value));
        }
        let fields = Fields::new("tool_choice".to_owned(), value)?;
        if fields.peek("type") == Some(&"allowed_tools".into()) {
            return self.allowed(fields);
        }
        Ok(Choice::Only { names: vec![self.named(fields)?], need: CallNeed::Required })
    }

    /// The function that an object names.
    fn named(self, mut fields: Fields) -> Result<String, ParamError> {
        is_function(&mut fields)?;
        let mut function = self.fields_of(fields, "function")?;
        let name = function.needed_string("name", "the name of a tool")?;
        function.finish()?;
        Ok(name)
    }

    /// `mode` and `tools` of the type `allowed_tools`.
    fn allowed(self, mut fields: Fields) -> Result<Choice, ParamError> {
        let _kind = fields.take("type");
        let mut allowed = self.fields_of(fields, "allowed_tools")?;
        let mode = allowed.needed_string("mode", "auto or required")?;
        let need = match mode.as_str() {
            "auto" => CallNeed::Optional,
            "required" => CallNeed::Required,
            _ => return Err(ParamError::wrong(allowed.name("mode"), "auto or required", &mode.into())),
        };
        let param = allowed.name("tools");
        let tools = match allowed.take("tools") {
            Some(Value::Array(tools)) if tools.len() <= crate::TOOLS_MAX => tools,
            Some(other) => return Err(ParamError::wrong(param, "an array of functions", &other)),
            None => return Err(ParamError::Missing { param, expected: "an array of functions" }),
        };
        let name = |(idx, tool): (usize, Value)| self.named(Fields::new(format!("{param}[{idx}]"), tool)?);
        let names = tools.into_iter().enumerate().map(name).collect::<Result<_, _>>()?;
        allowed.finish()?;
        Ok(Choice::Only { names, need })
    }
}

/// Tools of type `function` as chat has them, and Ollama, too.
pub(crate) fn functions(value: Option<Value>) -> Result<Vec<Tool>, ParamError> {
    Layout::Nested.functions(value)
}

pub(super) fn is_function(fields: &mut Fields) -> Result<(), ParamError> {
    match fields.string("type")?.as_deref() {
        Some("function") => Ok(()),
        Some(_) => Err(ParamError::Unsupported { param: fields.name("type"), supported: FUNCTIONS_ONLY }),
        None => Err(ParamError::Missing { param: fields.name("type"), expected: "`function`" }),
    }
}

/// The object in a field.
pub(super) fn inner(fields: &mut Fields, field: &str) -> Result<Fields, ParamError> {
    let param = fields.name(field);
    let value = fields.take(field).ok_or(ParamError::Missing { param: param.clone(), expected: "an object" })?;
    Fields::new(param, value)
}
