//! What the rules want to know about a Rust file, read once from its syntax tree and its tokens.
//!
//! The tree knows functions and tests; the tokens also know what is inside of macros, where the tree ends.

use proc_macro2::{TokenStream, TokenTree};
use std::ops::RangeInclusive;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Facts about one Rust file. Lines count from 1.
#[derive(Default)]
pub(crate) struct RustFacts {
    /// The whole file is test code.
    pub(crate) is_test: bool,
    /// Lines of items that are compiled for tests only.
    pub(crate) test_lines: Vec<RangeInclusive<usize>>,
    /// Every function with a body and every `macro_rules`, in tests too.
    pub(crate) functions: Vec<Function>,
    /// `#![forbid(unsafe_code)]` stands in the file.
    pub(crate) forbids_unsafe: bool,
    /// Lines of every `unsafe`, less those of function pointers' types and of methods that implement a trait: what
    /// such a method demands is said at the trait, and why it is sound at the `unsafe impl`.
    pub(crate) unsafe_lines: Vec<usize>,
    /// Names and lines of macro calls.
    pub(crate) macro_calls: Vec<(String, usize)>,
    /// Names of the tests inside of `proptest!`, which no parser of Rust sees as functions.
    pub(crate) property_tests: Vec<String>,
    /// Lines of signatures and fields with a lock behind an `Arc`.
    pub(crate) shared_locks: Vec<usize>,
}

/// A function, or the definition of a macro.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: RangeInclusive<usize>,
}

impl Function {
    pub(crate) fn n_lines(&self) -> usize {
        self.lines.end() - self.lines.start() + 1
    }
}

impl RustFacts {
    /// Reads the facts of the file `text` at `path`.
    pub(crate) fn read(path: &str, text: &str) -> Result<Self, syn::Error> {
        let tokens: TokenStream = text.parse()?;
        let tree = syn::parse_file(text)?;
        let mut facts = Self { is_test: is_test_path(path) || is_for_tests(&tree.attrs), ..Self::default() };
        facts.forbids_unsafe = tree.attrs.iter().any(|a| a.path().is_ident("forbid") && has_word(a, "unsafe_code"));
        facts.read_tokens(tokens);
        facts.visit_file(&tree);
        Ok(facts)
    }

    /// Whether `line` is test code.
    pub(crate) fn in_test(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    fn add_function(&mut self, name: &syn::Ident, lines: RangeInclusive<usize>) {
        self.functions.push(Function { name: name.to_string(), lines });
    }

    fn add_test(&mut self, attrs: &[syn::Attribute], item: &impl Spanned) {
        if is_for_tests(attrs) {
            self.test_lines.push(item.span().start().line..=item.span().end().line);
        }
    }

    fn read_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (idx, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "unsafe" && !is_pointer_type(&tokens[idx + 1..]) => {
                    self.unsafe_lines.push(word.span().start().line);
                }
                TokenTree::Ident(word) if is_punct(tokens.get(idx + 1), '!') => {
                    self.macro_calls.push((word.to_string(), word.span().start().line));
                }
                TokenTree::Group(group) => self.read_tokens(group.stream()),
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// Every word that follows an `fn` on the outermost level.
fn names_after_fn(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let pairs = tokens.windows(2);
    pairs.filter(|pair| is_word(&pair[0], "fn")).map(|pair| pair[1].to_string()).collect()
}

fn is_word(token: &TokenTree, expected: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == expected)
}

impl<'ast> Visit<'ast> for RustFacts {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.add_test(&item.attrs, item);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.add_test(&item.attrs, item);
        if item.trait_.is_some() {
            self.unsafe_lines.retain(|line| !unsafe_methods(item).any(|method| method == *line));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add_test(&item.attrs, item);
        self.add_function(&item.sig.ident, first_line(&item.sig)..=last_line(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add_test(&item.attrs, item);
        self.add_function(&item.sig.ident, first_line(&item.sig)..=last_line(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add_function(&item.sig.ident, first_line(&item.sig)..=last_line(body));
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.add_function(name, first_line(&item.mac)..=last_line(&item.mac));
        }
        if item.mac.path.segments.last().is_some_and(|segment| segment.ident == "proptest") {
            self.property_tests.extend(names_after_fn(item.mac.tokens.clone()));
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let mut locks = SharedLocks::default();
        locks.visit_signature(signature);
        self.shared_locks.extend(locks.lines);
        visit::visit_signature(self, signature);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        let mut locks = SharedLocks::default();
        locks.visit_field(field);
        self.shared_locks.extend(locks.lines);
        visit::visit_field(self, field);
    }
}

/// Finds `Arc<Mutex<_>>` and `Arc<RwLock<_>>` in a piece of the tree.
#[derive(Default)]
struct SharedLocks {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for SharedLocks {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if segment.ident == "Arc"
            && let syn::PathArguments::AngleBracketed(inner) = &segment.arguments
            && let Some(syn::GenericArgument::Type(syn::Type::Path(inner))) = inner.args.first()
            && inner.path.segments.last().is_some_and(|s| s.ident == "Mutex" || s.ident == "RwLock")
        {
            self.lines.push(segment.ident.span().start().line);
        }
        visit::visit_path_segment(self, segment);
    }
}

/// Lines of the `unsafe` of a block's methods.
fn unsafe_methods(block: &syn::ItemImpl) -> impl Iterator<Item = usize> {
    block.items.iter().filter_map(|item| {
        let syn::ImplItem::Fn(method) = item else { return None };
        let syn::Safety::Unsafe(word) = method.sig.safety else { return None };
        Some(word.span.start().line)
    })
}

fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// Whether an item with these attributes is compiled for tests only.
fn is_for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs
        .iter()
        .any(|a| a.path().is_ident("test") || (a.path().is_ident("cfg") && has_word(a, "test") && !has_word(a, "not")))
}

/// Whether `word` is among the attribute's arguments.
fn has_word(attr: &syn::Attribute, word: &str) -> bool {
    fn search(tokens: TokenStream, word: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == word,
            TokenTree::Group(group) => search(group.stream(), word),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    attr.meta.require_list().is_ok_and(|list| search(list.tokens.clone(), word))
}

/// Whether what follows an `unsafe` makes it part of a type: `unsafe [extern "C"] fn(..)`.
fn is_pointer_type(rest: &[TokenTree]) -> bool {
    let is_word = |token: &TokenTree, word: &str| matches!(token, TokenTree::Ident(i) if i == word);
    match rest {
        [word, TokenTree::Group(_), ..] => is_word(word, "fn"),
        [ext, TokenTree::Literal(_), word, TokenTree::Group(_), ..] => is_word(ext, "extern") && is_word(word, "fn"),
        _ => false,
    }
}

fn is_punct(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == sign)
}

fn first_line(piece: &impl Spanned) -> usize {
    piece.span().start().line
}

fn last_line(piece: &impl Spanned) -> usize {
    piece.span().end().line
}

#[cfg(test)]
mod tests {
    use super::RustFacts;

    fn facts(text: &str) -> RustFacts {
        RustFacts::read("src/a.rs", text).unwrap()
    }

    #[test]
    fn functions_are_found_where_they_hide() {
        let f =
            facts("fn a() {\n}\nimpl X { fn b(&self) {} }\ntrait T { fn c() {} fn d(); }\nmacro_rules! e { () => {} }");
        let names: Vec<&str> = f.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "e"]);
        assert_eq!(f.functions[0].n_lines(), 2);
    }

    #[test]
    fn lines_of_tests_are_known() {
        let f = facts("fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\n#[cfg(not(test))]\nfn c() {}");
        let tested: Vec<bool> = (1..=7).map(|line| f.in_test(line)).collect();
        assert_eq!(tested, [false, true, true, true, true, false, false]);
    }

    #[test]
    fn unsafe_is_found_in_macros_but_not_in_pointer_types() {
        let f = facts(
            "type P = unsafe fn(u8);\ntype Q = unsafe extern \"C\" fn(u8);\nmacro_rules! m { () => {\nunsafe { x() } } }",
        );
        assert_eq!(f.unsafe_lines, [4]);
    }

    #[test]
    fn shared_locks_are_found_in_signatures_and_fields_only() {
        let f = facts(
            "fn a(x: Arc<Mutex<u8>>) {\n let y: Arc<Mutex<u8>> = x; }\nstruct S { z: std::sync::Arc<std::sync::RwLock<u8>> }",
        );
        assert_eq!(f.shared_locks, [1, 3]);
    }
}
