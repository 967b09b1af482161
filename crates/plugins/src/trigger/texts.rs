//! What trigger says to people (prow-runtime §3.3, §3.4). The help reply is `prow_job::comment::help`.

use crate::error::Error;
use crate::reply::{about_this_bot, format_simple_response};
use prow_api::OrgRepo;
use prow_api::labels::OK_TO_TEST;
use prow_config::inrepo::InRepoError;
use prow_config::plugins::Trigger as Settings;
use prow_job::explain::printable;

/// To a trusted author who opened a draft.
pub fn draft(author: &str) -> String {
    format_simple_response(&format!(
        "@{author}: this is a draft, so no tests are started by themselves.\nThey start when it is marked as ready \
         for review; to start them now, comment `/test all`."
    ))
}

/// Where to become a member.
pub fn join_org_url(settings: &Settings, org: &str) -> String {
    if settings.join_org_url.is_empty() {
        format!("https://github.com/orgs/{org}/people")
    } else {
        settings.join_org_url.clone()
    }
}

/// To an author who could well be a member. `message` is the configured one, empty for ours.
pub fn prominent_invite(message: &str, join_org_url: &str) -> String {
    if !message.is_empty() {
        return message.replace("{join_org_url}", join_org_url);
    }
    format!(
        "> [!TIP]\n> You have contributed several times already. Please consider [joining the organization]\
         ({join_org_url}): the tests of members' pull requests start by themselves."
    )
}

/// To an author who is not trusted. `invite` replaces the plain way to membership.
pub fn welcome(repo: &OrgRepo, settings: &Settings, author: &str, invite: Option<&str>) -> String {
    let org = &repo.org;
    let members = match settings.trusted_org.as_str() {
        "" => format!("[{org}](https://github.com/orgs/{org}/people)"),
        second => format!("[{second}](https://github.com/orgs/{second}/people)"),
    };
    if settings.ignore_ok_to_test {
        return format_simple_response(&format!(
            "Hi @{author}. Thanks for your pull request.\n\nIts tests run only for trusted contributors, and there is \
             no comment that enables them here. A member of {members} has to look at it."
        ));
    }
    let membership = match invite {
        Some(tip) => tip.to_owned(),
        None => format!(
            "Regular contributors should [join the organization]({}) to be spared this step.",
            join_org_url(settings, org)
        ),
    };
    let commands =
        format!("https://go.k8s.io/bot-commands?repo={}", query_escape(&format!("{org}/{}", repo.repo)));
    format!(
        "Hi @{author}. Thanks for your pull request.\n\nI am waiting for a member of {members} to see that it may be \
         tested. If so, they should reply with `/ok-to-test`.\n\n{membership}\n\nThen the `{OK_TO_TEST}` label marks \
         it, and I start tests for every new commit.\n\nAll commands are described [here]({commands}).\n\n<details>\n\n\
         {}\n</details>",
        about_this_bot()
    )
}

/// To an untrusted commenter on an untrusted pull request.
pub fn untrusted(settings: &Settings) -> &'static str {
    if settings.ignore_ok_to_test {
        "Cannot start tests: a trusted user has to look at this pull request first."
    } else {
        "Cannot start tests: a trusted user has to look at this pull request first and comment `/ok-to-test`."
    }
}

/// To an untrusted user who took `/ok-to-test` back.
pub fn may_not_cancel(reason: &str) -> String {
    format!("Only trusted users may take `/ok-to-test` back. {reason}")
}

/// Bytes of errors that a comment shows; GitHub takes 65,536.
const MAX_ERRORS: usize = 4_000;

/// Errors as a block of code, in which nothing that a pull request wrote is markup or calls anybody.
fn block(error: &Error) -> String {
    let lines: Vec<String> = match error {
        Error::InRepo(InRepoError::Content { errors, .. }) => {
            errors.errors.iter().map(ToString::to_string).collect()
        }
        other => vec![other.to_string()],
    };
    let mut out = String::new();
    // A lone carriage return ends a line of Markdown, too, and with it the code.
    for line in lines.iter().flat_map(|text| text.split(['\n', '\r'])).filter(|line| !line.is_empty()) {
        let line = printable(line);
        if out.len() + line.len() > MAX_ERRORS {
            out.push_str("    … and more\n");
            break;
        }
        out.push_str(&format!("    {line}\n"));
    }
    out
}

/// To an author whose change of the repository's own jobs cannot be used.
pub fn own_jobs_refused(author: &str, error: &Error) -> String {
    format_simple_response(&format!(
        "@{author}: the jobs that this pull request writes into `.prow.yaml` or `.prow/` cannot be used, so only those \
         of Prow's own configuration run:\n\n{}",
        block(error)
    ))
}

/// For the list of jobs, when the repository's own are not in it.
pub fn own_jobs_missing(error: &Error) -> String {
    format!(
        "\nThe jobs of `.prow.yaml` or `.prow/` are not among these, since they cannot be used:\n\n{}",
        block(error)
    )
}

/// As Go's `url.QueryEscape`.
fn query_escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_own_jobs_are_shown_as_code_and_cut() {
        let diagnostics = |texts: Vec<String>| {
            let errors = texts.into_iter().map(prow_config::Diagnostic::error).collect();
            let errors = prow_config::LoadErrors { errors, warnings: Vec::new() };
            Error::InRepo(InRepoError::Content { repo: "o/r".into(), errors: errors.into() })
        };
        let hostile =
            diagnostics(vec!["job \"@org/all\n```\n# hi\"".into(), "second\r@org/all\u{202e}".into()]);
        let text = own_jobs_refused("dev", &hostile);
        assert!(text.starts_with("@dev: "), "{text}");
        for line in ["    job \"@org/all", "    ```", "    # hi\"", "    second", "    @org/all\\u{202e}"] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
        }
        let many = own_jobs_missing(&diagnostics(vec!["x".repeat(300); 100]));
        assert!(many.len() < 5_000 && many.ends_with("… and more\n"), "{}", many.len());
    }

    #[test]
    fn the_welcome_says_what_is_needed() {
        let repo = OrgRepo::new("o", "r");
        let plain = Settings::default();
        let text = welcome(&repo, &plain, "dev", None);
        for part in [
            "@dev",
            "`/ok-to-test`",
            "`ok-to-test`",
            "https://github.com/orgs/o/people",
            "https://go.k8s.io/bot-commands?repo=o%2Fr",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let ignoring = Settings { ignore_ok_to_test: true, ..Settings::default() };
        assert!(!welcome(&repo, &ignoring, "dev", None).contains("/ok-to-test"));
        assert!(!untrusted(&ignoring).contains("/ok-to-test") && untrusted(&plain).contains("/ok-to-test"));
        let own = Settings { join_org_url: "https://join".into(), ..Settings::default() };
        assert!(welcome(&repo, &own, "dev", None).contains("(https://join)"));
        let tip = prominent_invite("come to {join_org_url}!", "https://join");
        assert_eq!(tip, "come to https://join!");
        assert!(welcome(&repo, &own, "dev", Some(&tip)).contains("come to https://join!"));
        assert!(prominent_invite("", "https://join").contains("(https://join)"));
    }
}
