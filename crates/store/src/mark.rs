//! What lives, and what has to go first: pure functions over numbers.

/// Which nodes are reachable from `roots`. `edges[n]` are the nodes that live as long as node `n`; cycles are fine.
pub(crate) fn mark(edges: &[Vec<u32>], roots: impl IntoIterator<Item = u32>) -> Vec<bool> {
    let mut live = vec![false; edges.len()];
    let mut open: Vec<u32> = roots.into_iter().collect();
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut live[node as usize], true) {
            open.extend(&edges[node as usize]);
        }
    }
    live
}

/// A name, as far as a policy is concerned.
pub(crate) struct Candidate {
    /// What it stands for.
    pub(crate) node: u32,
    /// When it was last used.
    pub(crate) used: i64,
    /// Whether the policy must leave it alone.
    pub(crate) protected: bool,
}

/// A policy. `None` does not limit.
#[derive(Default)]
pub(crate) struct Limits {
    /// Names last used before this go.
    pub(crate) oldest_use: Option<i64>,
    /// At most so many names stay.
    pub(crate) count: Option<usize>,
    /// At most so many bytes stay.
    pub(crate) bytes: Option<u64>,
}

/// Which of `names` have to go, least recently used first, so that the limits hold, or nothing unprotected is left. What is
/// `held` stays and counts whatever happens to the names.
pub(crate) fn expendable(
    edges: &[Vec<u32>],
    sizes: &[u64],
    held: &[bool],
    names: &[Candidate],
    limits: &Limits,
) -> Vec<usize> {
    // How many names reach each node, plus one if it is held: what no name reaches any more is freed.
    let mut holders: Vec<u32> = held.iter().map(|held| u32::from(*held)).collect();
    let mut reach = Reach::new(edges);
    let closures: Vec<Vec<u32>> = names.iter().map(|name| reach.from(name.node)).collect();
    for node in closures.iter().flatten() {
        holders[*node as usize] += 1;
    }
    let size_of = |node: u32| sizes[node as usize];
    let mut bytes: u64 =
        (0..).zip(&holders).filter(|(_, holders)| **holders > 0).map(|(node, _)| size_of(node)).sum();
    let mut count = names.len();

    let mut order: Vec<usize> = (0..names.len()).filter(|at| !names[*at].protected).collect();
    order.sort_by_key(|at| names[*at].used);
    let mut gone = Vec::new();
    for at in order {
        let too_old = limits.oldest_use.is_some_and(|oldest| names[at].used < oldest);
        let too_many = limits.count.is_some_and(|limit| count > limit);
        let too_big = limits.bytes.is_some_and(|limit| bytes > limit);
        if !(too_old || too_many || too_big) {
            break;
        }
        for node in &closures[at] {
            let holders = &mut holders[*node as usize];
            *holders -= 1;
            if *holders == 0 {
                bytes -= size_of(*node);
            }
        }
        count -= 1;
        gone.push(at);
    }
    gone
}

/// Finds what single nodes reach, without clearing its marks every time.
pub(crate) struct Reach<'a> {
    edges: &'a [Vec<u32>],
    seen: Vec<u32>,
    round: u32,
}

impl<'a> Reach<'a> {
    pub(crate) fn new(edges: &'a [Vec<u32>]) -> Self {
        Self { edges, seen: vec![0; edges.len()], round: 0 }
    }

    /// Everything reachable from `node`, itself included, each once.
    pub(crate) fn from(&mut self, node: u32) -> Vec<u32> {
        self.round += 1;
        let mut found = Vec::new();
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut self.seen[node as usize], self.round) != self.round {
                found.push(node);
                open.extend(&self.edges[node as usize]);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_through_cycles() {
        let edges = vec![vec![1], vec![2, 0], vec![], vec![4], vec![3]];
        assert_eq!(mark(&edges, [0]), [true, true, true, false, false]);
        assert_eq!(mark(&edges, [3, 2]), [false, false, true, true, true]);
        assert_eq!(mark(&edges, []), [false; 5]);
    }

    fn name(node: u32, used: i64) -> Candidate {
        Candidate { node, used, protected: false }
    }

    /// Images 0, 1, 2 with one layer each (3, 4, 5) and a shared one (6).
    fn images() -> (Vec<Vec<u32>>, Vec<u64>) {
        let edges = vec![vec![3, 6], vec![4, 6], vec![5, 6], vec![], vec![], vec![], vec![]];
        (edges, vec![1, 1, 1, 10, 20, 30, 100])
    }

    fn run(names: &[Candidate], held: &[bool], limits: &Limits) -> Vec<usize> {
        let (edges, sizes) = images();
        expendable(&edges, &sizes, held, names, limits)
    }

    #[test]
    fn removes_the_least_recently_used_until_it_fits() {
        let names = [name(0, 30), name(1, 10), name(2, 20)];
        let bytes = |bytes| Limits { bytes: Some(bytes), ..Limits::default() };
        assert!(run(&names, &[false; 7], &bytes(163)).is_empty());
        assert_eq!(run(&names, &[false; 7], &bytes(162)), [1]);
        assert_eq!(run(&names, &[false; 7], &bytes(111)), [1, 2]);
        assert_eq!(run(&names, &[false; 7], &bytes(110)), [1, 2, 0]);
    }

    #[test]
    fn shared_and_held_bytes_count_once_and_stay() {
        let names = [name(0, 1), name(0, 2)];
        let limits = Limits { bytes: Some(110), ..Limits::default() };
        assert_eq!(run(&names, &[false; 7], &limits), [0, 1]);
        let held = [true; 7];
        assert_eq!(run(&names, &held, &limits), [0, 1]);
    }

    #[test]
    fn age_and_count() {
        let mut names = [name(0, 30), name(1, 10), name(2, 20)];
        let old = Limits { oldest_use: Some(20), ..Limits::default() };
        assert_eq!(run(&names, &[false; 7], &old), [1]);
        let few = Limits { count: Some(1), ..Limits::default() };
        assert_eq!(run(&names, &[false; 7], &few), [1, 2]);
        names[1].protected = true;
        assert!(run(&names, &[false; 7], &old).is_empty());
        assert_eq!(run(&names, &[false; 7], &few), [2, 0]);
    }
}
