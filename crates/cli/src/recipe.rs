//! How a lock file was made: the words that name its sources. Relative paths in it are seen from the lock file, as those in most
//! files are, so that it can be checked from anywhere.

use anyhow::{Context as _, Result};
use larder_engine::Source;
use std::path::{Component, Path, PathBuf};

/// Words of a command line that is run here, as they are written into `file`. Absolute paths stay as they are.
pub(crate) fn seen_from(file: &Path, words: Vec<String>) -> Result<Vec<String>> {
    if file == Path::new("-") {
        return Ok(words);
    }
    let absolute =
        |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let (here, there) = (absolute(Path::new("."))?, absolute(directory_of(file))?);
    Ok(match here == there {
        true => words,
        false => each_path(&words, &|path| relative(&here.join(path), &there)),
    })
}

/// Words in `file`, as they are for a command line that is run here.
pub(crate) fn seen_from_here(file: &Path, words: &[String]) -> Vec<String> {
    let directory = directory_of(file);
    match directory == Path::new(".") {
        true => words.to_vec(),
        false => each_path(words, &|path| directory.join(path)),
    }
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The words, with every relative path in them replaced.
fn each_path(words: &[String], replace: &dyn Fn(&Path) -> PathBuf) -> Vec<String> {
    let replaced = |path: &str| match Path::new(path).is_relative() && path != "-" && !path.contains("://") {
        true => replace(Path::new(path)).display().to_string(),
        false => path.to_owned(),
    };
    let names_charts = words.iter().any(|word| word.starts_with("--repo="));
    let word = |word: &String| {
        if let Some((flag @ ("--values" | "--rules"), path)) = word.split_once('=') {
            return format!("{flag}={}", replaced(path));
        }
        if let Some(pairs) = word.strip_prefix("--set-file=") {
            let pair = |pair: &str| match pair.split_once('=') {
                Some((key, path)) => format!("{key}={}", replaced(path)),
                None => pair.to_owned(),
            };
            return format!("--set-file={}", pairs.split(',').map(pair).collect::<Vec<_>>().join(","));
        }
        match word.parse() {
            // The name of a chart in a repository looks like a path.
            Ok(Source::Path(_)) if names_charts && !word.starts_with('.') && !Path::new(word).exists() => {
                word.clone()
            }
            Ok(Source::Path(_)) if !word.starts_with("--") => replaced(word),
            Ok(Source::Running { kubeconfig: Some(file), context }) => {
                let kubeconfig = Some(replaced(&file.display().to_string()).into());
                Source::Running { kubeconfig, context }.to_string()
            }
            _ => word.clone(),
        }
    };
    words.iter().map(word).collect()
}

/// The way from a directory to a path; both are absolute.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let mut parts: Vec<Component<'_>> = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if parts.len() > 1 => drop(parts.pop()),
            Component::ParentDir => {}
            part => parts.push(part),
        }
    }
    let own: Vec<Component<'_>> = directory.components().collect();
    let common = parts.iter().zip(&own).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, own.len() - common);
    let way: PathBuf = up.chain(parts.drain(common..)).collect();
    if way.as_os_str().is_empty() { ".".into() } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_file_and_back() {
        let words: Vec<String> = [
            "a/m.yaml",
            "/abs",
            "oci://r.example/c:1",
            "https://x.example/y.yaml",
            "kubeconfig:k#ctx",
            "kubeconfig:#ctx",
            "--values=v.yaml",
            "--set=x=y/z",
            "--set-file=k=f.txt,l=/g",
        ]
        .map(str::to_owned)
        .into();
        let away =
            each_path(&words, &|path| relative(&Path::new("/home/u").join(path), Path::new("/home/locks/a")));
        assert_eq!(
            away,
            [
                "../../u/a/m.yaml",
                "/abs",
                "oci://r.example/c:1",
                "https://x.example/y.yaml",
                "kubeconfig:../../u/k#ctx",
                "kubeconfig:#ctx",
                "--values=../../u/v.yaml",
                "--set=x=y/z",
                "--set-file=k=../../u/f.txt,l=/g",
            ]
        );
        let back =
            seen_from_here(Path::new("locks/a/larder.lock"), &["../m".to_owned(), "--rules=r".to_owned()]);
        assert_eq!(back, ["locks/a/../m", "--rules=locks/a/r"]);
    }

    #[test]
    fn names_of_charts_are_no_paths() {
        let words: Vec<String> =
            ["web-that-is-no-file", "./web", "--repo=https://x.example"].map(str::to_owned).into();
        let moved = seen_from_here(Path::new("sub/larder.lock"), &words);
        assert_eq!(moved[0], "web-that-is-no-file");
        assert_eq!(moved[1], "sub/./web");
    }

    #[test]
    fn the_way_between_directories() {
        for (path, directory, way) in
            [("/a/b/../c", "/a", "c"), ("/a", "/a", "."), ("/a/x", "/a/b/c", "../../x"), ("/x", "/", "x")]
        {
            assert_eq!(relative(Path::new(path), Path::new(directory)), Path::new(way), "{path} {directory}");
        }
    }
}
