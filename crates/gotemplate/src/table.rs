//! Functions by name.

use std::collections::HashMap;
use std::rc::Rc;

use crate::function::Function;
use crate::node::Callee;
use crate::{builtin, sprig};

/// Which functions a set of templates may use. Cloning it costs a reference count.
#[derive(Clone)]
pub struct Table {
    functions: Rc<HashMap<&'static str, Callee>>,
}

/// What the evaluator does itself, because it is in the language (`and` does not evaluate what it need not) or because it is
/// everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    None,
    And,
    Or,
    Not,
    Len,
    Call,
}

/// All functions that Helm has: Go's, Sprig's without those that read the environment, and its own.
pub fn helm() -> Table {
    // The later hides the earlier, as in Helm: Sprig's `slice` hides Go's, Helm's `toJson` hides Sprig's.
    let mut groups = vec![builtin::FUNCTIONS];
    groups.extend(sprig::TABLES);
    groups.extend(crate::helm::TABLES);
    Table::new(&groups)
}

/// The functions of text/template itself.
pub fn go() -> Table {
    Table::new(&[builtin::FUNCTIONS])
}

impl Table {
    /// A table of these; of two with one name the later counts.
    pub fn new(groups: &[&'static [Function]]) -> Self {
        let mut functions = HashMap::with_capacity(256);
        for function in groups.iter().copied().flatten() {
            functions.insert(function.name, Callee { function, special: special(function) });
        }
        Self { functions: Rc::new(functions) }
    }

    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<&'static Function> {
        self.functions.get(name).map(|callee| callee.function)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.functions.keys().copied().collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn callee(&self, name: &[u8]) -> Option<Callee> {
        self.functions.get(std::str::from_utf8(name).ok()?).copied()
    }
}

/// Nothing hides these: neither Sprig nor Helm has functions of these names.
fn special(function: &Function) -> Special {
    match function.name {
        "and" => Special::And,
        "or" => Special::Or,
        "not" => Special::Not,
        "len" => Special::Len,
        "call" => Special::Call,
        _ => Special::None,
    }
}
