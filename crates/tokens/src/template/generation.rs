//! `{% generation %}` blocks, which mark the assistant's words for training, become plain scopes.
//!
//! The template engine does not know the tag, so the source is rewritten before it is parsed: `generation` to `with`
//! and `endgeneration` to `endwith`, which have the same scope and the same whitespace rules. Lines stay the same.

/// The source with every generation tag as a `with` tag.
pub(super) fn strip(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (text, tag) = rest.split_at(start);
        out.push_str(text);
        rest = if let Some(body) = tag.strip_prefix("{%") {
            out.push_str("{%");
            block(body, &mut out)
        } else {
            copy(tag, if tag.starts_with("{#") { tag.find("#}").unwrap_or(tag.len()) } else { 1 }, &mut out)
        };
    }
    out.push_str(rest);
    out
}

/// Copies a block tag from behind its `{%`, with the tag's name replaced where it is one of ours.
fn block<'a>(body: &'a str, out: &mut String) -> &'a str {
    let name_start = body.len() - body.trim_start_matches(|c: char| c.is_whitespace() || c == '-' || c == '+').len();
    let name_len =
        body[name_start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len() - name_start);
    let after = &body[name_start + name_len..];
    out.push_str(&body[..name_start]);
    match &body[name_start..name_start + name_len] {
        "generation" => out.push_str("with"),
        "endgeneration" => out.push_str("endwith"),
        "raw" => {
            out.push_str("raw");
            return copy(after, end_of_raw(after), out);
        }
        other => out.push_str(other),
    }
    copy(after, end_of_tag(after), out)
}

/// Length of what stands before the tag that ends a raw block.
fn end_of_raw(text: &str) -> usize {
    let is_end = |&(idx, _): &(usize, &str)| {
        let tag = text[idx + 2..].trim_start_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        tag.starts_with("endraw")
    };
    text.match_indices("{%").find(is_end).map_or(text.len(), |(idx, _)| idx)
}

/// Length of the rest of a block tag; a `%}` inside a string does not end it.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((idx, c)) = chars.next() {
        match quote {
            None if text[idx..].starts_with("%}") => return idx,
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(_) if c == '\\' => drop(chars.next()),
            Some(open) if c == open => quote = None,
            None | Some(_) => {}
        }
    }
    text.len()
}

fn copy<'a>(text: &'a str, len: usize, out: &mut String) -> &'a str {
    out.push_str(&text[..len]);
    &text[len..]
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn template_generation_tags_become_scopes_and_nothing_else_changes() {
        let cases = [
            ("{% generation %}x{% endgeneration %}", "{% with %}x{% endwith %}"),
            ("{%- generation -%}\nx{%-\nendgeneration\n-%}", "{%- with -%}\nx{%-\nendwith\n-%}"),
            ("{%generation%}{%+ endgeneration %}", "{%with%}{%+ endwith %}"),
            ("{% if generation %}{{ generation }}{% endif %}", "{% if generation %}{{ generation }}{% endif %}"),
            ("{# {% generation %} #}{% set x = 1 %}", "{# {% generation %} #}{% set x = 1 %}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{% set x = '{% generation %}' %}", "{% set x = '{% generation %}' %}"),
            ("{% set x = 'it\\'s %}{% generation %}' %}", "{% set x = 'it\\'s %}{% generation %}' %}"),
            ("{% generationx %}", "{% generationx %}"),
            ("{% ", "{% "),
            ("{%", "{%"),
            ("{ {% generation", "{ {% with"),
            ("{% raw %}{% gen", "{% raw %}{% gen"),
            ("{# open", "{# open"),
        ];
        for (source, expected) in cases {
            assert_eq!(strip(source), expected, "{source}");
        }
    }
}
