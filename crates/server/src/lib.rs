#![doc = include_str!("../README.md")]

mod action;
mod caller;
mod upstream;

pub use action::Action;
pub use caller::{Asked, Caller, Grant, Login, Presented};
pub use upstream::{Bringing, Found, Freshness, OnMiss, Selector, Trouble, UpstreamState};
