//! The program that is put on nodes.

use super::error::AgentError;
use larder_core::{Algorithm, Digest, Hasher};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A processor that programs are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Architecture {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// The word in names of files and platforms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As `uname -m` has it.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// Which words a program needs before those of `larder-node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// None: it is `larder-node`.
    Node,
    /// `node-agent`: it is `larder`.
    Larder,
}

/// A file that can be put on nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// For what.
    pub architecture: Architecture,
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of it.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its words.
    pub form: Form,
}

/// The programs that there are, at most one for each architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs(Vec<Program>);

impl Programs {
    /// Finds them: `named` before all, then `larder-node-amd64` and `larder-node-arm64` in each of `directories`, at last `own`, the
    /// file of the running `larder`, for nodes like this machine.
    ///
    /// # Errors
    /// If `named` is no program for a node, or a file that is there cannot be read.
    pub fn find(
        named: Option<&Path>,
        directories: &[PathBuf],
        own: Option<&Path>,
    ) -> Result<Self, AgentError> {
        let mut programs = Vec::new();
        if let Some(path) = named {
            programs.push(Program::read(path, Form::Node)?);
        }
        for architecture in Architecture::ALL {
            let name = format!("larder-node-{}", architecture.as_str());
            let found = directories.iter().map(|directory| directory.join(&name)).find(|path| path.is_file());
            if let Some(path) = found {
                let program = Program::read(&path, Form::Node)?;
                if program.architecture != architecture {
                    return Err(AgentError::Program { path, reason: "it is for another architecture" });
                }
                programs.push(program);
            }
        }
        if let Some(path) = own {
            programs.push(Program::read(path, Form::Larder)?);
        }
        let mut known = Self::default();
        for program in programs {
            if known.of(program.architecture.machine()).is_none() {
                known.0.push(program);
            }
        }
        Ok(known)
    }

    /// The one for a machine, named as `uname -m` does.
    pub fn of(&self, machine: &str) -> Option<&Program> {
        self.0.iter().find(|program| program.architecture.machine() == machine)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Program> {
        self.0.iter()
    }
}

impl Program {
    /// Looks at a file.
    ///
    /// # Errors
    /// If it cannot be read or is no ELF program for one of the architectures.
    pub fn read(path: &Path, form: Form) -> Result<Self, AgentError> {
        let failed = |source| AgentError::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut head = [0; 20];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => AgentError::Program { path: path.to_owned(), reason: NO_ELF },
            _ => failed(error),
        })?;
        // ELF-64 header (System V ABI, chapter 4): magic, class 2, data 1 for little endian; `e_machine` at 18.
        let architecture = match (&head[..6], u16::from_le_bytes([head[18], head[19]])) {
            (b"\x7fELF\x02\x01", 62) => Architecture::Amd64,
            (b"\x7fELF\x02\x01", 183) => Architecture::Arm64,
            _ => return Err(AgentError::Program { path: path.to_owned(), reason: NO_ELF }),
        };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&head);
        let mut size = head.len() as u64;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
        Ok(Self { architecture, path: path.to_owned(), digest: hasher.finish(), size, form })
    }
}

const NO_ELF: &str = "it is no ELF program for x86-64 or 64-bit ARM";
