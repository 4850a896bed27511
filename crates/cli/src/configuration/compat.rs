//! The options that people type for llama.cpp's server, in our words. Each means what it means there, or is refused by
//! name; nothing is taken and not obeyed.

use crate::failure::Failure;
use std::ffi::OsString;

/// What becomes of an option of llama.cpp's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Ours by this name, with the value that follows, if one does.
    Ours(&'static str),
    /// Names the model, behind this prefix.
    Model(&'static str),
    /// Holds without being said; it stands alone.
    Holds,
    /// Holds if this value follows.
    HoldsAt(&'static [&'static str]),
    /// Cannot be had; why.
    Refused(&'static str),
}

/// Options that are spelled the same and mean the same need no line here.
const TABLE: [(&str, Fate); 38] = [
    ("-m", Fate::Model("")),
    ("--model", Fate::Model("")),
    ("-hf", Fate::Model("hf:")),
    ("--hf-repo", Fate::Model("hf:")),
    ("-a", Fate::Ours("--alias")),
    ("-np", Fate::Ours("--parallel")),
    ("-ctk", Fate::Ours("--cache-type")),
    ("--cache-type-k", Fate::Ours("--cache-type")),
    ("-to", Fate::Refused("--request-timeout ends requests, --stall-timeout readers that take nothing")),
    ("--timeout", Fate::Refused("--request-timeout ends requests, --stall-timeout readers that take nothing")),
    ("--log-verbosity", Fate::Refused("--log FILTER says what is logged")),
    ("-lv", Fate::Refused("--log FILTER says what is logged")),
    ("--log-disable", Fate::Holds),
    ("--metrics", Fate::Holds),
    ("--no-webui", Fate::Holds),
    ("--no-mmap", Fate::Holds),
    ("--jinja", Fate::Holds),
    ("-cb", Fate::Holds),
    ("--cont-batching", Fate::Holds),
    ("--cache-prompt", Fate::Holds),
    ("--no-context-shift", Fate::Holds),
    ("--no-warmup", Fate::Holds),
    ("-fa", Fate::HoldsAt(&["on", "auto", "1"])),
    ("--flash-attn", Fate::HoldsAt(&["on", "auto", "1"])),
    ("-ngl", Fate::HoldsAt(&["0", "auto"])),
    ("--n-gpu-layers", Fate::HoldsAt(&["0", "auto"])),
    ("--gpu-layers", Fate::HoldsAt(&["0", "auto"])),
    ("-dev", Fate::HoldsAt(&["none"])),
    ("--device", Fate::HoldsAt(&["none"])),
    ("-ctv", Fate::Refused("keys and values have one type: --cache-type")),
    ("--cache-type-v", Fate::Refused("keys and values have one type: --cache-type")),
    ("-tb", Fate::Refused("prompts and answers share the threads: --threads")),
    ("--threads-batch", Fate::Refused("prompts and answers share the threads: --threads")),
    ("-ub", Fate::Refused("a step has one size: --batch-size")),
    ("--ubatch-size", Fate::Refused("a step has one size: --batch-size")),
    ("--mlock", Fate::Refused("weights are read to memory; whether they stay there is the system's limit")),
    ("--lora", Fate::Refused("adapters are not supported")),
    ("--context-shift", Fate::Refused("a prompt that is too long is refused, never cut")),
];

/// The command line in our words.
///
/// # Errors
/// If an option cannot be had.
pub(crate) fn translate(line: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    if !line.iter().any(|word| word == super::VERB) {
        return Ok(line);
    }
    let mut words = line.into_iter();
    let mut ours = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            ours.push(word);
            ours.extend(words.by_ref());
            break;
        }
        let text = word.to_string_lossy().into_owned();
        let (name, value) = text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value)));
        match TABLE.iter().find(|(theirs, _)| *theirs == name).map(|(_, fate)| *fate) {
            None => ours.push(word),
            Some(Fate::Holds) => {}
            Some(Fate::Ours(name)) => ours.push(value.map_or(name.into(), |value| format!("{name}={value}").into())),
            Some(Fate::Model(prefix)) => {
                let value = value.map(OsString::from).or_else(|| words.next()).unwrap_or_default();
                ours.push(OsString::from_iter([OsString::from(prefix), value]));
            }
            Some(Fate::Refused(why)) => return Err(Failure::usage(format!("{name} cannot be had")).because(why)),
            Some(Fate::HoldsAt(values)) => {
                let value = value.map(OsString::from).or_else(|| words.next()).unwrap_or_default();
                if !values.iter().any(|allowed| value == *allowed) {
                    let what = format!("{name} can be {} here, got {value:?}", values.join(" or "));
                    return Err(Failure::usage(what).because("models run on the CPU, with tiled attention"));
                }
            }
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<String, Failure> {
        let words = line.split(' ').map(OsString::from).collect();
        let ours = translate(words)?;
        Ok(ours.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_of_llama_cpp_mean_what_they_mean_there() {
        let cases = [
            ("ballast serve -m a.gguf -c 4096 -np 4", "ballast serve a.gguf -c 4096 --parallel 4"),
            ("ballast serve -hf user/repo:Q8_0", "ballast serve hf:user/repo:Q8_0"),
            ("ballast serve a.gguf --jinja -fa on -ngl 0 --no-mmap --metrics", "ballast serve a.gguf"),
            ("ballast serve a.gguf -ctk=q8_0 -a tiny", "ballast serve a.gguf --cache-type=q8_0 --alias tiny"),
            ("ballast serve -- --jinja", "ballast serve -- --jinja"),
            ("ballast run a.gguf --timeout 60", "ballast run a.gguf --timeout 60"),
        ];
        for (theirs, ours) in cases {
            assert_eq!(translated(theirs).unwrap(), ours, "{theirs}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name() {
        for line in ["serve a -ngl 99", "serve a --mlock", "serve a -ub 64", "serve a --lora x", "serve a -fa off"] {
            let name = line.split(' ').nth(2).unwrap();
            let failure = translated(line).unwrap_err();
            assert!(failure.what.starts_with(name) && failure.why.is_some(), "{failure:?}");
        }
    }
}
