//! Where exactly in its file a broken rule is: jobs remember where they begin, not where each of their keys is.

use super::read_text;
use crate::diagnostic::Diagnostic;
use crate::goyaml::{Document, Findings};
use crate::jobfile::OF_A_JOB;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Errors that are given their exact place: to find it takes time, and nobody reads more.
const MAX_ERRORS: usize = 500;

/// Gives errors of jobs the line and column of the key that they are about. Their files are read again for it: rules
/// are seldom broken.
pub(super) fn sharpen(errors: &mut [Diagnostic]) {
    let mut by_file: BTreeMap<Arc<str>, Vec<&mut Diagnostic>> = BTreeMap::new();
    for error in errors.iter_mut().filter(|e| e.message.starts_with(OF_A_JOB)).take(MAX_ERRORS) {
        by_file.entry(error.file.clone()).or_default().push(error);
    }
    for (file, errors) in by_file {
        // A file that has gone or changed meanwhile leaves the places as they are: they are right for what was read.
        let Ok(text) = read_text(Path::new(&*file), true) else { continue };
        let mut ignored = Findings::new(file.clone());
        let Some(document) = Document::parse(&text, &mut ignored) else { continue };
        let Some(root) = document.root() else { continue };
        for error in errors {
            let at = root.locate(&error.key_path);
            if at.line() >= error.line {
                (error.line, error.column) = (at.line(), at.column());
            }
        }
    }
}
