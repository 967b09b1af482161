//! Masks a stream of bytes in one pass: memory is one buffer, whatever the stream's length.

use super::Censor;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;

/// Copies the input with every secret in it masked. Secrets are found wherever the pieces end in which it arrives.
pub(super) fn plain(input: &mut dyn Read, out: &mut dyn Write, censor: &Censor) -> io::Result<()> {
    let overlap = censor.longest.saturating_sub(1);
    let mut buffer = vec![0; censor.buffer.max(4 * (overlap + 1))];
    let (mut length, mut covered) = (0, 0);
    let mut hits = Hits::default();
    loop {
        let ended = fill(input, &mut buffer, &mut length)?;
        // A secret that begins before this point lies whole in the buffer, so the longest one there is known.
        let settled = if ended { length } else { length - overlap };
        hits.0.clear();
        censor.finder.find(&buffer[..length], settled, |range| hits.add(range));
        // Only now: what is masked could not be found any more.
        buffer[..covered.min(settled)].fill(b'X');
        for hit in &hits.0 {
            buffer[hit.start..hit.end.min(settled)].fill(b'X');
            covered = covered.max(hit.end);
        }
        covered = covered.saturating_sub(settled);
        out.write_all(&buffer[..settled])?;
        if ended {
            return Ok(());
        }
        buffer.copy_within(settled..length, 0);
        length -= settled;
    }
}

/// Places to mask; those that follow one another closely are one.
#[derive(Default)]
pub(super) struct Hits(pub(super) Vec<Range<usize>>);

impl Hits {
    pub(super) fn add(&mut self, range: Range<usize>) {
        match self.0.last_mut() {
            Some(last) if (last.start..=last.end).contains(&range.start) => {
                last.end = last.end.max(range.end)
            }
            _ => self.0.push(range),
        }
    }
}

/// Reads until the buffer is full; true at the end of the input.
fn fill(input: &mut dyn Read, buffer: &mut [u8], length: &mut usize) -> io::Result<bool> {
    while *length < buffer.len() {
        match input.read(&mut buffer[*length..]) {
            Ok(0) => return Ok(true),
            Ok(read) => *length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prow_api::Secret;

    /// Gives out small pieces, so that their ends fall everywhere.
    struct Small<'a> {
        text: &'a [u8],
        piece: usize,
    }

    impl Read for Small<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.piece);
            self.text.read(&mut buffer[..length])
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(256))]
        /// Whatever the text, the secrets, the buffer and the sizes in which the stream arrives: the result is that
        /// of masking every occurrence of every secret in the whole text at once.
        #[test]
        fn streaming_equals_masking_the_whole(
            text in "[ab]{0,400}",
            secrets in proptest::collection::vec("[ab]{2,20}", 1..5),
            piece in 1usize..40,
            buffer in 1i64..100,
        ) {
            let secrets: Vec<Secret> = secrets.iter().map(Secret::new).collect();
            let mut censor = Censor::new(&secrets, 0).unwrap();
            censor.buffer = buffer as usize;
            // The naive truth: any byte inside any occurrence of any secret.
            let mut expected = text.clone().into_bytes();
            for secret in &secrets {
                let secret = secret.expose();
                for start in 0..text.len().saturating_sub(secret.len() - 1) {
                    if text.as_bytes()[start..].starts_with(secret) {
                        expected[start..start + secret.len()].fill(b'X');
                    }
                }
            }
            let mut whole = text.clone().into_bytes();
            censor.mask(&mut whole);
            proptest::prop_assert_eq!(&whole, &expected);
            let mut streamed = Vec::new();
            plain(&mut Small { text: text.as_bytes(), piece }, &mut streamed, &censor).unwrap();
            proptest::prop_assert_eq!(&streamed, &expected);
        }
    }

    #[test]
    fn secrets_across_every_buffer_boundary_are_found() {
        let secret = "a-rather-long-secret-value";
        let censor = Censor::new(&[Secret::new(secret)], 0).unwrap();
        for shift in 0..2 * secret.len() {
            let mut input = vec![b'.'; censor.buffer - secret.len() + shift];
            input.extend_from_slice(secret.as_bytes());
            input.extend(vec![b'.'; censor.buffer]);
            let mut out = Vec::new();
            plain(&mut input.as_slice(), &mut out, &censor).unwrap();
            assert_eq!(out.len(), input.len());
            assert_eq!(out.iter().filter(|b| **b == b'X').count(), secret.len(), "shift {shift}");
        }
    }

    #[test]
    fn a_secret_longer_than_the_buffer_is_found() {
        let secret: String = (0..600_000).map(|n: usize| char::from(b'a' + (n * n % 23) as u8)).collect();
        let censor = Censor::new(&[Secret::new(&secret)], 0).unwrap();
        let mut out = Vec::new();
        plain(&mut format!("<{secret}>").as_bytes(), &mut out, &censor).unwrap();
        assert!(out.starts_with(b"<XXX") && out.ends_with(b"XXX>"));
    }
}
