//! Which of several GGUF files a name means: shards are put together, then the quantisation decides. Never a guess:
//! what fits twice is reported with the candidates.

use std::collections::BTreeMap;

use crate::name::{Pick, has_gguf_extension};

/// The order in which a default is chosen: first what keeps quality at about half a byte per weight, then smaller
/// losses, then whole numbers. A quantisation that is not listed has to be asked for.
pub const PREFERENCE: &[&str] =
    &["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q5_K_S", "Q4_1", "Q4_0", "Q5_1", "Q5_0", "Q6_K", "Q8_0", "F16", "BF16", "F32"];

/// Most parts looked for beside a given one; the largest public models have a few dozen.
const SHARDS_MAX: usize = 1000;

/// Why no model was chosen. The strings name candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    None { candidates: Vec<String> },
    Several { candidates: Vec<String> },
    MissingShards { file: String, have: usize, want: usize },
}

/// A whole model among files: its first file's path and the indices of all, in shard order.
#[derive(Debug)]
struct Candidate<'a> {
    path: &'a str,
    quant: Option<String>,
    files: Vec<usize>,
    shards: usize,
}

/// Chooses among `paths` (relative, `/`-separated); gives the indices of the model's files in shard order.
pub(crate) fn choose(paths: &[&str], pick: &Pick) -> Result<Vec<usize>, NoChoice> {
    let candidates = candidates(paths);
    let chosen = match pick {
        Pick::File(file) => by_file(&candidates, paths, file)?,
        Pick::Quant(quant) => by_quant(&candidates, quant)?,
        Pick::Default => by_default(&candidates)?,
    };
    if chosen.files.len() != chosen.shards {
        let (have, want) = (chosen.files.len(), chosen.shards);
        return Err(NoChoice::MissingShards { file: chosen.path.to_owned(), have, want });
    }
    Ok(chosen.files.clone())
}

fn by_file<'a, 'p>(candidates: &'a [Candidate<'p>], paths: &[&str], file: &str) -> Result<&'a Candidate<'p>, NoChoice> {
    let has = |c: &&Candidate<'p>| c.files.iter().any(|&idx| paths[idx] == file);
    candidates.iter().find(has).ok_or_else(|| NoChoice::None { candidates: names(candidates.iter()) })
}

fn by_quant<'a, 'p>(candidates: &'a [Candidate<'p>], quant: &str) -> Result<&'a Candidate<'p>, NoChoice> {
    let fits = |c: &&Candidate<'p>| !is_side_file(c.path) && carries(c, quant);
    only(candidates.iter().filter(fits).collect()).map_err(|several| several.unwrap_or_else(|| none(candidates)))
}

fn by_default<'a, 'p>(candidates: &'a [Candidate<'p>]) -> Result<&'a Candidate<'p>, NoChoice> {
    let models: Vec<_> = candidates.iter().filter(|c| !is_side_file(c.path)).collect();
    if let [one] = models[..] {
        return Ok(one);
    }
    for wanted in PREFERENCE {
        let fits = models.iter().copied().filter(|c| c.quant.as_deref() == Some(wanted)).collect();
        match only(fits) {
            Ok(one) => return Ok(one),
            Err(Some(several)) => return Err(several),
            Err(None) => {}
        }
    }
    if models.is_empty() {
        Err(none(candidates))
    } else {
        Err(NoChoice::Several { candidates: names(models.into_iter()) })
    }
}

/// The only one; otherwise the several that are there, or nothing.
fn only<'a, 'p>(mut fits: Vec<&'a Candidate<'p>>) -> Result<&'a Candidate<'p>, Option<NoChoice>> {
    match fits.len() {
        1 => Ok(fits.remove(0)),
        0 => Err(None),
        _ => Err(Some(NoChoice::Several { candidates: names(fits.into_iter()) })),
    }
}

fn none(candidates: &[Candidate<'_>]) -> NoChoice {
    NoChoice::None { candidates: names(candidates.iter()) }
}

fn names<'a, 'p: 'a>(candidates: impl Iterator<Item = &'a Candidate<'p>>) -> Vec<String> {
    candidates.map(|c| c.path.to_owned()).collect()
}

/// Projectors and importance matrices are GGUF files too, but no models.
fn is_side_file(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    file.starts_with("mmproj") || file.contains("-mmproj") || file.contains("imatrix")
}

/// True when the file name, or the directory it lies in, has `quant` as a whole part, in any case.
fn carries(candidate: &Candidate<'_>, quant: &str) -> bool {
    let is_label = candidate.quant.as_deref().is_some_and(|label| label.eq_ignore_ascii_case(quant));
    let (stem, wanted) = (stem(candidate.path).to_ascii_lowercase(), quant.to_ascii_lowercase());
    let is_part = stem.match_indices(&wanted).any(|(at, found)| {
        let before = stem[..at].chars().next_back().is_none_or(|c| "./-".contains(c));
        let after = stem[at + found.len()..].chars().next().is_none_or(|c| "./-".contains(c));
        before && after
    });
    is_label || is_part
}

fn candidates<'p>(paths: &[&'p str]) -> Vec<Candidate<'p>> {
    let mut groups: BTreeMap<(&str, usize), Vec<(usize, usize)>> = BTreeMap::new();
    for (idx, path) in paths.iter().enumerate().filter(|(_, path)| has_gguf_extension(path)) {
        let (number, total) = shard(path).unwrap_or((1, 1));
        groups.entry((stem(path), total)).or_default().push((number, idx));
    }
    let whole = |((stem, shards), mut files): ((&str, usize), Vec<(usize, usize)>)| {
        files.sort_unstable();
        files.dedup_by_key(|(number, _)| *number);
        let files: Vec<usize> = files.into_iter().map(|(_, idx)| idx).collect();
        Candidate { path: paths[files[0]], quant: label(stem), files, shards }
    };
    groups.into_iter().map(whole).collect()
}

/// The path without `.gguf` and without `-00001-of-0000N`.
fn stem(path: &str) -> &str {
    let stem = &path[..path.len() - ".gguf".len()];
    if shard(path).is_some() { &stem[..stem.len() - "-00001-of-00002".len()] } else { stem }
}

/// Number and total of a shard named `...-00001-of-0000N.gguf`.
fn shard(path: &str) -> Option<(usize, usize)> {
    let stem = path.get(..path.len().checked_sub(".gguf".len())?)?;
    let tail = stem.get(stem.len().checked_sub("-00001-of-00002".len())?..)?;
    let (number, total) = tail.strip_prefix('-')?.split_once("-of-")?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(number) || !digits(total) {
        return None;
    }
    let (number, total) = (number.parse().ok()?, total.parse().ok()?);
    (1..=total).contains(&number).then_some((number, total))
}

/// The names of all shards of the model that the file `name` is a part of; none where it is no shard.
pub(crate) fn shard_names(name: &str) -> Vec<String> {
    let Some((_, total)) = shard(name).filter(|(_, total)| *total <= SHARDS_MAX) else { return Vec::new() };
    let (stem, extension) = (stem(name), &name[name.len() - ".gguf".len()..]);
    (1..=total).map(|number| format!("{stem}-{number:05}-of-{total:05}{extension}")).collect()
}

/// The quantisation in a stem, upper case: the last part of the file name that looks like one, else of the directory.
fn label(stem: &str) -> Option<String> {
    stem.rsplit('/').find_map(|component| {
        let upper = component.to_ascii_uppercase();
        let part = upper.split(['.', '-']).rev().find_map(quant_in);
        part.map(str::to_owned)
    })
}

/// The quantisation at the end of a part: the part itself, or what follows its name in `name_q4_k_m`.
fn quant_in(part: &str) -> Option<&str> {
    let starts = std::iter::once(0).chain(part.match_indices('_').map(|(at, _)| at + 1));
    starts.map(|at| &part[at..]).find(|text| is_quant_label(text))
}

fn is_quant_label(text: &str) -> bool {
    if matches!(text, "F16" | "F32" | "BF16" | "FP16" | "FP32") {
        return true;
    }
    let digits = ["IQ", "TQ", "Q", "MXFP"].iter().find_map(|prefix| text.strip_prefix(prefix));
    digits.is_some_and(|rest| {
        rest.starts_with(|c: char| ('1'..='8').contains(&c)) && (rest.len() == 1 || rest[1..].starts_with('_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPO: &[&str] = &[
        "README.md",
        "Model.IQ4_XS.gguf",
        "Model.Q4_K_M.gguf",
        "Model.Q8_0.gguf",
        "big/Model-f16-00002-of-00002.gguf",
        "big/Model-f16-00001-of-00002.gguf",
        "mmproj-Model-Q5_0.gguf",
        "model_q5_k_m.gguf",
        "Model-UD-Q6_K_XL.gguf",
        "cut-Q2_K-00001-of-00003.gguf",
    ];

    fn chosen(paths: &[&str], pick: Pick) -> Result<Vec<String>, NoChoice> {
        choose(paths, &pick).map(|files| files.into_iter().map(|idx| paths[idx].to_owned()).collect())
    }

    #[test]
    fn finds_the_quantisation_that_was_asked_for() {
        let cases = [
            ("Q8_0", "Model.Q8_0.gguf"),
            ("q8_0", "Model.Q8_0.gguf"),
            ("iq4_xs", "Model.IQ4_XS.gguf"),
            ("Q5_K_M", "model_q5_k_m.gguf"),
            ("UD-Q6_K_XL", "Model-UD-Q6_K_XL.gguf"),
            ("Q6_K_XL", "Model-UD-Q6_K_XL.gguf"),
        ];
        for (quant, want) in cases {
            assert_eq!(chosen(REPO, Pick::Quant(quant.into())), Ok(vec![want.to_owned()]), "{quant}");
        }
    }

    #[test]
    fn puts_shards_together_in_order_whichever_is_named() {
        let want = Ok(vec![REPO[5].to_owned(), REPO[4].to_owned()]);
        assert_eq!(chosen(REPO, Pick::Quant("F16".into())), want);
        assert_eq!(chosen(REPO, Pick::File(REPO[4].into())), want);
        let missing = NoChoice::MissingShards { file: REPO[9].into(), have: 1, want: 3 };
        assert_eq!(chosen(REPO, Pick::Quant("Q2_K".into())), Err(missing));
    }

    #[test]
    fn default_follows_the_documented_order() {
        assert_eq!(chosen(REPO, Pick::Default), Ok(vec!["Model.Q4_K_M.gguf".to_owned()]));
        let cases: &[(&[&str], &str)] = &[
            (&["a.Q8_0.gguf", "a.Q5_K_M.gguf"], "a.Q5_K_M.gguf"),
            (&["a.F16.gguf", "a.Q4_0.gguf", "a.Q6_K.gguf"], "a.Q4_0.gguf"),
            (&["only.gguf", "mmproj.gguf"], "only.gguf"),
            (&["Q4_K_M/a.gguf", "Q8_0/a.gguf"], "Q4_K_M/a.gguf"),
        ];
        for (paths, want) in cases {
            assert_eq!(chosen(paths, Pick::Default), Ok(vec![(*want).to_owned()]), "{paths:?}");
        }
    }

    #[test]
    fn reports_what_it_cannot_decide() {
        let two = ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"];
        let several = Err(NoChoice::Several { candidates: two.map(str::to_owned).to_vec() });
        assert_eq!(chosen(&two, Pick::Default), several);
        assert_eq!(chosen(&two, Pick::Quant("Q4_K_M".into())), several);
        for quant in ["Q4_K", "M", "4_K_M", "Q3_K_S"] {
            let none = Err(NoChoice::None { candidates: two.map(str::to_owned).to_vec() });
            assert_eq!(chosen(&two, Pick::Quant(quant.into())), none, "{quant}");
        }
        let unlabelled = ["a.gguf", "b.gguf"];
        assert!(matches!(chosen(&unlabelled, Pick::Default), Err(NoChoice::Several { .. })));
        assert_eq!(chosen(&["README.md"], Pick::Default), Err(NoChoice::None { candidates: vec![] }));
    }

    #[test]
    fn odd_names_are_no_shards() {
        for path in
            ["a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "é-0001é-of-00002.gguf", ".gguf"]
        {
            assert_eq!(shard(path), None, "{path}");
        }
    }
}
