//! Exit codes: the one place that decides them.

use larder_core::Kind;
use std::process::ExitCode;

/// How a run ended. Scripts rely on the numbers; they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Internal,
    Usage,
    NotFound,
    Denied,
    Corrupt,
    Unavailable,
    Conflict,
    Invalid,
    Unsupported,
    Interrupted,
    Terminated,
}

/// All codes, in order of their number.
const TABLE: [(Exit, &str); 12] = [
    (Exit::Done, "everything that was asked for is done"),
    (Exit::Internal, "internal: a bug in larder, or an error that none of the others describes"),
    (Exit::Usage, "usage: a mistake on the command line or in the configuration"),
    (Exit::NotFound, "not found: no such image, platform, blob or file"),
    (Exit::Denied, "denied: the registry or the system refused; log in, or ask for the right"),
    (Exit::Corrupt, "corrupt: bytes do not hash to their name; nothing of them was kept or served"),
    (Exit::Unavailable, "unavailable: network, registry or disk space; trying again later may help"),
    (Exit::Conflict, "conflict: it exists already, or is in use"),
    (Exit::Invalid, "invalid: a manifest, an archive or a layer is not what it claims to be"),
    (Exit::Unsupported, "unsupported: this host or this version cannot do it"),
    (Exit::Interrupted, "interrupted by Ctrl-C (SIGINT); the same command continues where it stopped"),
    (Exit::Terminated, "terminated by SIGTERM; the same command continues where it stopped"),
];

/// Of several failures, the one that trying again helps least decides.
const MOST_TELLING: [Exit; 8] = [
    Exit::Internal,
    Exit::Corrupt,
    Exit::Denied,
    Exit::NotFound,
    Exit::Invalid,
    Exit::Unsupported,
    Exit::Conflict,
    Exit::Unavailable,
];

impl Exit {
    /// The number a shell sees in `$?`.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Corrupt => 5,
            Self::Unavailable => 6,
            Self::Conflict => 7,
            Self::Invalid => 8,
            Self::Unsupported => 9,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The end that a number stands for.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        TABLE.iter().map(|(exit, _)| *exit).find(|exit| i32::from(exit.code()) == code)
    }

    /// The word that stands for it in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// What an error of this kind ends with.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound,
            Kind::Denied => Self::Denied,
            Kind::Invalid => Self::Invalid,
            Kind::Corrupt => Self::Corrupt,
            Kind::Conflict => Self::Conflict,
            Kind::Unavailable => Self::Unavailable,
            Kind::Unsupported => Self::Unsupported,
            Kind::Internal => Self::Internal,
        }
    }

    /// What many things end with, of which those of these kinds failed.
    pub(crate) fn of_all(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self::most_telling(kinds.into_iter().map(Self::of))
    }

    /// What several parts of a run end with together.
    pub(crate) fn most_telling(ends: impl IntoIterator<Item = Self>) -> Self {
        let ends: Vec<Self> = ends.into_iter().collect();
        MOST_TELLING.into_iter().find(|exit| ends.contains(exit)).unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `larder help exit-codes`.
pub(crate) fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    for (exit, meaning) in TABLE {
        text.push_str(&format!("  {:>3}  {meaning}\n", exit.code()));
    }
    text.push_str(
        "\nWhen several images fail for different reasons, the reason that trying again helps least decides:\n\
         1, 5, 4, 3, 8, 9, 7, 6 in this order. Mistakes in the arguments are found before anything is done.",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_listed_once_and_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143]);
    }

    #[test]
    fn words_are_those_of_the_kinds() {
        for kind in Kind::ALL {
            assert_eq!(Exit::of(kind).word(), kind.to_string());
            assert_eq!(Exit::of_all([kind]), Exit::of(kind), "{kind} has no rank");
        }
    }

    #[test]
    fn the_order_that_is_documented_is_the_order_that_counts() {
        let ranks: Vec<String> = MOST_TELLING.iter().map(|exit| exit.code().to_string()).collect();
        assert!(table().contains(&ranks.join(", ")));
    }

    #[test]
    fn the_most_telling_failure_decides() {
        assert_eq!(Exit::of_all([Kind::Unavailable, Kind::NotFound]), Exit::NotFound);
        assert_eq!(Exit::of_all([Kind::NotFound, Kind::Denied, Kind::Unavailable]), Exit::Denied);
        assert_eq!(Exit::of_all([]), Exit::Done);
        let ends = [Exit::Done, Exit::of(Kind::Unavailable), Exit::of(Kind::Invalid)];
        assert_eq!(Exit::most_telling(ends), Exit::of(Kind::Invalid));
    }
}
