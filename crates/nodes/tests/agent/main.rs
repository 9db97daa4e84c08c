//! The client of `larder-node` with the real program: as a child process, and on nodes with a real sshd.

mod cut;
mod install;
mod session;
mod shell;
mod ssh;
