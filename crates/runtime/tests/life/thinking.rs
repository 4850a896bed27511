//! Thoughts before an answer: what holds while they last, and what after.

use crate::house::{House, ask, open, read};
use ballast_backend::TokenId;
use ballast_runtime::{FinishReason, Request};
use ballast_testkit::{IM_END, Script, tiny_tokenizer};
use ballast_tokens::{Constraint, ShowSpecial, ThinkingFormat, ThinkingPlan, ThinkingStart};

/// An engine that wants to say this after a prompt of one token, whatever it has been made to say.
fn wanting(text: &'static str) -> House {
    let tokenizer = tiny_tokenizer();
    let end = tokenizer.id_of(IM_END).unwrap();
    open(Script::new(tokenizer.vocab_size(), move |tokens| {
        let said = tokens[1..].iter().map(|&token| tokenizer.token_bytes(token, ShowSpecial::Yes).len()).sum::<usize>();
        text.as_bytes().get(said).map_or(end, |&byte| TokenId(byte.into()))
    }))
}

fn plan(start: ThinkingStart, tokens_max: Option<usize>) -> Option<ThinkingPlan> {
    let format = ThinkingFormat::of("<think></think>").unwrap();
    Some(ThinkingPlan { format, start, tokens_max })
}

#[test]
fn a_constraint_holds_for_what_is_said_and_not_for_thoughts() {
    use ThinkingStart::{Opened, Unopened};
    let cases = [
        (Unopened, "[0-9]{2}", "<think>ab</think>42", "<think>ab</think>42"),
        (Unopened, "[0-9]{2}", "42", "42"),
        (Opened, "[0-9]{2}", "ab</think>42", "ab</think>42"),
        // An answer that begins as thoughts would, and is none.
        (Unopened, "<t>", "<t>", "<t>"),
        (Unopened, "<.*", "<think>ab</think><c", "<think>ab</think><c"),
    ];
    for (start, regex, wanted, came) in cases {
        let house = wanting(wanted);
        let constraint = house.runtime.compile(&Constraint::Regex(regex.to_owned())).unwrap();
        let request = Request { constraint: Some(constraint), thinking: plan(start, None), ..ask(b'x', 1, 60) };
        let ended = read(house.runtime.submit(request).unwrap());
        assert_eq!((ended.text.as_str(), ended.how()), (came, (FinishReason::Stop, None)), "{wanted}");
    }
}

#[test]
fn a_model_cannot_end_its_answer_in_thoughts_where_something_is_asked_of_it() {
    let house = wanting("ab");
    let constraint = house.runtime.compile(&Constraint::Regex("[0-9]{2}".to_owned())).unwrap();
    let thinking = plan(ThinkingStart::Opened, Some(9));
    let request = Request { constraint: Some(constraint), thinking, ..ask(b'x', 1, 60) };
    let ended = read(house.runtime.submit(request).unwrap());
    assert_eq!(ended.how(), (FinishReason::Stop, None));
    let (thought, said) = ended.text.split_once("\n</think>\n\n").expect("they are closed for it");
    assert!(thought.starts_with("ab") && said.len() == 2 && said.bytes().all(|byte| byte.is_ascii_digit()), "{said}");
    let house = wanting("ab");
    let request = Request { thinking: plan(ThinkingStart::Opened, Some(9)), ..ask(b'x', 1, 60) };
    assert_eq!(read(house.runtime.submit(request).unwrap()).text, "ab", "nothing is asked of it");
}
