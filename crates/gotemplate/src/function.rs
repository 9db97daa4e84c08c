//! What a function of the language is, and how it is called.

use std::any::Any;
use std::rc::Rc;

use crate::text::Text;
use crate::value::{Element, List, Map, Value};

/// A function as the table of all functions has it. The evaluator checks number and types of arguments before it calls `run`, with
/// Go's words for what is wrong, so that `run` finds what `parameters` promise.
pub struct Function {
    /// As templates call it.
    pub name: &'static str,
    /// Fixed parameters, in order.
    pub parameters: &'static [Parameter],
    /// The type of all further arguments; `None` if there may be none.
    pub variadic: Option<Parameter>,
    /// What it does.
    pub run: fn(&mut Arguments<'_>) -> Result<Value, Fault>,
}

/// Go's type of a parameter, and with it which values may be passed and how they are converted (text/template, `validateType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parameter {
    /// `interface {}`: anything, also nil.
    Any,
    /// `string`
    Text,
    /// `int`: any Go `int`; no other integer type.
    Int,
    /// `int64`
    Int64,
    /// `float64`
    Float,
    /// `bool`
    Bool,
    /// `map[string]interface {}`
    Map,
    /// `[]interface {}`
    List,
    /// `time.Time`
    Time,
    /// `uint32`: a constant that fits.
    Uint32,
    /// A Go struct of that name (`Object::type_name`): `sprig.certificate`.
    Object(&'static str),
}

/// The arguments of one call, and the run it belongs to.
pub struct Arguments<'a> {
    /// As many as were given; they are what the signature says.
    pub values: Vec<Value>,
    /// The run that the call is part of.
    pub run: &'a mut dyn Run,
}

/// What a function may ask of the run that calls it. The evaluator implements it.
pub trait Run {
    /// Executes another template of the set, as `include` does; counts towards the limit of nesting.
    fn include(&mut self, name: &str, data: &Value) -> Result<Text, Fault>;
    /// Parses and executes `text` in a copy of the set, as `tpl` does.
    fn tpl(&mut self, text: &Text, data: &Value) -> Result<Text, Fault>;
    /// Takes `bytes` from the budget of the run; an error once it is spent.
    fn charge(&mut self, bytes: usize) -> Result<(), Fault>;
    /// Seconds and nanoseconds since 1970 of the one moment this run takes place in.
    fn now(&self) -> (i64, u32);
    /// The next bytes of the seeded stream.
    fn random(&mut self, bytes: &mut [u8]);
    /// The cost of hashed passwords.
    fn password_cost(&self) -> u32;
    /// What a cluster has: API version, kind, namespace and name, as `lookup` asks. `None` if there is no cluster to ask.
    fn lookup(&mut self, names: &[Text; 4]) -> Result<Option<Value>, Fault>;
    /// What a function kept under this key in an earlier call, be it of another template.
    fn kept(&self, _key: &Text) -> Option<Rc<dyn Any>> {
        None
    }
    /// Keeps what is dear to make: compiled regular expressions, by their text.
    fn keep(&mut self, _key: Text, _what: Rc<dyn Any>) {}
    /// `required` and `fail`, if the run goes on in spite of them: the message is recorded, and what stands for the value is
    /// returned. `None` where they end the run, as in Helm.
    fn tolerate(&mut self, message: &str) -> Option<Value>;
}

/// Why a function could not do it. The evaluator adds template, line, column and the name of the function, as Go does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// As Go says it.
    pub message: String,
    /// Whether this is a limit of the run, which no tolerance may pass over.
    pub limit: bool,
}

impl Function {
    /// A function with a fixed number of arguments.
    pub const fn new(
        name: &'static str,
        parameters: &'static [Parameter],
        run: fn(&mut Arguments<'_>) -> Result<Value, Fault>,
    ) -> Self {
        Self { name, parameters, variadic: None, run }
    }

    /// A function that takes any number of `rest` after its fixed arguments.
    pub const fn variadic(
        name: &'static str,
        parameters: &'static [Parameter],
        rest: Parameter,
        run: fn(&mut Arguments<'_>) -> Result<Value, Fault>,
    ) -> Self {
        Self { name, parameters, variadic: Some(rest), run }
    }
}

impl Fault {
    /// The function could not do it.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), limit: false }
    }

    /// A limit of the run was reached.
    pub fn limit(message: impl Into<String>) -> Self {
        Self { message: message.into(), limit: true }
    }
}

impl Arguments<'_> {
    /// Argument `index`; nil if it was not given.
    pub fn value(&self, index: usize) -> Value {
        self.values.get(index).cloned().unwrap_or_default()
    }

    /// Argument `index`, which the signature says is a text.
    pub fn text(&self, index: usize) -> Text {
        self.value(index).as_text().cloned().expect("the signature says text, and arguments are checked")
    }

    /// Argument `index`, which the signature says is a map; nil is a map without entries, as in Go.
    pub fn map(&self, index: usize) -> Map {
        self.value(index).as_map().cloned().unwrap_or_default()
    }

    /// Argument `index`, which the signature says is a list; nil is a list without items, as in Go.
    pub fn list(&self, index: usize) -> List {
        self.value(index).as_list().cloned().unwrap_or_else(|| List::null(Element::Any))
    }

    /// Whether argument `index` was given, and is true.
    pub fn is_true(&self, index: usize) -> bool {
        matches!(self.values.get(index), Some(Value::Bool(true)))
    }

    /// Argument `index`, which the signature says is an integer.
    pub fn int(&self, index: usize) -> i64 {
        match self.value(index) {
            Value::Int(number, _) => number,
            _ => unreachable!("the signature says integer, and arguments are checked"),
        }
    }
}
