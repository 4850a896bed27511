//! Names: a table of what people type, and properties over what they might.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_every_form() {
    let cases = [
        ("model.gguf", "path"),
        ("MODEL.GGUF", "path"),
        ("./model", "path"),
        ("dir/model", "path"),
        ("C:\\models\\a.bin", "path"),
        ("default", "alias default"),
        ("SmolLM2", "alias default"),
        ("hf:user/repo", "hf:user/repo"),
        ("hf:user/repo:Q4_K_M", "hf:user/repo:Q4_K_M"),
        ("hf:user/repo/file.gguf", "hf:user/repo/file.gguf"),
        ("hf:user/repo/sub dir/file-00001-of-00002.gguf", "hf:user/repo/sub dir/file-00001-of-00002.gguf"),
        ("ollama:llama3", "ollama:llama3:latest"),
        ("ollama:hf.co/user/repo:Q8_0", "ollama:hf.co/user/repo:Q8_0"),
        ("ollama:me/model:1b", "ollama:me/model:1b"),
        ("smollm2:135m", "smollm2:135m"),
        ("llama3.2", "llama3.2:latest"),
    ];
    for (text, want) in cases {
        let got = match ModelName::parse(text).unwrap() {
            ModelName::Path(_) => "path".to_owned(),
            ModelName::Alias(pinned) => format!("alias {}", pinned.names[0]),
            name @ (ModelName::Hub(_) | ModelName::Ollama(_) | ModelName::Plain(_)) => name.to_string(),
        };
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn refuses_with_the_part_that_does_not_fit() {
    let hub = |text: &str, part| NameError::Hub { text: text.to_owned(), part };
    let ollama = |text: &str| NameError::Ollama { text: text.to_owned() };
    let url = "https://example.org/a.gguf";
    let cases = [
        ("", NameError::Empty),
        ("a\nb", NameError::Control { code: 10 }),
        (url, NameError::Url { url: url.to_owned() }),
        ("hf:repo", hub("hf:repo", HubPart::Repo)),
        ("hf:../repo", hub("hf:../repo", HubPart::Repo)),
        ("hf:a/b--c", hub("hf:a/b--c", HubPart::Repo)),
        ("hf:a/b:", hub("hf:a/b:", HubPart::Quant)),
        ("hf:a/b:Q4/..", hub("hf:a/b:Q4/..", HubPart::Quant)),
        ("hf:a/b/../../x.gguf", hub("hf:a/b/../../x.gguf", HubPart::File)),
        ("hf:a/b/x.bin", hub("hf:a/b/x.bin", HubPart::File)),
        ("hf:a/b//x.gguf", hub("hf:a/b//x.gguf", HubPart::File)),
        ("ollama:../x", ollama("../x")),
        ("ollama:a/b/c/d", ollama("a/b/c/d")),
        ("two words", ollama("two words")),
        ("..", ollama("..")),
    ];
    for (text, want) in cases {
        assert_eq!(ModelName::parse(text), Err(want), "{text}");
    }
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(ModelName::parse(&long), Err(NameError::TooLong { len: long.len() }));
}

#[test]
fn aliases_are_well_formed() {
    for pinned in ALIASES {
        assert!(pinned.sha256.parse::<crate::Digest>().is_ok());
        assert!(is_safe_repo_path(pinned.file));
        assert_eq!(RepoId::new(pinned.user, pinned.repo), Some(pinned.hub_name().repo));
    }
}

proptest! {
    #[test]
    fn printing_and_reading_agree(text in "(hf:|ollama:|)[a-zA-Z0-9._:/ -]{1,40}(\\.gguf)?") {
        if let Ok(name) = ModelName::parse(&text) {
            prop_assert_eq!(ModelName::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let name = ModelName::parse(&text);
        prop_assert!(name.is_ok() || !name.unwrap_err().to_string().is_empty());
    }

    #[test]
    fn no_part_that_becomes_a_directory_can_leave_it(text in "(hf:|ollama:)[a-b./:\\\\-]{1,20}(\\.gguf)?") {
        let parts = match ModelName::parse(&text) {
            Ok(ModelName::Hub(name)) => {
                let file = match name.pick { Pick::File(file) => file, Pick::Default | Pick::Quant(_) => String::new() };
                vec![name.repo.user, name.repo.name, file]
            }
            Ok(ModelName::Ollama(name)) => vec![name.host, name.namespace, name.model, name.tag],
            Ok(ModelName::Path(_) | ModelName::Alias(_) | ModelName::Plain(_)) | Err(_) => vec![],
        };
        for part in parts {
            prop_assert!(part.split('/').all(|c| c != ".." && c != "."), "{}", part);
            prop_assert!(!part.contains('\\') && !part.starts_with('/'), "{}", part);
        }
    }
}
