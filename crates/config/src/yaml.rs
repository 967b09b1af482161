//! A single object of a YAML or JSON file, read as Prow reads its configuration (prow-config §0.1), for tools.

use crate::diagnostic::{Diagnostic, LoadErrors, Severity};
use crate::goyaml::{self, Document, Findings};
use serde::de::DeserializeOwned;

/// Reads the first document of `bytes`; `name` is the file's name in messages. Numbers and booleans count as texts
/// where texts are wanted. The second value is what was odd but not wrong.
///
/// # Errors
/// Everything that is not as it should be, with line and column. An empty document is an error: nothing was given.
pub fn read<T: DeserializeOwned + Default>(
    name: &str,
    bytes: Vec<u8>,
) -> Result<(T, Vec<Diagnostic>), LoadErrors> {
    let mut findings = Findings::new(name.into());
    let failed = |message: String, findings: &Findings| Diagnostic::error(message).in_file(&findings.file);
    let mut value = None;
    match goyaml::decode_text(bytes) {
        Ok(text) => {
            if let Some(document) = Document::parse(&text, &mut findings) {
                match document.root().filter(|root| !root.is_null()) {
                    Some(root) => value = Some(root.decode(true, &mut findings).0),
                    None => findings.list.push(failed("it is empty".into(), &findings)),
                }
            }
        }
        Err(message) => findings.list.push(failed(message, &findings)),
    }
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.list.into_iter().partition(|d| d.severity == Severity::Error);
    match value {
        Some(value) if errors.is_empty() => Ok((value, warnings)),
        _ => Err(LoadErrors { errors, warnings }),
    }
}

/// Where a key path leads in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line of the key, or of the list item, from 1.
    pub line: u32,
    /// Its column, from 1.
    pub column: u32,
    /// The path was there to its end; if not, this is the nearest key above it.
    pub whole: bool,
}

/// The places of key paths such as `plugins["org/repo"]` or `tide.queries[0].labels` in a YAML text; none if it
/// cannot be read.
pub fn locate(text: &str, keys: &[&str]) -> Vec<Option<Place>> {
    let document = Document::parse(text, &mut Findings::new(Default::default()));
    let root = document.as_ref().and_then(Document::root);
    let place = |key: &str| {
        let found = root?.locate_key(key);
        Some(Place { line: found.key.line(), column: found.key.column(), whole: found.whole })
    };
    keys.iter().map(|key| place(key)).collect()
}

/// The text of a file of the configuration as the loader reads it: UTF-8 or UTF-16, unpacked if it is gzipped.
///
/// # Errors
/// Why it cannot be read, in a sentence with its path.
pub fn read_text(path: &std::path::Path) -> Result<String, String> {
    crate::load::read_text(path, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::ProwJob;

    #[test]
    fn objects_are_read_with_what_is_odd_about_them() {
        let text = "kind: ProwJob\nspec: {job: unit, max_concurency: 1}\nstatus: {build_id: \"5\"}\n";
        let (job, odd) = read::<ProwJob>("j.yaml", text.into()).unwrap();
        assert_eq!((job.spec.job.as_str(), job.status.build_id.as_str()), ("unit", "5"));
        assert!(odd.len() == 1 && odd[0].to_string().starts_with("j.yaml:2:"), "{odd:?}");
    }

    #[test]
    fn keys_are_found_at_their_place_or_near_it() {
        let text =
            "plugins:\n  acme:\n    plugins: [a]\n  'acme/x': {}\ntide:\n  queries:\n  - labels: [x]\n";
        let keys =
            ["plugins[\"acme/x\"]", "plugins[\"acme\"].plugins", "tide.queries[0].labels", "tide.nothing"];
        let at = |line, column, whole| Some(Place { line, column, whole });
        assert_eq!(locate(text, &keys), [at(4, 3, true), at(3, 5, true), at(7, 5, true), at(5, 1, false)]);
        assert_eq!(locate("a: [", &["a"]), [None]);
    }

    #[test]
    fn wrong_files_are_said_with_their_place() {
        for (text, want) in [
            ("", "j.yaml: it is empty"),
            ("kind: Pod\n", "this is a Pod, not a ProwJob"),
            ("spec: [oops\n", "j.yaml:"),
            ("spec: {report: 3}\n", "spec.report"),
        ] {
            let error = read::<ProwJob>("j.yaml", text.into()).unwrap_err().to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }
}
