//! Types and kinds (Sprig's `reflect.go`).

use crate::function::{Function, Parameter};

use super::equality::deep_equal;

use Parameter::{Any, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("typeOf", &[Any], |args| Ok(args.value(0).type_name().into_owned().into())),
    Function::new("typeIs", &[Str, Any], |args| {
        Ok((args.text(0).as_bytes() == args.value(1).type_name().as_bytes()).into())
    }),
    Function::new("typeIsLike", &[Str, Any], |args| {
        let (target, value) = (args.text(0), args.value(1));
        let name = value.type_name();
        let name = name.as_bytes();
        Ok((target.as_bytes() == name || name.strip_prefix(b"*") == Some(target.as_bytes())).into())
    }),
    Function::new("kindOf", &[Any], |args| Ok(args.value(0).kind().into())),
    Function::new("kindIs", &[Str, Any], |args| {
        Ok((args.text(0).as_bytes() == args.value(1).kind().as_bytes()).into())
    }),
    Function::new("deepEqual", &[Any, Any], |args| {
        let (one, other) = (args.value(0), args.value(1));
        Ok(deep_equal(&one, &other, args.run)?.into())
    }),
];
