//! Operators on texts.

mod ngrams;

use crate::array::{Array, Shape};
use crate::error::OpError;
use crate::graph::NodeSpec;
use crate::operator::{Build, Inputs, Operator, Outputs, broadcast, one};
use crate::ops::view::{Stride, View, extent};
use crate::run::Context;

pub(super) const OPS: &[(&str, Build)] = &[
    ("StringConcat", string_concat),
    ("StringNormalizer", string_normalizer),
    ("StringSplit", string_split),
    ("TfIdfVectorizer", ngrams::tf_idf_vectorizer),
];

fn string_concat(_: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(StringConcat))
}

/// Texts of two arrays one behind the other, element by element. (ONNX `StringConcat`)
#[derive(Debug)]
struct StringConcat;

impl Operator for StringConcat {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let shape = broadcast(inputs.get(0)?.shape(), inputs.get(1)?.shape())?;
        let mut firsts: Vec<String> = context.zeros(&shape)?;
        let mut seconds: Vec<String> = context.zeros(&shape)?;
        widened(inputs.get(0)?.shape(), &shape).copy(inputs.values(0)?, &mut firsts, context.pool);
        widened(inputs.get(1)?.shape(), &shape).copy(inputs.values(1)?, &mut seconds, context.pool);
        for (first, second) in firsts.iter_mut().zip(&seconds) {
            first.push_str(second);
        }
        one(Array::new(&shape, firsts))
    }
}

/// An array of `own` shape as one of `shape`, with which it broadcasts.
fn widened(own: &[usize], shape: &[usize]) -> View {
    let mut view = View::dense(own);
    view.dims.insert_many(0, std::iter::repeat_n(Stride::new(1, 0), shape.len() - own.len()));
    for (dim, &extent) in view.dims.iter_mut().zip(shape) {
        if dim.extent != extent {
            *dim = Stride::new(extent, 0);
        }
    }
    view
}

/// What becomes of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl Case {
    fn apply(self, text: &str) -> String {
        match self {
            Self::Kept => text.to_owned(),
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
        }
    }
}

fn string_normalizer(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let case = match spec.text("case_change_action")?.unwrap_or("NONE") {
        "NONE" => Case::Kept,
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        other => return Err(NodeSpec::wrong("case_change_action", "NONE, LOWER or UPPER", other)),
    };
    let locale = spec.text("locale")?.unwrap_or_default();
    // Languages in which letters change their case in another way than Unicode says for all.
    if ["tr", "az", "lt"].iter().any(|language| locale.starts_with(language)) {
        return Err(OpError::unsupported(format!("the locale {locale:?}")));
    }
    let is_exact = spec.flag("is_case_sensitive", false)?;
    let folded = |word: &String| if is_exact { word.clone() } else { word.to_lowercase() };
    let dropped = spec.texts("stopwords")?.unwrap_or_default().iter().map(folded).collect();
    Ok(Box::new(StringNormalizer { case, is_exact, dropped }))
}

/// Texts in one case, without some words. (ONNX `StringNormalizer`)
#[derive(Debug)]
struct StringNormalizer {
    case: Case,
    is_exact: bool,
    dropped: Vec<String>,
}

impl Operator for StringNormalizer {
    fn run(&self, inputs: Inputs, _: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, texts) = (inputs.get(0)?, inputs.values::<String>(0)?);
        let is_row = match array.shape() {
            [_] => false,
            [1, _] => true,
            other => return Err(OpError::shape("texts in a row, or one row of them", other)),
        };
        let is_dropped = |text: &String| {
            if self.is_exact { self.dropped.contains(text) } else { self.dropped.contains(&text.to_lowercase()) }
        };
        let mut kept: Vec<String> =
            texts.iter().filter(|text| !is_dropped(text)).map(|text| self.case.apply(text)).collect();
        if kept.is_empty() {
            kept.push(String::new());
        }
        let len = kept.len();
        one(if is_row { Array::new(&[1, len], kept) } else { Array::new(&[len], kept) })
    }
}

fn string_split(spec: &NodeSpec<'_>) -> Result<Box<dyn Operator>, OpError> {
    let n_splits_max = spec.int("maxsplit")?.map(|max| extent(max, 0)).transpose()?;
    let delimiter = spec.text("delimiter")?.filter(|delimiter| !delimiter.is_empty()).map(str::to_owned);
    Ok(Box::new(StringSplit { delimiter, n_splits_max }))
}

/// Texts cut at a delimiter or at white space, filled up with empty ones to as many parts each. (ONNX `StringSplit`)
#[derive(Debug)]
struct StringSplit {
    delimiter: Option<String>,
    n_splits_max: Option<usize>,
}

impl Operator for StringSplit {
    fn run(&self, inputs: Inputs, context: &mut Context<'_>) -> Result<Outputs, OpError> {
        let (array, texts) = (inputs.get(0)?, inputs.values::<String>(0)?);
        let split: Vec<Vec<&str>> = texts.iter().map(|text| self.parts(text)).collect();
        let n_parts_max = split.iter().map(Vec::len).max().unwrap_or(0);
        let mut shape = Shape::from_slice(array.shape());
        shape.push(n_parts_max);
        let mut parts: Vec<String> = context.zeros(&shape)?;
        let rows = parts.chunks_mut(n_parts_max.max(1)).zip(&split);
        for (row, split) in rows {
            row.iter_mut().zip(split).for_each(|(part, text)| part.push_str(text));
        }
        let counts = split.iter().map(|parts| i64::try_from(parts.len()).unwrap_or(i64::MAX)).collect();
        let outputs = [Array::new(&shape, parts), Array::new(array.shape(), counts)];
        Ok(outputs.into_iter().map(Into::into).collect())
    }
}

impl StringSplit {
    fn parts<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let n_splits_max = self.n_splits_max.unwrap_or(usize::MAX);
        match &self.delimiter {
            Some(delimiter) => text.splitn(n_splits_max.saturating_add(1), delimiter.as_str()).collect(),
            None => words(text, n_splits_max),
        }
    }
}

/// Words of a text; after so many cuts what is left is one, white space within it included.
fn words(text: &str, n_splits_max: usize) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() {
        let end = if words.len() < n_splits_max { rest.find(char::is_whitespace) } else { None };
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

#[cfg(test)]
mod tests;
