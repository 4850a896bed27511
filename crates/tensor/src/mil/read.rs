//! Reads programs from untrusted bytes. (Field numbers as in `MIL.proto`.)

use super::{
    Binding, Block, Content, ElementType, Function, Literal, Named, Numbers, Operation, Program, TensorType, Type,
};
use crate::error::GraphError;
use crate::protobuf::{Field, Message};
use ballast_backend::RANK_MAX;
use std::collections::BTreeMap;

/// Bounds of what a program consists of, counted down while it is read.
#[derive(Debug)]
pub(crate) struct Budget {
    operations: Allowance,
    parts: Allowance,
}

/// Of one thing, so many.
#[derive(Debug)]
struct Allowance {
    what: &'static str,
    max: usize,
    left: usize,
}

impl Allowance {
    fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, left: max }
    }

    fn take(&mut self) -> Result<(), GraphError> {
        let more =
            || GraphError::TooMany { what: self.what.to_owned(), max: self.max as u64, got: self.max as u64 + 1 };
        self.left = self.left.checked_sub(1).ok_or_else(more)?;
        Ok(())
    }
}

impl Budget {
    pub(crate) fn new(operations_max: usize, parts_max: usize) -> Self {
        Self {
            operations: Allowance::new("operations", operations_max),
            parts: Allowance::new("parts of operations", parts_max),
        }
    }
}

impl Program {
    /// Reads a program.
    pub(crate) fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        let mut program = Self::default();
        for field in message.fields() {
            let field = field?;
            if field.number == 2 {
                let (name, value) = entry(field, "function", budget)?;
                program.functions.insert(name, Function::read(value, budget)?);
            }
        }
        Ok(program)
    }
}

/// An entry of a map: a name, and the message that it stands for.
fn entry<'a>(field: Field<'a>, what: &'static str, budget: &mut Budget) -> Result<(String, Message<'a>), GraphError> {
    budget.parts.take()?;
    let message = field.message(what)?;
    let (mut name, mut value) = (String::new(), Message::new(&[], what));
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => value = field.message(what)?,
            _ => {}
        }
    }
    Ok((name, value))
}

impl Function {
    fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        let mut function = Self::default();
        let mut blocks: BTreeMap<String, Block> = BTreeMap::new();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => function.inputs.push(Named::read(field.message("input of a function")?, budget)?),
                2 => function.opset = field.text()?,
                3 => {
                    let (opset, block) = entry(field, "block", budget)?;
                    blocks.insert(opset, Block::read(block, budget)?);
                }
                _ => {}
            }
        }
        let missing = || message.malformed(format!("a block for {:?}", function.opset), format!("{:?}", blocks.keys()));
        function.block = blocks.get(&function.opset).cloned().ok_or_else(missing)?;
        Ok(function)
    }
}

impl Block {
    fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        let mut block = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => block.inputs.push(Named::read(field.message("input of a block")?, budget)?),
                2 => {
                    budget.parts.take()?;
                    block.outputs.push(field.text()?);
                }
                3 => block.operations.push(Operation::read(field.message("operation")?, budget)?),
                _ => {}
            }
        }
        Ok(block)
    }
}

impl Operation {
    fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        budget.operations.take()?;
        let mut operation = Self::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => operation.kind = field.text()?,
                2 => {
                    let (name, value) = entry(field, "input of an operation", budget)?;
                    operation.inputs.insert(name, argument(value, budget)?);
                }
                3 => operation.outputs.push(Named::read(field.message("output of an operation")?, budget)?),
                4 => operation.blocks.push(Block::read(field.message("block of an operation")?, budget)?),
                5 => {
                    let (name, value) = entry(field, "attribute of an operation", budget)?;
                    operation.attributes.insert(name, Literal::read(value, budget)?);
                }
                _ => {}
            }
        }
        Ok(operation)
    }
}

fn argument(message: Message<'_>, budget: &mut Budget) -> Result<Vec<Binding>, GraphError> {
    let mut bindings = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        budget.parts.take()?;
        let mut binding = None;
        for field in field.message("binding")?.fields() {
            let field = field?;
            match field.number {
                1 => binding = Some(Binding::Name(field.text()?)),
                2 => binding = Some(Binding::Literal(Literal::read(field.message("value")?, budget)?)),
                _ => {}
            }
        }
        bindings.push(binding.ok_or_else(|| message.malformed("a name or a value", "neither"))?);
    }
    Ok(bindings)
}

impl Named {
    fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        budget.parts.take()?;
        let (mut name, mut of) = (String::new(), Type::Nothing);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => name = field.text()?,
                2 => of = Type::read(field.message("type")?)?,
                _ => {}
            }
        }
        Ok(Self { name, of })
    }
}

impl Type {
    fn read(message: Message<'_>) -> Result<Self, GraphError> {
        let mut of = Self::Nothing;
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => of = Self::Tensor(TensorType::read(field.message("tensor type")?)?),
                2 => of = Self::List(Box::new(wrapped(field.message("list type")?)?)),
                3 => of = Self::Tuple,
                4 => of = Self::Dictionary,
                5 => {
                    let kept = wrapped(field.message("state type")?)?;
                    let Self::Tensor(tensor) = kept else {
                        return Err(message.malformed("a state that is a tensor", kept.kind()));
                    };
                    of = Self::State(tensor);
                }
                _ => {}
            }
        }
        Ok(of)
    }
}

/// The type in a list's or a state's.
fn wrapped(message: Message<'_>) -> Result<Type, GraphError> {
    let mut of = Type::Nothing;
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            of = Type::read(field.message("type within a type")?)?;
        }
    }
    Ok(of)
}

impl TensorType {
    fn read(message: Message<'_>) -> Result<Self, GraphError> {
        let (mut code, mut dims) = (0, Vec::new());
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => code = field.int()?,
                3 if dims.len() == RANK_MAX => {
                    let what = "dimensions of a tensor".to_owned();
                    return Err(GraphError::TooMany { what, max: RANK_MAX as u64, got: RANK_MAX as u64 + 1 });
                }
                3 => dims.push(dimension(field.message("dimension")?)?),
                _ => {}
            }
        }
        let unknown = || GraphError::Unsupported { what: vec![format!("tensors of the type {code}")] };
        Ok(Self { element: ElementType::of_code(code).ok_or_else(unknown)?, dims })
    }
}

/// An extent, or `None` where it is not told.
fn dimension(message: Message<'_>) -> Result<Option<usize>, GraphError> {
    let mut dim = None;
    for field in message.fields() {
        let field = field?;
        match field.number {
            // A message of which nothing is written says 0.
            1 => {
                let mut extent = 0;
                for field in field.message("constant dimension")?.fields() {
                    let field = field?;
                    if field.number == 1 {
                        extent = field.int()?;
                    }
                }
                let size = usize::try_from(extent).map_err(|_| message.malformed("an extent", extent.to_string()))?;
                dim = Some(size);
            }
            2 => {
                for field in field.message("unknown dimension")?.fields() {
                    let field = field?;
                    if field.number == 1 && field.int()? != 0 {
                        return Err(GraphError::Unsupported { what: vec!["tensors of no fixed rank".to_owned()] });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(dim)
}

impl Literal {
    fn read(message: Message<'_>, budget: &mut Budget) -> Result<Self, GraphError> {
        let (mut of, mut content) = (Type::Nothing, None);
        for field in message.fields() {
            let field = field?;
            match field.number {
                2 => of = Type::read(field.message("type of a value")?)?,
                3 => content = Some(immediate(field.message("immediate value")?, budget)?),
                5 => content = Some(place(field.message("place of a value")?)?),
                _ => {}
            }
        }
        Ok(Self { of, content: content.unwrap_or(Content::Other) })
    }
}

fn place(message: Message<'_>) -> Result<Content, GraphError> {
    let (mut name, mut offset) = (String::new(), 0);
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            2 => offset = field.int()?.cast_unsigned(),
            _ => {}
        }
    }
    Ok(Content::File { name, offset })
}

fn immediate(message: Message<'_>, budget: &mut Budget) -> Result<Content, GraphError> {
    let mut content = Content::Other;
    for field in message.fields() {
        let field = field?;
        match field.number {
            1 => content = Content::Here(numbers(field.message("tensor value")?)?),
            3 => content = list(field.message("list value")?, budget)?,
            _ => {}
        }
    }
    Ok(content)
}

/// A list whose elements are single texts or integers.
fn list(message: Message<'_>, budget: &mut Budget) -> Result<Content, GraphError> {
    let (mut texts, mut ints) = (Vec::new(), Vec::new());
    for field in message.fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        budget.parts.take()?;
        let Content::Here(numbers) = Literal::read(field.message("value in a list")?, budget)?.content else {
            return Ok(Content::Other);
        };
        let is_one = numbers.len() == 1;
        if let (Numbers::Texts(of), true) = (&numbers, is_one) {
            texts.extend_from_slice(of);
        } else if let (Numbers::Ints(of), true) = (&numbers, is_one) {
            ints.extend_from_slice(of);
        } else {
            return Ok(Content::Other);
        }
    }
    Ok(match (texts.is_empty(), ints.is_empty()) {
        (_, true) => Content::Texts(texts),
        (true, false) => Content::Numbers(ints),
        (false, false) => Content::Other,
    })
}

fn numbers(message: Message<'_>) -> Result<Numbers, GraphError> {
    let mut numbers = Numbers::Bytes(Vec::new());
    for field in message.fields() {
        let field = field?;
        let repeated = field.message("elements of a tensor")?;
        numbers = match field.number {
            1 => Numbers::Floats(repeated_values(repeated, |field, values| field.floats(values))?),
            2 | 5 => Numbers::Ints(repeated_values(repeated, |field, values| field.ints(values))?),
            3 => {
                let ints: Vec<i64> = repeated_values(repeated, |field, values| field.ints(values))?;
                Numbers::Bools(ints.into_iter().map(|value| value != 0).collect())
            }
            4 => Numbers::Texts(repeated_values(repeated, |field, values| {
                values.push(field.text()?);
                Ok(())
            })?),
            6 => Numbers::Doubles(repeated_values(repeated, |field, values| field.doubles(values))?),
            7 => Numbers::Bytes(repeated_values(repeated, |field, values| {
                values.extend_from_slice(field.bytes()?);
                Ok(())
            })?),
            _ => numbers,
        };
    }
    Ok(numbers)
}

fn repeated_values<T>(
    message: Message<'_>,
    add: impl Fn(&Field<'_>, &mut Vec<T>) -> Result<(), GraphError>,
) -> Result<Vec<T>, GraphError> {
    let mut values = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number == 1 {
            add(&field, &mut values)?;
        }
    }
    Ok(values)
}
