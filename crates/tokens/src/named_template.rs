//! Chat templates by the names that people know them by: llama.cpp's, for models whose file has none. Each is written
//! after its model's published format, and knows messages only, no tools.

/// Names, and the template that each means.
const TEMPLATES: [(&str, &str); 9] = [
    (
        "chatml",
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "command-r",
        "{% for message in messages %}{% set role = message['role'] %}\
         {{ '<|START_OF_TURN_TOKEN|>' + ('<|SYSTEM_TOKEN|>' if role == 'system' else '<|CHATBOT_TOKEN|>' \
         if role == 'assistant' else '<|USER_TOKEN|>') + message['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
    ),
    (
        "gemma",
        "{% set ns = namespace(system='') %}{% for message in messages %}\
         {% if message['role'] == 'system' %}{% set ns.system = message['content'] | trim + '\\n\\n' %}{% else %}\
         {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' }}\
         {% if message['role'] != 'assistant' %}{{ ns.system }}{% set ns.system = '' %}{% endif %}\
         {{ message['content'] | trim + '<end_of_turn>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
    ),
    (
        "granite",
        "{% for message in messages %}{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] \
         + '<|end_of_text|>\\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
    ),
    (
        "llama3",
        "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' \
         + message['content'] | trim + '<|eot_id|>' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    ),
    (
        "phi3",
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
    (
        "phi4",
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] \
         + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    ),
    (
        "vicuna",
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
         {% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + message['content'] + eos_token + '\\n' }}\
         {% else %}{{ 'USER: ' + message['content'] + '\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ),
    (
        "zephyr",
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    ),
];

/// The chat template of this name.
#[must_use]
pub fn named_template(name: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// The names that [`named_template`] knows.
pub fn template_names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatMessage, ChatTemplate, RenderOptions};

    #[test]
    fn conversations_are_written_as_the_models_know_them() {
        let messages =
            [ChatMessage::text("system", "S"), ChatMessage::text("user", "U"), ChatMessage::text("assistant", "A")];
        let cases = [
            (
                "chatml",
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "command-r",
                "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>S<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>U<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>A<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
            ),
            (
                "gemma",
                "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>model\n",
            ),
            (
                "granite",
                "<|start_of_role|>system<|end_of_role|>S<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>U<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>A<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
            ),
            (
                "llama3",
                "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            ("phi3", "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|assistant|>\n"),
            (
                "phi4",
                "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>A<|im_end|><|im_start|>assistant<|im_sep|>",
            ),
            ("vicuna", "S\n\nUSER: U\nASSISTANT: A</s>\nASSISTANT:"),
            ("zephyr", "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|assistant|>\n"),
        ];
        assert_eq!(cases.map(|(name, _)| name).to_vec(), template_names().collect::<Vec<_>>());
        for (name, expected) in cases {
            let template = ChatTemplate::new(named_template(name).unwrap(), "<s>", "</s>").unwrap();
            let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
            assert_eq!(template.render(&messages, &options).unwrap(), expected, "{name}");
        }
        assert_eq!(named_template("nothing"), None);
    }
}
