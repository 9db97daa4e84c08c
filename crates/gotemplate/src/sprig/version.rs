//! Versions (Sprig's `semver.go`).

use std::any::Any;
use std::rc::Rc;

use crate::function::{Fault, Function, Parameter};
use crate::semver::{Constraints, Version};
use crate::value::{IntKind, Object, Value};

use Parameter::Text as Str;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("semver", &[Str], |args| Ok(value(parse(&args.text(0).to_str())?, true))),
    Function::new("semverCompare", &[Str, Str], |args| {
        let constraints =
            Constraints::parse(&args.text(0).to_str()).map_err(|error| Fault::new(error.to_string()))?;
        Ok(constraints.check(&parse(&args.text(1).to_str())?).into())
    }),
];

fn parse(text: &str) -> Result<Version, Fault> {
    Version::parse(text).map_err(|error| Fault::new(error.to_string()))
}

fn value(version: Version, pointer: bool) -> Value {
    Value::Object(Rc::new(Held { version, pointer }))
}

/// What a deep copy of a version is: reflection cannot read its fields, and they are zero.
pub(crate) fn copied(object: &dyn Object) -> Option<Value> {
    object.as_any().downcast_ref::<Held>()?;
    let zero = Version {
        major: 0,
        minor: 0,
        patch: 0,
        prerelease: String::new(),
        metadata: String::new(),
        original: String::new(),
    };
    Some(value(zero, true))
}

/// A `*semver.Version`, or a `semver.Version` where a method gives one.
struct Held {
    version: Version,
    pointer: bool,
}

impl Held {
    fn next(&self, part: usize) -> Version {
        let own = &self.version;
        let (major, minor, patch) = match part {
            0 => (own.major.wrapping_add(1), 0, 0),
            1 => (own.major, own.minor.wrapping_add(1), 0),
            _ if own.prerelease.is_empty() => (own.major, own.minor, own.patch.wrapping_add(1)),
            _ => (own.major, own.minor, own.patch),
        };
        self.renamed(Version {
            major,
            minor,
            patch,
            prerelease: String::new(),
            metadata: String::new(),
            original: String::new(),
        })
    }

    /// With the text it would have been read from: a `v` stays.
    fn renamed(&self, version: Version) -> Version {
        let prefix = if self.version.original.starts_with('v') { "v" } else { "" };
        Version { original: format!("{prefix}{version}"), ..version }
    }

    fn with_part(&self, arguments: &[Value], set: fn(&mut Version, String)) -> Result<Value, Fault> {
        let part = arguments
            .first()
            .and_then(Value::as_text)
            .map(|text| text.to_str().into_owned())
            .unwrap_or_default();
        let mut version = self.version.clone();
        set(&mut version, part);
        // What is no part cannot be read again.
        parse(&version.to_string()).map_err(|_| Fault::new("invalid prerelease string"))?;
        Ok(value(self.renamed(version), false))
    }
}

impl Object for Held {
    fn type_name(&self) -> &str {
        if self.pointer { "*semver.Version" } else { "semver.Version" }
    }

    fn kind(&self) -> &'static str {
        if self.pointer { "ptr" } else { "struct" }
    }

    fn get(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, Fault>> {
        let own = &self.version;
        let number = |number: u64| Ok(Value::Int(number.cast_signed(), IntKind::Uint64));
        let order = || match arguments.first() {
            Some(Value::Object(other)) => match other.as_any().downcast_ref::<Self>() {
                Some(other) => Ok(own.compare(&other.version)),
                None => Err(Fault::new(format!(
                    "wrong type for value; expected *semver.Version; got {}",
                    other.type_name()
                ))),
            },
            Some(other) => Err(Fault::new(format!(
                "wrong type for value; expected *semver.Version; got {}",
                other.type_name()
            ))),
            None => Err(Fault::new(format!("wrong number of args for {name}: want 1 got 0"))),
        };
        // A result of a method has no address, and so none of the methods of pointers.
        let of_pointer = matches!(name, "Original" | "Compare" | "Equal") || name.contains("Than");
        if of_pointer && !self.pointer {
            return None;
        }
        Some(match name {
            "Major" => number(own.major),
            "Minor" => number(own.minor),
            "Patch" => number(own.patch),
            "Prerelease" => Ok(own.prerelease.as_str().into()),
            "Metadata" => Ok(own.metadata.as_str().into()),
            "Original" => Ok(own.original.as_str().into()),
            "String" => Ok(own.to_string().into()),
            "IncMajor" => Ok(value(self.next(0), false)),
            "IncMinor" => Ok(value(self.next(1), false)),
            "IncPatch" => Ok(value(self.next(2), false)),
            "SetPrerelease" => self.with_part(arguments, |version, part| version.prerelease = part),
            "SetMetadata" => self.with_part(arguments, |version, part| version.metadata = part),
            "Compare" => order().map(|order| Value::int(order as i64)),
            "LessThan" => order().map(|order| order.is_lt().into()),
            "LessThanEqual" => order().map(|order| order.is_le().into()),
            "GreaterThan" => order().map(|order| order.is_gt().into()),
            "GreaterThanEqual" => order().map(|order| order.is_ge().into()),
            "Equal" => order().map(|order| order.is_eq().into()),
            _ => return None,
        })
    }

    fn print(&self) -> String {
        self.version.to_string()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault, value};
    use crate::value::Value;

    #[test]
    fn ranges_are_those_of_masterminds() {
        let check = |range: &str, version: &str| call("semverCompare", &[range.into(), version.into()]);
        assert_eq!(check(">=1.19-0", "1.30.2-gke.100"), "true");
        assert_eq!(check(">=1.19", "1.30.2-gke.100"), "false");
        assert_eq!(check("^1.2.x || ~3", "3.9.9"), "true");
        assert_eq!(fault("semverCompare", &[">=a".into(), "1.0.0".into()]), "improper constraint: \">=a\"");
        assert_eq!(fault("semver", &["x".into()]), "invalid semantic version");
    }

    #[test]
    fn a_version_has_parts() {
        let Value::Object(version) = value("semver", &["v1.2.3-rc.1+b5".into()]).expect("a version") else {
            panic!("no object")
        };
        let part = |name: &str| crate::print::shown(&version.get(name, &[]).expect(name).expect(name));
        assert_eq!(
            [part("Major"), part("Prerelease"), part("Metadata"), part("Original")],
            ["1", "rc.1", "b5", "v1.2.3-rc.1+b5"]
        );
        assert_eq!([part("IncPatch"), part("IncMajor")], ["1.2.3", "2.0.0"]);
        assert_eq!((version.type_name(), version.kind()), ("*semver.Version", "ptr"));
    }
}
