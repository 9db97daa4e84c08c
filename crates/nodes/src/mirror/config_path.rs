//! Whether containerd reads a directory of `hosts.toml` files, and the line that makes it do so.

use toml::{Table, Value};

/// What containerd's configuration says of registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConfigPath {
    /// These directories are read.
    Set(Vec<String>),
    /// None is.
    Unset,
    /// None is, and none can be: mirrors are written into the configuration itself, in the old way, which excludes it.
    OldWay,
    /// Its interface for Kubernetes is off: only clients that name a directory themselves read one.
    NoKubernetes,
}

/// Where the setting is in configurations of version 2 and of version 3 and later.
const PLUGINS: [&str; 2] = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"];

impl ConfigPath {
    /// By the whole configuration as containerd prints it.
    ///
    /// # Errors
    /// When it is not TOML.
    pub(crate) fn of(configuration: &str) -> Result<Self, String> {
        let table: Table = toml::from_str(configuration).map_err(|error| error.message().to_owned())?;
        let off = table.get("disabled_plugins").and_then(Value::as_array).into_iter().flatten();
        let off: Vec<&str> = off.filter_map(Value::as_str).collect();
        if PLUGINS.iter().any(|plugin| off.contains(plugin)) || off.contains(&"cri") {
            return Ok(Self::NoKubernetes);
        }
        let plugins = table.get("plugins").and_then(Value::as_table);
        let names = PLUGINS.iter().chain(&["cri"]);
        let registries: Vec<&Table> =
            names.filter_map(|name| plugins?.get(*name)?.get("registry")?.as_table()).collect();
        let paths: Vec<String> = registries
            .iter()
            .filter_map(|registry| registry.get("config_path")?.as_str())
            .flat_map(|path| path.split(':').filter(|part| !part.is_empty()).map(str::to_owned))
            .collect();
        let is_filled =
            |value: Option<&Value>| value.and_then(Value::as_table).is_some_and(|table| !table.is_empty());
        let has_tls = |registry: &Table| {
            let configs = registry.get("configs").and_then(Value::as_table);
            configs.is_some_and(|configs| configs.values().any(|config| is_filled(config.get("tls"))))
        };
        Ok(match paths.is_empty() {
            false => Self::Set(paths),
            true if registries.iter().any(|it| is_filled(it.get("mirrors")) || has_tls(it)) => Self::OldWay,
            true => Self::Unset,
        })
    }
}

/// The lines that make containerd read a directory, for its configuration file as it is now; `major` is its version.
pub(crate) fn lines(text: &str, major: u32, directory: &str) -> String {
    let (version, is_new) = version(text, major);
    let first = if is_new { format!("version = {version}\n") } else { String::new() };
    format!("{first}[{}]\n  config_path = {}", header(version), Value::from(directory))
}

/// The configuration file with these lines in it. All else stays byte for byte.
///
/// # Errors
/// When it is written in a way in which no line can be added safely.
pub(crate) fn with_lines(text: &str, major: u32, directory: &str) -> Result<String, String> {
    let (version, is_new) = version(text, major);
    let wrong = |error: toml::de::Error| format!("it is not TOML: {}", error.message());
    let before: Table = toml::from_str(text).map_err(wrong)?;
    let keys = path_of(version);
    let mut made = match is_new {
        true => format!("version = {version}\n{text}"),
        false => text.to_owned(),
    };
    let setting = format!("config_path = {}", Value::from(directory));
    match place(&made, &keys) {
        Some((at, end, indent)) => made.replace_range(at..end, &format!("{indent}{setting}\n")),
        None => {
            if !made.is_empty() && !made.ends_with('\n') {
                made.push('\n');
            }
            made += &format!("\n[{}]\n  {setting}\n", header(version));
        }
    }
    // What was made is read again: it must be what there was, and the one setting.
    let mut expected = before;
    if is_new {
        expected.insert("version".into(), Value::Integer(version.into()));
    }
    let mut table = Some(&mut expected);
    for key in &keys {
        let next = table.map(|table| table.entry((*key).to_owned()).or_insert_with(|| Table::new().into()));
        table = next.and_then(Value::as_table_mut);
    }
    if let Some(table) = table {
        table.insert("config_path".into(), directory.into());
    }
    match toml::from_str::<Table>(&made) {
        Ok(table) if table == expected => Ok(made),
        _ => Err("the line cannot be added to it by a program".into()),
    }
}

/// The version of the format, and whether the file has to say so first.
fn version(text: &str, major: u32) -> (u32, bool) {
    let table: Option<Table> = toml::from_str(text).ok();
    let said = table.as_ref().and_then(|table| table.get("version")?.as_integer());
    match (said.and_then(|said| u32::try_from(said).ok()), table.is_none_or(|table| table.is_empty())) {
        (Some(version), _) => (version, false),
        (None, true) if major >= 2 => (3, true),
        (None, true) => (2, true),
        (None, false) => (1, false),
    }
}

fn path_of(version: u32) -> [&'static str; 3] {
    ["plugins", if version < 2 { "cri" } else { PLUGINS[usize::from(version > 2)] }, "registry"]
}

fn header(version: u32) -> String {
    let [first, plugin, last] = path_of(version);
    match version < 2 {
        true => format!("{first}.{plugin}.{last}"),
        false => format!("{first}.\"{plugin}\".{last}"),
    }
}

/// The stretch of the text that the setting takes: the line that is there, or nothing at the start of its section.
fn place(text: &str, keys: &[&str]) -> Option<(usize, usize, String)> {
    let (mut at, mut is_inside) = (0, false);
    let mut start: Option<(usize, String)> = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        let indent = || line[..line.len() - line.trim_start().len()].to_owned();
        if trimmed.starts_with('[') {
            is_inside = is_header(trimmed, keys);
            if is_inside {
                start = Some((at + line.len(), indent() + "  "));
            }
        } else if is_inside && trimmed.split('=').next().is_some_and(|key| key.trim() == "config_path") {
            return Some((at, at + line.len(), indent()));
        }
        at += line.len();
    }
    // A header at the very end without a line break is none to write behind.
    start.filter(|(at, _)| text[..*at].ends_with('\n')).map(|(at, indent)| (at, at, indent))
}

fn is_header(line: &str, keys: &[&str]) -> bool {
    let Ok(table) = toml::from_str::<Table>(line) else { return false };
    let mut table = Some(&table);
    for key in keys {
        table = table.filter(|table| table.len() == 1).and_then(|table| table.get(*key)?.as_table());
    }
    table.is_some_and(Table::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "/etc/containerd/certs.d";

    #[test]
    fn the_setting_is_found_in_the_formats_of_all_versions() {
        let of = |text: &str| ConfigPath::of(text).unwrap();
        let set = ConfigPath::Set(vec!["/a".into(), "/b".into()]);
        assert_eq!(of("[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/a:/b\"\n"), set);
        assert_eq!(of("[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a:/b'\n"), set);
        assert_eq!(
            of(
                "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"\"\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n"
            ),
            ConfigPath::Unset
        );
        assert_eq!(of(""), ConfigPath::Unset);
        assert_eq!(
            of("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = []\n"),
            ConfigPath::OldWay
        );
        assert_eq!(of("disabled_plugins = [\"cri\"]\n"), ConfigPath::NoKubernetes);
        assert!(ConfigPath::of("x = ").is_err());
    }

    #[test]
    fn the_line_is_added_where_it_belongs_and_nothing_else_changes() {
        let add = |text: &str, major| with_lines(text, major, DIRECTORY).unwrap();
        let setting = "config_path = \"/etc/containerd/certs.d\"\n";
        let v3 = "[plugins.\"io.containerd.cri.v1.images\".registry]";
        assert_eq!(add("", 2), format!("version = 3\n\n{v3}\n  {setting}"));
        assert_eq!(
            add("", 1),
            format!("version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  {setting}")
        );
        assert_eq!(
            add("# ours\nroot = \"/x\"", 1),
            format!("# ours\nroot = \"/x\"\n\n[plugins.cri.registry]\n  {setting}")
        );
        let own = format!("version = 3 # x\n  {v3} # here\n    config_path = ''\n    other = 1\n");
        assert_eq!(add(&own, 2), format!("version = 3 # x\n  {v3} # here\n    {setting}    other = 1\n"));
        let bare = format!("version = 3\n{v3}\n[plugins.x]\n");
        assert_eq!(add(&bare, 2), format!("version = 3\n{v3}\n  {setting}[plugins.x]\n"));
        assert_eq!(add(&add("", 2), 2), add("", 2));
    }

    #[test]
    fn where_no_line_can_be_added_nothing_is() {
        for text in [
            "version = 3\nplugins = { a = 1 }\n",
            "version = 3\n[plugins]\n'io.containerd.cri.v1.images'.registry.x = 1\n",
            "[",
        ] {
            assert!(with_lines(text, 2, DIRECTORY).is_err(), "{text}");
        }
    }
}
