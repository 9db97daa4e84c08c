//! What upstreams' files of checksums say about one file.

use larder_core::Digest;

/// Finds the hash of `file` in a file of checksums: a bare hash, `HASH  NAME` lines as `sha256sum` writes them, `SHA256 (NAME) =
/// HASH` as BSD's tools do, inside of a PGP clear-signed message or not.
///
/// A hash without a name counts only where the whole text was published for this one file (`per_file`). Two hashes of one kind for
/// one file contradict each other. Of several kinds, the longest counts.
pub(crate) fn find(text: &str, file: &str, per_file: bool) -> Result<Digest, &'static str> {
    let mut found: Vec<Digest> = Vec::new();
    for line in body(text) {
        let Some((digest, name)) = read(line) else { continue };
        let ours = match name {
            Some(name) => name.rsplit('/').next() == Some(file),
            None => per_file,
        };
        if !ours || found.contains(&digest) {
            continue;
        }
        if found.iter().any(|other| other.algorithm() == digest.algorithm()) {
            return Err("it has two different hashes for the file");
        }
        found.push(digest);
    }
    found.sort_by_key(|digest| digest.as_bytes().len());
    found.pop().ok_or("it has no SHA-256 or SHA-512 for the file")
}

/// The lines, without the armour of a clear-signed message (RFC 9580 §7).
fn body(text: &str) -> impl Iterator<Item = &str> {
    let mut signed = false;
    let mut header = false;
    let mut over = false;
    text.trim_start_matches('\u{feff}').lines().map(str::trim).filter_map(move |line| {
        match line {
            "-----BEGIN PGP SIGNED MESSAGE-----" => (signed, header) = (true, true),
            "-----BEGIN PGP SIGNATURE-----" => over = true,
            _ if over => {}
            // Headers end with an empty line.
            _ if header => header = !line.is_empty(),
            _ => return Some(if signed { line.strip_prefix("- ").unwrap_or(line) } else { line }),
        }
        None
    })
}

/// A hash and the name beside it.
fn read(line: &str) -> Option<(Digest, Option<&str>)> {
    // SHA256 (NAME) = HASH
    if let Some((kind, rest)) = line.split_once(" (")
        && let Some((name, hash)) = rest.rsplit_once(") = ")
        && matches!(kind, "SHA256" | "SHA512")
    {
        return Some((hash_of(hash)?, Some(name)));
    }
    let mut words = line.splitn(2, char::is_whitespace);
    let digest = hash_of(words.next()?)?;
    let name = words.next().unwrap_or_default().trim();
    let name = name.strip_prefix('*').unwrap_or(name);
    let name = name.strip_prefix("./").unwrap_or(name);
    Some((digest, (!name.is_empty() && name != "-").then_some(name)))
}

fn hash_of(word: &str) -> Option<Digest> {
    let algorithm = match word.len() {
        64 => "sha256",
        128 => "sha512",
        _ => return None,
    };
    format!("{algorithm}:{}", word.to_ascii_lowercase()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn is_a(text: &str, per_file: bool) -> bool {
        find(text, "tool.tar.gz", per_file).is_ok_and(|digest| digest.hex() == A)
    }

    #[test]
    fn a_bare_hash_counts_only_in_a_file_of_its_own() {
        assert!(is_a(A, true) && is_a(&format!("{A}\n"), true) && is_a(&format!("{A}  -\n"), true));
        assert!(is_a(&A.to_uppercase(), true));
        assert!(!is_a(A, false));
    }

    #[test]
    fn the_hash_of_another_file_is_never_taken() {
        assert!(is_a(&format!("{B}  other.tar.gz\n{A}  tool.tar.gz\n"), false));
        assert!(is_a(&format!("{A} *./dist/tool.tar.gz"), false));
        assert!(!is_a(&format!("{A}  other.tar.gz"), true), "even in a file of its own");
        assert!(!is_a(&format!("{A}  my-tool.tar.gz"), true));
        assert!(!is_a(&format!("{A}  tool.tar.gz.asc"), true));
        assert!(is_a(&format!("SHA256 (tool.tar.gz) = {A}\nSHA256 (x) = {B}"), false));
    }

    #[test]
    fn a_clear_signed_list_is_read_between_its_armour() {
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{B}  other\n{A}  tool.tar.gz\n-----BEGIN PGP SIGNATURE-----\n\n{B}\n\
             {B}  tool.tar.gz\n-----END PGP SIGNATURE-----\n"
        );
        assert!(is_a(&signed, false));
        let hidden = format!("-----BEGIN PGP SIGNED MESSAGE-----\n{A}  tool.tar.gz\n\n{B}  other\n");
        assert!(!is_a(&hidden, false), "what stands among the headers is not signed");
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        assert!(find(&format!("{A}  tool.tar.gz\n{B}  tool.tar.gz\n"), "tool.tar.gz", false).is_err());
        assert!(is_a(&format!("{A}  tool.tar.gz\n{A}  tool.tar.gz\n"), false));
        for text in ["", "<html>", "sha256", "d41d8cd98f00b204e9800998ecf8427e  tool.tar.gz"] {
            assert!(find(text, "tool.tar.gz", true).is_err(), "{text}");
        }
        let long = "c".repeat(128);
        let both = format!("{A}  tool.tar.gz\n{long}  tool.tar.gz\n");
        assert_eq!(find(&both, "tool.tar.gz", false).unwrap().hex(), long);
    }
}
