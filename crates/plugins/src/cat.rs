//! cat: answers `/meow` with a picture of a cat (prow-runtime §5.1).

use crate::context::Context;
use crate::error::Error;
use crate::help::{Command, EVENT_GENERIC_COMMENT, PluginHelp};
use crate::reply::format_response_raw;
use crate::{Input, Plugin};
use jiff::Timestamp;
use parking_lot::Mutex;
use prow_api::{OrgRepo, Secret};
use prow_config::Snapshot;
use prow_github::webhook::{CommentAction, GenericComment};
use regex::Regex;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use url::Url;

static MEOW: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?mi)^/meow(vie)?(?: (.+))?\s*$").expect("a constant pattern, compiled by this file's tests")
});
static GRUMPY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?mi)^(no|grumpy)\s*$").expect("a constant pattern, compiled by this file's tests")
});
const GRUMPY_CAT: &str =
    "https://upload.wikimedia.org/wikipedia/commons/e/ee/Grumpy_Cat_by_Gage_Skidmore.jpg";
/// GitHub shows no larger ones.
const LARGEST_IMAGE: u64 = 5 << 20;
const ATTEMPTS: usize = 3;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the key's file is looked at.
const KEY_REFRESH: Duration = Duration::from_secs(60);
/// More than the API's answer ever has.
const LARGEST_ANSWER: usize = 1 << 20;

/// Settings of the cat plugin that are not in plugins.yaml.
#[derive(Debug, Clone)]
pub struct CatOptions {
    /// The search of an API like thecatapi.com's; without query.
    pub endpoint: Url,
}

impl Default for CatOptions {
    fn default() -> Self {
        CatOptions {
            endpoint: Url::parse("https://api.thecatapi.com/v1/images/search")
                .expect("a constant URL, parsed by this file's tests"),
        }
    }
}

/// What was asked for.
#[derive(Debug, PartialEq)]
pub struct Ask {
    comment: GenericComment,
    category: String,
    movie: bool,
}

/// The plugin.
pub struct Cat {
    options: CatOptions,
    http: std::sync::OnceLock<reqwest::Client>,
    key: Mutex<Option<CachedKey>>,
}

struct CachedKey {
    path: PathBuf,
    read: Timestamp,
    key: Secret,
}

impl Cat {
    /// With these settings.
    pub fn new(options: CatOptions) -> Cat {
        Cat { options, http: std::sync::OnceLock::new(), key: Mutex::new(None) }
    }

    /// Made when the first cat is wanted: most repositories never do.
    fn http(&self) -> Result<reqwest::Client, String> {
        if let Some(client) = self.http.get() {
            return Ok(client.clone());
        }
        prow_github::install_tls();
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .build()
            .map_err(|e| format!("cannot set up an HTTP client: {e}"))?;
        Ok(self.http.get_or_init(|| client).clone())
    }

    /// The API key; empty if there is none or it cannot be read.
    fn key(&self, path: &str, now: Timestamp) -> Secret {
        if path.is_empty() {
            return Secret::new("");
        }
        let mut cached = self.key.lock();
        if let Some(c) = cached.as_ref()
            && c.path == Path::new(path)
            && now < c.read + KEY_REFRESH
        {
            return c.key.clone();
        }
        let key = match std::fs::read(path) {
            Ok(bytes) => Secret::new(bytes.trim_ascii()),
            Err(error) => {
                tracing::warn!(plugin = "cat", path, %error, "cannot read cat.key_path; asking without a key");
                Secret::new("")
            }
        };
        if !key.is_empty() {
            prow_service::censor::process().add(&key);
        }
        *cached = Some(CachedKey { path: path.into(), read: now, key: key.clone() });
        key
    }

    async fn picture(&self, http: &reqwest::Client, query: &Url) -> Result<String, String> {
        let mut answer = http.get(query.clone()).send().await.map_err(|e| e.without_url().to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the cat API answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| e.without_url().to_string())? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST_ANSWER {
                return Err("the cat API's answer is too large".into());
            }
        }
        let image = first_image(&body)?;
        let head = http.head(image.clone()).send().await.map_err(|e| e.to_string())?;
        let length = head.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        fits(head.status().as_u16(), length).map(|()| image.to_string())
    }
}

/// The first image of the API's answer.
fn first_image(answer: &[u8]) -> Result<Url, String> {
    #[derive(serde::Deserialize)]
    struct Image {
        #[serde(default)]
        url: String,
    }
    let images: Vec<Image> =
        serde_json::from_slice(answer).map_err(|e| format!("the cat API's answer is not a list: {e}"))?;
    let first = images.first().ok_or("the cat API knows no such cat")?;
    match Url::parse(&first.url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err(format!("the cat API's image has no usable address: {:?}", first.url)),
    }
}

/// Whether GitHub would show an image that answers so to a HEAD request.
fn fits(status: u16, length: Option<u64>) -> Result<(), String> {
    match (status, length) {
        (200, Some(length)) if length <= LARGEST_IMAGE => Ok(()),
        (200, Some(length)) => Err(format!("the image has {length} bytes, more than {LARGEST_IMAGE}")),
        (200, None) => Err("the image does not say how large it is".into()),
        (status, _) => Err(format!("the image answers {status}")),
    }
}

/// The API's address for what was asked for.
fn query(endpoint: &Url, ask: &Ask, key: &Secret) -> Url {
    let mut url = endpoint.clone();
    let mut pairs = url.query_pairs_mut();
    pairs.append_pair("format", "json").append_pair("results_per_page", "1");
    if !ask.category.is_empty() {
        pairs.append_pair("category", &ask.category);
    }
    // The API takes its key in the query only. The address is never logged.
    if let Some(key) = key.expose_str().filter(|k| !k.is_empty()) {
        pairs.append_pair("api_key", key);
    }
    if ask.movie {
        pairs.append_pair("mime_types", "gif");
    }
    drop(pairs);
    url
}

impl Plugin for Cat {
    type Ask = Ask;

    fn name(&self) -> &'static str {
        "cat"
    }

    fn help(&self, _config: &Snapshot, _repos: &[OrgRepo]) -> PluginHelp {
        PluginHelp {
            description: "Adds a picture of a cat to an issue or pull request when asked with /meow.".into(),
            snippet: "cat:\n  key_path: /etc/cat-api/key\n".into(),
            events: vec![EVENT_GENERIC_COMMENT.into()],
            commands: vec![Command {
                usage: "/meow(vie) [category]".into(),
                description: "Adds a picture of a cat, or a moving one".into(),
                examples: ["/meow", "/meow caturday", "/meowvie clothes"].map(str::to_owned).to_vec(),
                who_can_use: "Anyone".into(),
                ..Command::default()
            }],
            ..PluginHelp::default()
        }
    }

    fn parse(&self, input: Input<'_>, _config: &Snapshot) -> Option<Ask> {
        let Input::Comment(comment) = input else { return None };
        if comment.action != CommentAction::Created {
            return None;
        }
        let found = MEOW.captures(&comment.body)?;
        let category = found.get(2).map_or("", |m| m.as_str()).trim().to_owned();
        Some(Ask { comment: comment.clone(), category, movie: found.get(1).is_some() })
    }

    async fn act(&self, ctx: &Context, ask: Ask) -> Result<(), Error> {
        let mut failure = String::new();
        let mut found = None;
        if GRUMPY.is_match(&ask.category) {
            found = Some(GRUMPY_CAT.to_owned());
        } else {
            let query = query(
                &self.options.endpoint,
                &ask,
                &self.key(&ctx.config.plugins.cat.key_path, ctx.clock.now()),
            );
            for _ in 0..ATTEMPTS {
                let tried = match self.http() {
                    Ok(http) => self.picture(&http, &query).await,
                    Err(why) => Err(why),
                };
                match tried {
                    Ok(url) => {
                        found = Some(url);
                        break;
                    }
                    Err(why) => failure = why,
                }
            }
        }
        let message = match &found {
            Some(url) => format!("![cat image]({url})"),
            None if ask.category.is_empty() => "https://thecatapi.com appears to be down".to_owned(),
            None => "Bad category. Please see https://api.thecatapi.com/api/categories/list".to_owned(),
        };
        let c = &ask.comment;
        let body = format_response_raw(&c.body, &c.html_url, &c.user.login, &message);
        let is_ours = |text: &str| {
            text == body
                || (text.contains("![cat image](")
                    && text.contains(&format!("In response to [this]({}):", c.html_url)))
        };
        ctx.comment_unless(c.repo.owner_login(), &c.repo.name, c.number, &body, is_ours).await?;
        match found {
            Some(_) => Ok(()),
            None => Err(Error::Told(format!("no cat for {}: {failure}", c.html_url))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_github::webhook::Event;

    fn comment(action: &str, body: &str) -> GenericComment {
        let payload = serde_json::json!({
            "action": action, "issue": {"number": 1}, "repository": {"name": "r", "owner": {"login": "o"}},
            "comment": {"body": body, "html_url": "https://h/c", "user": {"login": "dev"}},
        });
        let event = Event::parse("issue_comment", "g", payload.to_string().as_bytes()).unwrap();
        GenericComment::from_event(&event).unwrap()
    }

    #[test]
    fn meows_are_heard() {
        let cat = Cat::new(CatOptions::default());
        let config = Snapshot::default();
        for (action, body, expected) in [
            ("created", "/meow", Some(("", false))),
            ("created", "/Meow caturday\r\n", Some(("caturday", false))),
            ("created", "look:\n/meowvie  space \nok", Some(("space", true))),
            ("created", "/meows", None),
            ("created", " /meow", None),
            ("edited", "/meow", None),
        ] {
            let comment = comment(action, body);
            let ask = cat.parse(Input::Comment(&comment), &config);
            assert_eq!(ask.as_ref().map(|a| (a.category.as_str(), a.movie)), expected, "{action} {body:?}");
        }
    }

    #[test]
    fn the_api_is_asked_for_what_was_wanted() {
        let ask = |category: &str, movie| Ask {
            comment: comment("created", "/meow"),
            category: category.into(),
            movie,
        };
        let at = CatOptions::default().endpoint;
        let base = "https://api.thecatapi.com/v1/images/search?format=json&results_per_page=1";
        for (ask, key, expected) in [
            (ask("", false), "", String::new()),
            (ask("a b", false), "", "&category=a+b".into()),
            (ask("hats", true), "k&y", "&category=hats&api_key=k%26y&mime_types=gif".into()),
        ] {
            assert_eq!(query(&at, &ask, &Secret::new(key)).as_str(), format!("{base}{expected}"));
        }
    }

    #[test]
    fn only_images_that_github_shows_are_taken() {
        for (status, length, fine) in [
            (200, Some(5 << 20), true),
            (200, Some((5 << 20) + 1), false),
            (200, None, false),
            (404, Some(1), false),
        ] {
            assert_eq!(fits(status, length).is_ok(), fine, "{status} {length:?}");
        }
        assert_eq!(first_image(br#"[{"url":"https://h/c.jpg"}]"#).unwrap().as_str(), "https://h/c.jpg");
        for bad in ["[]", "{}", r#"[{"url":""}]"#, r#"[{"url":"file:///etc/passwd"}]"#] {
            assert!(first_image(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(GRUMPY.is_match("Grumpy") && GRUMPY.is_match("no") && !GRUMPY.is_match("nothing"));
    }
}
