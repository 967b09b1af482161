//! `/badge.svg` (prow-runtime §12.3): the newest results of some jobs as one small picture.

use crate::glob;
use maud::{Markup, PreEscaped, html};
use prow_api::State;

/// What a badge says: the text and its colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    /// Right half.
    pub status: String,
    /// CSS colour.
    pub colour: &'static str,
}

/// True if one of the comma separated patterns matches the job's name.
pub fn selects(selector: &str, job: &str) -> bool {
    selector.split(',').any(|pattern| glob::matches(pattern, job) == Some(true))
}

/// Decides from the newest state of every selected job.
pub fn badge<'a>(newest: impl Iterator<Item = (&'a str, State)>) -> Badge {
    let mut any = false;
    let mut failing: Vec<&str> = newest
        .inspect(|_| any = true)
        .filter(|(_, state)| *state == State::Failure)
        .map(|(job, _)| job)
        .collect();
    if !any {
        return Badge { status: "no results".to_owned(), colour: "darkgrey" };
    }
    if failing.is_empty() {
        return Badge { status: "passing".to_owned(), colour: "#4c1" };
    }
    failing.sort_unstable();
    let more = failing.len() > 3;
    let mut names = failing[..failing.len().min(3)].join(", ");
    if more {
        names.push_str(", ...");
    }
    Badge { status: format!("failing {names}"), colour: "#e05d44" }
}

/// The picture, with the contract's geometry.
pub fn svg(badge: &Badge) -> Markup {
    const SUBJECT: &str = "build";
    let left = 13 + 6 * SUBJECT.len();
    let right = 13 + 6 * badge.status.len();
    let half =
        |at2: usize| if at2.is_multiple_of(2) { format!("{}", at2 / 2) } else { format!("{}.5", at2 / 2) };
    let text = |x: String, value: &str| {
        html! {
            text x=(x) y="15" fill="#010101" fill-opacity=".3" { (value) }
            text x=(x) y="14" { (value) }
        }
    };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(left + right) height="20" role="img"
            aria-label={ (SUBJECT) ": " (badge.status) } {
            title { (SUBJECT) ": " (badge.status) }
            (PreEscaped(r##"<linearGradient id="a" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" stop-opacity=".1"/><stop offset="1" stop-opacity=".1"/></linearGradient>"##))
            rect rx="3" width=(left + right) height="20" fill="#555" {}
            rect rx="3" x=(left) width=(right) height="20" fill=(badge.colour) {}
            rect x=(left) width="4" height="20" fill=(badge.colour) {}
            rect rx="3" width=(left + right) height="20" fill="url(#a)" {}
            g fill="#fff" text-anchor="middle" font-family="DejaVu Sans,Verdana,Geneva,sans-serif" font-size="11" {
                (text(half(left), SUBJECT))
                (text(half(2 * left + right - 2), &badge.status))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges() {
        use State::{Aborted, Error, Failure, Pending, Success};
        for (jobs, status, colour) in [
            (&[][..], "no results", "darkgrey"),
            (&[("a", Success)], "passing", "#4c1"),
            (&[("a", Success), ("b", Error), ("c", Aborted), ("d", Pending)], "passing", "#4c1"),
            (&[("b", Failure), ("a", Failure), ("c", Success)], "failing a, b", "#e05d44"),
            (
                &[("d", Failure), ("c", Failure), ("b", Failure), ("a", Failure)],
                "failing a, b, c, ...",
                "#e05d44",
            ),
        ] {
            assert_eq!(badge(jobs.iter().copied()), Badge { status: status.into(), colour });
        }
    }

    #[test]
    fn selectors_are_comma_separated_globs() {
        for (selector, job, expected) in
            [("a,b", "b", true), ("pull-*", "pull-x", true), ("pull-*", "post", false), ("[", "[", false)]
        {
            assert_eq!(selects(selector, job), expected);
        }
    }

    #[test]
    fn the_picture_has_the_contracts_geometry_and_escapes() {
        let svg = svg(&Badge { status: "<b>&".into(), colour: "#4c1" }).into_string();
        // left 13+6*5=43, right 13+6*4=37
        assert!(
            svg.contains(r#"width="80""#) && svg.contains(r#"x="21.5""#) && svg.contains(r#"x="60.5""#),
            "{svg}"
        );
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
    }
}
