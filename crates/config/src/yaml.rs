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
