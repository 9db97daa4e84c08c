//! A set of templates that can name each other.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::Error;
use crate::evaluator::Evaluator;
use crate::lexer::{Kind, Lexer};
use crate::node::Tree;
use crate::parser;
use crate::run::{Limits, Output, RunOptions};
use crate::stack::Stack;
use crate::table::Table;
use crate::text::Text;
use crate::value::Value;

/// Templates in one namespace, as all files of a chart and its dependencies are.
pub struct Templates {
    pub(crate) table: Table,
    set: HashMap<Text, Rc<Tree>>,
    /// What `tpl` parsed, by text: charts render the same few texts again and again.
    texts: RefCell<HashMap<Text, Rc<Overlay>>>,
    /// What functions keep from call to call.
    kept: RefCell<HashMap<Text, Rc<dyn Any>>>,
}

/// What one text of `tpl` defines, itself included; it hides what has the same name in the set.
pub(crate) struct Overlay {
    pub(crate) root: Rc<Tree>,
    pub(crate) trees: HashMap<Text, Rc<Tree>>,
}

impl Templates {
    /// An empty set whose templates may use the functions of `table`.
    pub fn new(table: Table) -> Self {
        Self { table, set: HashMap::new(), texts: RefCell::default(), kept: RefCell::default() }
    }

    /// Adds a text and all it defines. What is defined last counts, except that what is empty replaces nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`], and the set is as it was.
    pub fn parse(&mut self, name: &str, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let trees = parser::parse(&name.into(), text.as_ref(), &self.table, Stack::standard())?;
        for tree in trees {
            if !(tree.is_empty() && self.set.contains_key(&tree.name)) {
                self.set.insert(tree.name.clone(), Rc::new(tree));
            }
        }
        Ok(())
    }

    /// Executes a template, as Helm does with a file: `<no value>` is cut out of what it gives.
    ///
    /// # Errors
    ///
    /// [`Error::Execute`] and [`Error::Unknown`].
    pub fn execute(&self, name: &str, data: &Value, options: &RunOptions<'_>) -> Result<Output, Error> {
        self.execute_within(&mut { options.limits }, name, data, options)
    }

    /// The same with limits that several executions share: `left` is used instead of those of `options`, and what was used up is
    /// taken off it, also where the execution fails.
    ///
    /// # Errors
    ///
    /// [`Error::Execute`] and [`Error::Unknown`].
    pub fn execute_within(
        &self,
        left: &mut Limits,
        name: &str,
        data: &Value,
        options: &RunOptions<'_>,
    ) -> Result<Output, Error> {
        let options = RunOptions { limits: *left, ..options.clone() };
        let mut evaluator = Evaluator::new(self, &options, name);
        let result = evaluator.execute(name, data);
        *left = evaluator.left();
        result
    }

    /// The names of all templates, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.set.keys().map(Text::to_string).collect();
        names.sort_unstable();
        names
    }

    /// Whether there is a template of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.set.contains_key(name.as_bytes())
    }

    /// The functions a text calls that are not in the table, in the order of the text: [`Error::Parse`] names only the first.
    pub fn unknown_functions(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        let text = text.as_ref();
        let mut lexer = Lexer::new(text);
        let mut names = Vec::new();
        loop {
            let token = lexer.next_token();
            match token.kind {
                Kind::Eof | Kind::Error => return names,
                Kind::Identifier if self.table.callee(&text[token.start..token.end]).is_none() => {
                    let name = String::from_utf8_lossy(&text[token.start..token.end]).into_owned();
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn tree(&self, name: &[u8]) -> Option<&Rc<Tree>> {
        self.set.get(name)
    }

    pub(crate) fn kept(&self, key: &Text) -> Option<Rc<dyn Any>> {
        self.kept.borrow().get(key).cloned()
    }

    pub(crate) fn keep(&self, key: Text, what: Rc<dyn Any>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(key, what);
    }

    /// What `tpl` made of a text before.
    pub(crate) fn known(&self, text: &Text) -> Option<Rc<Overlay>> {
        self.texts.borrow().get(text).cloned()
    }

    /// What `tpl` makes of a text.
    pub(crate) fn overlay(&self, text: &Text, stack: Stack) -> Result<Rc<Overlay>, Error> {
        let name: Text = ROOT.into();
        let mut trees = HashMap::new();
        for tree in parser::parse(&name, text.as_bytes(), &self.table, stack)? {
            trees.insert(tree.name.clone(), Rc::new(tree));
        }
        let root = trees.get(&name).cloned().expect("a text has a tree of its own");
        let overlay = Rc::new(Overlay { root, trees });
        if text.len() <= MAX_TEXT_BYTES {
            let mut texts = self.texts.borrow_mut();
            if texts.len() >= MAX_TEXTS {
                texts.clear();
            }
            texts.insert(text.clone(), overlay.clone());
        }
        Ok(overlay)
    }
}

/// What Helm calls the set, and with it each text of `tpl`.
pub(crate) const ROOT: &str = "gotpl";
const MAX_TEXTS: usize = 1024;
const MAX_TEXT_BYTES: usize = 16 << 10;
const MAX_KEPT: usize = 256;
