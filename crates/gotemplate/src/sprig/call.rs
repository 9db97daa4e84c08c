//! Calls of single functions, for tests.

use crate::function::{Arguments, Fault, Function, Run};
use crate::print;
use crate::text::Text;
use crate::value::Value;

/// A run with a budget of 64 MiB, at 2024-02-29 12:34:56.789 UTC, whose random bytes count up.
struct Probe {
    left: usize,
    next: u8,
}

impl Run for Probe {
    fn include(&mut self, _: &str, _: &Value) -> Result<Text, Fault> {
        Err(Fault::new("no templates here"))
    }

    fn tpl(&mut self, _: &Text, _: &Value) -> Result<Text, Fault> {
        Err(Fault::new("no templates here"))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| Fault::limit("spent"))?;
        Ok(())
    }

    fn now(&self) -> (i64, u32) {
        (1_709_210_096, 789_000_000)
    }

    fn password_cost(&self) -> u32 {
        crate::run::GO_PASSWORD_COST
    }

    fn random(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.next = self.next.wrapping_mul(5).wrapping_add(41);
            *byte = self.next;
        }
    }

    fn lookup(&mut self, _: &[Text; 4]) -> Result<Option<Value>, Fault> {
        Ok(None)
    }

    fn tolerate(&mut self, _: &str) -> Option<Value> {
        None
    }
}

/// What a function of Sprig or Helm gives.
pub(crate) fn value(name: &str, arguments: &[Value]) -> Result<Value, Fault> {
    let tables: Vec<&[Function]> = super::TABLES.iter().chain(crate::helm::TABLES).copied().collect();
    let function =
        tables.iter().flat_map(|table| table.iter()).find(|function| function.name == name).expect(name);
    let mut run = Probe { left: 64 << 20, next: 0 };
    (function.run)(&mut Arguments { values: arguments.to_vec(), run: &mut run })
}

/// The result as it is printed.
pub(crate) fn call(name: &str, arguments: &[Value]) -> String {
    match value(name, arguments) {
        Ok(value) => print::shown(&value),
        Err(fault) => panic!("{name}: {fault}"),
    }
}

/// The words of the error.
pub(crate) fn fault(name: &str, arguments: &[Value]) -> String {
    value(name, arguments).err().expect(name).message
}
