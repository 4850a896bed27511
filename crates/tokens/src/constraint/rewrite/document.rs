//! A schema as a document: where its identifiers and anchors are, and what a reference leads to. Nothing outside of the
//! document is ever looked up.

use super::super::schema::{draft, is_old_draft};
use super::super::{ConstraintError, schema};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Keywords whose value is data, in which nothing identifies a schema.
const DATA: &[&str] = &["const", "enum", "default", "examples"];
/// Keywords whose value has a schema for each name.
const MAPS: &[&str] = &["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// The resources that were entered on the way to a schema, outermost first. Empty where no reference depends on it.
pub(super) type Scope = Rc<[usize]>;

pub(super) struct Document<'a> {
    root: &'a Value,
    is_old: bool,
    /// In it the keyword `id` does what `$id` does in others.
    is_draft_4: bool,
    resources: Vec<Resource<'a>>,
    /// The resource that an object of the document is part of.
    resource_of: HashMap<*const Value, usize>,
}

/// A schema with an identifier, and those in it that have none of their own.
struct Resource<'a> {
    uri: String,
    schema: &'a Value,
    anchors: BTreeMap<&'a str, &'a Value>,
    dynamic_anchors: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Resource<'a> {
    fn new(uri: String, schema: &'a Value) -> Self {
        Self { uri, schema, anchors: BTreeMap::new(), dynamic_anchors: BTreeMap::new() }
    }
}

impl<'a> Document<'a> {
    /// Reads the identifiers of a schema.
    ///
    /// # Errors
    /// If it is of a draft that is not known.
    pub(super) fn new(root: &'a Value) -> Result<Self, ConstraintError> {
        let draft = draft(root)?;
        let (is_old, is_draft_4) = (is_old_draft(draft), draft == schema::DRAFT_4);
        let resources = vec![Resource::new(String::new(), root)];
        let mut document = Self { root, is_old, is_draft_4, resources, resource_of: HashMap::new() };
        document.read(root, 0);
        Ok(document)
    }

    pub(super) fn root(&self) -> &'a Value {
        self.root
    }

    pub(super) fn is_old(&self) -> bool {
        self.is_old
    }

    /// The scope at the outermost schema.
    pub(super) fn outermost(&self) -> Scope {
        if self.is_dynamic() { Rc::new([0]) } else { Rc::new([]) }
    }

    /// The scope in a schema that is reached from elsewhere.
    pub(super) fn entered(&self, scope: &Scope, schema: &Value) -> Scope {
        let resource = self.resource_of(schema);
        if !self.is_dynamic() || scope.contains(&resource) {
            return Rc::clone(scope);
        }
        scope.iter().copied().chain([resource]).collect()
    }

    /// The place of a schema, as a JSON pointer.
    pub(super) fn pointer(&self, schema: &Value) -> String {
        find(self.root, schema, "").unwrap_or_default()
    }

    /// What a reference in a schema leads to.
    pub(super) fn target(&self, schema: &Value, reference: &str) -> Option<&'a Value> {
        let base = &self.resources[self.resource_of(schema)];
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = if uri.is_empty() {
            base
        } else {
            let uri = joined(&base.uri, uri);
            self.resources.iter().find(|resource| resource.uri == uri)?
        };
        let fragment = percent_decoded(fragment)?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return resource.schema.pointer(&fragment);
        }
        let anchor = fragment.as_str();
        resource.anchors.get(anchor).or_else(|| resource.dynamic_anchors.get(anchor)).copied()
    }

    /// What a dynamic reference leads to: where it leads to a dynamic anchor, the one of that name in the outermost
    /// resource that has one (JSON Schema 2020-12, core, section 8.2.3.2).
    pub(super) fn dynamic_target(&self, schema: &Value, reference: &str, scope: &Scope) -> Option<&'a Value> {
        let target = self.target(schema, reference)?;
        let (_, name) = reference.split_once('#')?;
        let is_dynamic = target.get("$dynamicAnchor").and_then(Value::as_str) == Some(name);
        if !is_dynamic {
            return Some(target);
        }
        let outermost = scope.iter().find_map(|resource| self.resources[*resource].dynamic_anchors.get(name));
        Some(outermost.copied().unwrap_or(target))
    }

    fn is_dynamic(&self) -> bool {
        self.resources.iter().any(|resource| !resource.dynamic_anchors.is_empty())
    }

    fn resource_of(&self, schema: &Value) -> usize {
        self.resource_of.get(&std::ptr::from_ref(schema)).copied().unwrap_or(0)
    }

    fn read(&mut self, value: &'a Value, within: usize) {
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Array(items) => return items.iter().for_each(|item| self.read(item, within)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
        };
        let within = self.identify(value, within);
        self.resource_of.insert(std::ptr::from_ref(value), within);
        for (keyword, value) in fields {
            let by_name = value.as_object().filter(|_| MAPS.contains(&keyword.as_str()));
            if let Some(schemas) = by_name {
                schemas.values().for_each(|schema| self.read(schema, within));
            } else if !DATA.contains(&keyword.as_str()) {
                self.read(value, within);
            }
        }
    }

    /// Takes an object's identifier and anchors. Returns the resource that it is part of.
    fn identify(&mut self, schema: &'a Value, within: usize) -> usize {
        let word = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
        let id = word(if self.is_draft_4 { "id" } else { "$id" });
        let mut resource = within;
        match id.map(|id| id.split_once('#').unwrap_or((id, ""))) {
            Some(("", anchor)) if !anchor.is_empty() => {
                self.resources[within].anchors.insert(anchor, schema);
            }
            Some((id, _)) if !id.is_empty() => {
                let uri = joined(&self.resources[within].uri, id);
                if std::ptr::eq(schema, self.root) {
                    self.resources[0].uri = uri;
                } else {
                    self.resources.push(Resource::new(uri, schema));
                    resource = self.resources.len() - 1;
                }
            }
            Some(_) | None => {}
        }
        if let Some(anchor) = word("$anchor") {
            self.resources[resource].anchors.insert(anchor, schema);
        }
        if let Some(anchor) = word("$dynamicAnchor") {
            self.resources[resource].dynamic_anchors.insert(anchor, schema);
        }
        resource
    }
}

fn find(within: &Value, schema: &Value, pointer: &str) -> Option<String> {
    if std::ptr::eq(within, schema) {
        return Some(pointer.to_owned());
    }
    let below = |name: &str, value| find(value, schema, &format!("{pointer}/{name}"));
    match within {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| below(name, value)),
        Value::Array(items) => items.iter().enumerate().find_map(|(idx, value)| below(&idx.to_string(), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// A reference without a fragment, taken from where a base is. Enough of RFC 3986, section 5.2 for identifiers: dots in a
/// path are taken as they are.
fn joined(base: &str, reference: &str) -> String {
    let scheme = reference.split_once(':').map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| !scheme.is_empty() && !scheme.contains('/')) {
        return reference.to_owned();
    }
    let path_at = match base.find("://") {
        Some(at) => base[at + 3..].find('/').map_or(base.len(), |slash| at + 3 + slash),
        None => 0,
    };
    if reference.starts_with('/') {
        return format!("{}{reference}", &base[..path_at]);
    }
    match base[path_at..].rfind('/') {
        Some(slash) => format!("{}/{reference}", &base[..path_at + slash]),
        None if path_at > 0 => format!("{base}/{reference}"),
        None => reference.to_owned(),
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{joined, percent_decoded};

    #[test]
    fn references_are_taken_from_where_their_base_is() {
        for (base, reference, expected) in [
            ("", "item.json", "item.json"),
            ("", "http://example.com/a", "http://example.com/a"),
            ("http://example.com/a/b.json", "c.json", "http://example.com/a/c.json"),
            ("http://example.com/a/b.json", "/c.json", "http://example.com/c.json"),
            ("http://example.com", "c.json", "http://example.com/c.json"),
            ("urn:example:root", "urn:example:other", "urn:example:other"),
            ("folder/root.json", "other.json", "folder/other.json"),
        ] {
            assert_eq!(joined(base, reference), expected, "{base} {reference}");
        }
        assert_eq!(percent_decoded("/a%25b").as_deref(), Some("/a%b"));
        assert_eq!(percent_decoded("%2"), None);
    }
}
