//! How the bot's comments look (prow-runtime §2.8).

pub use prow_service::bot::about_this_bot;

/// An answer to something that `login` wrote in `body`, at `url`.
pub fn format_response_raw(body: &str, url: &str, login: &str, reply: &str) -> String {
    let mut quoted = String::new();
    for line in body.split('\n') {
        quoted.push('>');
        quoted.push_str(line);
        quoted.push('\n');
    }
    let about = about_this_bot();
    format!(
        "@{login}: {reply}\n\n<details>\n\nIn response to [this]({url}):\n\n{quoted}\n\n{about}\n</details>"
    )
}

/// A message that answers nobody in particular.
pub fn format_simple_response(message: &str) -> String {
    format!("{message}\n\n<details>\n\n{}\n</details>", about_this_bot())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_what_is_answered_is_quoted() {
        let text = format_response_raw("/test ?\r\nplease", "https://h/c", "dev", "Here.");
        assert!(
            text.starts_with(
                "@dev: Here.\n\n<details>\n\nIn response to [this](https://h/c):\n\n>/test ?\r\n>please\n\n\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("\n</details>") && text.contains("https://go.k8s.io/bot-commands"), "{text}");
        assert!(format_simple_response("Hello.").starts_with("Hello.\n\n<details>\n\n"));
    }
}
