//! What functions ask of the run (`include` and `tpl` of Helm's `pkg/engine`).

use std::any::Any;
use std::rc::Rc;

use crate::error::Error;
use crate::evaluator::{Evaluated, Evaluator, Seen};
use crate::function::{Fault, Run};
use crate::quote;
use crate::run::{Cause, Diagnostic, GO_PASSWORD_COST};
use crate::text::Text;
use crate::value::Value;

impl Run for Evaluator<'_> {
    fn include(&mut self, name: &str, data: &Value) -> Result<Text, Fault> {
        let Some(tree) = self.tree(name.as_bytes()) else {
            let error = Error::Unknown { name: name.to_owned() };
            if !self.options.tolerant {
                return Err(error.into());
            }
            self.note(error.to_string(), Cause::Undefined);
            return Ok(Text::from(""));
        };
        match self.included.get_mut(name.as_bytes()) {
            Some(count) if *count > self.options.limits.include_depth => {
                return Err(Fault::limit(format!(
                    "rendering template has a nested reference name: {name}: unable to execute template"
                )));
            }
            Some(count) => *count += 1,
            None => {
                self.included.insert(name.into(), 1);
            }
        }
        let result = self.captured(|run| run.execute_tree(&tree, &Seen::plain(data.clone())));
        if let Some(count) = self.included.get_mut(name.as_bytes()) {
            *count -= 1;
        }
        result.map(Text::from)
    }

    fn tpl(&mut self, text: &Text, data: &Value) -> Result<Text, Fault> {
        let quoted = || quote::quote(text.as_bytes());
        let overlay = match self.templates.known(text) {
            Some(overlay) => overlay,
            None => {
                // Trees take many times the space of their text.
                self.charge(text.len().saturating_mul(16))?;
                self.templates
                    .overlay(text, self.stack)
                    .map_err(|error| Fault::new(format!("cannot parse template {}: {error}", quoted())))?
            }
        };
        self.overlays.push(overlay.clone());
        let result = self.captured(|run| run.execute_tree(&overlay.root, &Seen::plain(data.clone())));
        self.overlays.pop();
        match result {
            Ok(out) => Ok(Text::from(without_no_value(out))),
            Err(fault) => Err(Fault {
                message: format!("error during tpl function execution for {}: {}", quoted(), fault.message),
                limit: fault.limit,
            }),
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(Fault::limit(format!("more than {} bytes", self.options.limits.bytes))),
        }
    }

    fn now(&self) -> (i64, u32) {
        self.options.now
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    fn password_cost(&self) -> u32 {
        self.options.password_cost.unwrap_or(GO_PASSWORD_COST)
    }

    fn lookup(&mut self, names: &[Text; 4]) -> Result<Option<Value>, Fault> {
        match self.options.lookup {
            Some(lookup) => lookup(names),
            None => Ok(None),
        }
    }

    fn kept(&self, key: &Text) -> Option<Rc<dyn Any>> {
        self.templates.kept(key)
    }

    fn keep(&mut self, key: Text, what: Rc<dyn Any>) {
        self.templates.keep(key, what);
    }

    fn tolerate(&mut self, message: &str) -> Option<Value> {
        if !self.options.tolerant {
            return None;
        }
        self.note(message.to_owned(), Cause::Refused);
        Some(Value::from(""))
    }
}

impl Evaluator<'_> {
    /// Notes what was passed over; where it was is added by who knows.
    pub(crate) fn note(&mut self, message: String, cause: Cause) {
        self.diagnostics.push(Diagnostic { message, template: String::new(), line: 0, cause });
    }

    /// What `run` appends to the output, taken from it again.
    fn captured(&mut self, run: impl FnOnce(&mut Self) -> Evaluated<()>) -> Result<Vec<u8>, Fault> {
        let outer = std::mem::take(&mut self.out);
        let result = run(self);
        let inner = std::mem::replace(&mut self.out, outer);
        match result {
            Ok(()) => Ok(inner),
            Err(error) => Err(Fault::from(*error)),
        }
    }
}

/// Helm cuts out what Go prints for nothing.
pub(crate) fn without_no_value(text: Vec<u8>) -> Vec<u8> {
    let mut from = 0;
    let mut out = Vec::new();
    for at in memchr::memmem::find_iter(&text, NO_VALUE) {
        out.extend_from_slice(&text[from..at]);
        from = at + NO_VALUE.len();
    }
    if from == 0 {
        return text;
    }
    out.extend_from_slice(&text[from..]);
    out
}

const NO_VALUE: &[u8] = b"<no value>";
