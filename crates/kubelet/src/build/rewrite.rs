//! Mount paths without mounts: where a job cannot be given its own view of the file system, its volumes' paths are
//! replaced by the directories behind them wherever they are named.

/// What follows a path without being part of it, and what may stand before one, is everything but these.
fn path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-~@+%".contains(&byte) || byte >= 0x80
}

/// Replaces every occurrence of a `from` path (whole, or followed by `/`; preceded by nothing that could belong to a
/// longer path, or by `://`) with its `to`. One pass: what was put in is not looked at again. The longest path wins.
pub fn rewrite(text: &str, paths: &[(String, String)]) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let starts =
            bytes[at] == b'/' && (at == 0 || !path_byte(bytes[at - 1]) || text[..at].ends_with("://"));
        let found = if starts {
            paths
                .iter()
                .filter(|(from, _)| {
                    bytes[at..].starts_with(from.as_bytes())
                        && bytes.get(at + from.len()).is_none_or(|b| *b == b'/' || !path_byte(*b))
                })
                .max_by_key(|(from, _)| from.len())
        } else {
            None
        };
        match found {
            Some((from, to)) => {
                out.push_str(&text[copied..at]);
                out.push_str(to);
                at += from.len();
                copied = at;
            }
            None => at += 1,
        }
    }
    out.push_str(&text[copied..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_are_rewritten() {
        let paths: Vec<(String, String)> =
            [("/logs", "/d/L"), ("/logs/deep", "/d/D"), ("/tools", "/d/T"), ("/tmp", "/d/tmp")]
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect();
        let cases = [
            ("/logs", "/d/L"),
            ("/logs/", "/d/L/"),
            ("/logs/process-log.txt", "/d/L/process-log.txt"),
            ("/logs/deep/x", "/d/D/x"),
            ("/logs/deeper", "/d/L/deeper"),
            ("/logs-archive", "/logs-archive"),
            ("/logs.old", "/logs.old"),
            ("/var/logs", "/var/logs"),
            ("my/logs", "my/logs"),
            ("--out=/logs/a", "--out=/d/L/a"),
            ("/tools/entrypoint:/logs", "/d/T/entrypoint:/d/L"),
            (
                r#"{"marker_file":"/logs/marker-file.txt","args":["sh","-c","cat /tools/x"]}"#,
                r#"{"marker_file":"/d/L/marker-file.txt","args":["sh","-c","cat /d/T/x"]}"#,
            ),
            ("file:///logs/a", "file:///d/L/a"),
            ("https://host/logs/a", "https://host/logs/a"),
            ("/tmp", "/d/tmp"),
            ("é/logs", "é/logs"),
            ("'/logs'", "'/d/L'"),
            ("", ""),
            ("~/logs", "~/logs"),
        ];
        for (text, want) in cases {
            assert_eq!(rewrite(text, &paths), want, "{text:?}");
        }
    }
}
