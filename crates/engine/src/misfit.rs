//! A configured value that does not fit its key, in words for people.

/// What serde says about a value, without the words of its authors: `invalid type: string "x", expected usize` becomes
/// `expected a whole number that is not negative, not "x"`. Everything else stays as it is.
pub(crate) fn plain(message: &str) -> String {
    let translated = ["invalid type: ", "invalid value: "].iter().find_map(|start| {
        let (found, expected) = message.strip_prefix(start)?.split_once(", expected ")?;
        Some(format!("expected {}, not {}", wanted(expected), given(found)))
    });
    if let Some(translated) = translated {
        return translated;
    }
    match message.split_once("unknown field ").and_then(|(_, rest)| rest.split_once(", expected ")) {
        Some((field, known)) => {
            let known = known.trim_start_matches("one of ").replace('`', "");
            format!("there is no key {} here, only {known}", field.replace('`', ""))
        }
        None => message.to_owned(),
    }
}

fn wanted(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number that is not negative",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "path string" => "a path",
        "a sequence" => "a list",
        "a map" => "a block of keys",
        other if other.starts_with("struct ") => "a block of keys",
        // Our own types say it in plain words already.
        other => other,
    }
}

fn given(found: &str) -> String {
    match found {
        "null" | "unit value" => "nothing".into(),
        "sequence" => "a list".into(),
        "map" => "a block of keys".into(),
        // `string "x"`, ``integer `5` ``, ``floating point `1.5` ``.
        other => match other.find(['"', '`']) {
            Some(value) => other[value..].replace('`', ""),
            None => other.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, LayerOfValues, Origin};
    use serde_json::{Value, json};

    fn problem(name: &str, value: Value) -> String {
        let values = [(name.to_owned(), value)].into_iter().collect();
        Config::layered(&[LayerOfValues { origin: Origin::Flag("--x".into()), values }]).unwrap_err()
    }

    #[test]
    fn no_word_of_a_programmer_is_left() {
        for (name, value, expected) in [
            ("jobs", json!("many"), "expected a whole number that is not negative, not \"many\""),
            ("jobs", json!(-1), "expected a whole number that is not negative, not -1"),
            ("jobs", json!(1.5), "expected a whole number that is not negative, not 1.5"),
            ("attached", json!("maybe"), "expected true or false, not \"maybe\""),
            ("platforms", json!("linux/amd64"), "expected a list, not \"linux/amd64\""),
            ("platforms", json!([5]), "expected a text, not 5"),
            ("driver", json!(["erofs"]), "expected a text, not a list"),
            ("ca_file", json!({}), "expected a list, not a block of keys"),
            ("auth_file", json!(true), "expected a path, not true"),
            ("registries", json!({ "a": 1 }), "expected a block of keys, not 1"),
        ] {
            assert_eq!(problem(name, value), format!("flag --x: {name}: {expected}"));
        }
        let unknown = problem("registries", json!({ "a": { "user": "x" } }));
        assert_eq!(
            unknown,
            "flag --x: registries: there is no key user here, only username, password, password_file"
        );
    }
}
