//! Where candidates are found: by the host, then by what the path starts with.

use std::collections::{HashMap, VecDeque};

use crate::hosts::Bucket;

/// What a candidate is found by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) host: Bucket<'a>,
    /// What every path that it matches starts with; may be empty.
    pub(crate) path: &'a str,
}

/// Candidates, by their ranks: 0 is the best.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    exact: HashMap<Box<str>, PathTree>,
    suffixes: HashMap<Box<str>, PathTree>,
    prefixes: HashMap<Box<str>, PathTree>,
    any: PathTree,
}

impl Buckets {
    /// Sorts candidates in. They come best first, each with all of its keys.
    pub(crate) fn new<'a>(candidates: impl IntoIterator<Item = (Key<'a>, u32)>) -> Buckets {
        let mut hosts: HashMap<Bucket<'_>, Vec<(&str, u32)>> = HashMap::new();
        for (key, rank) in candidates {
            let candidates = hosts.entry(key.host).or_default();
            // Two hosts of a route may share a bucket.
            if candidates.last() != Some(&(key.path, rank)) {
                candidates.push((key.path, rank));
            }
        }
        let mut buckets = Buckets::default();
        for (host, candidates) in hosts {
            let tree = PathTree::new(candidates);
            match host {
                Bucket::Exact(name) => _ = buckets.exact.insert(name.into(), tree),
                Bucket::Suffix(suffix) => _ = buckets.suffixes.insert(suffix.into(), tree),
                Bucket::Prefix(prefix) => _ = buckets.prefixes.insert(prefix.into(), tree),
                Bucket::Any => buckets.any = tree,
            }
        }
        buckets
    }

    /// The best candidate that `check` says yes to, with what it says. It is asked only about
    /// those that the host and the path lead to, and that are better than what was found.
    pub(crate) fn find<T>(
        &self,
        host: &str,
        path: &str,
        mut check: impl FnMut(u32) -> Option<T>,
    ) -> Option<(u32, T)> {
        let mut best = None;
        if let Some(tree) = self.exact.get(host) {
            tree.search(path, &mut best, &mut check);
        }
        if !(self.suffixes.is_empty() && self.prefixes.is_empty()) {
            for (dot, _) in host.match_indices('.') {
                let (prefix, suffix) = (host.get(..=dot), host.get(dot..));
                let suffix_tree = suffix.and_then(|suffix| self.suffixes.get(suffix));
                let prefix_tree = prefix.and_then(|prefix| self.prefixes.get(prefix));
                for tree in suffix_tree.into_iter().chain(prefix_tree) {
                    tree.search(path, &mut best, &mut check);
                }
            }
        }
        self.any.search(path, &mut best, &mut check);
        best
    }
}

/// The candidates of a host: every text that their paths can start with, sorted, each pointing to
/// the longest other that it starts with. The text that sorts next to a path is found by the bytes
/// in which texts differ, so that few of many are looked at.
#[derive(Debug, Default)]
struct PathTree {
    nodes: Box<[Node]>,
    /// The texts of all nodes, one after the other.
    texts: Box<str>,
    ranks: Box<[u32]>,
    forks: Forks,
}

#[derive(Debug)]
struct Node {
    /// Where its text ends in `texts`; it starts where that of the node before ends.
    text_end: u32,
    /// The longest other text that this one starts with, if any; else [`NONE`].
    parent: u32,
    /// Where its candidates end in `ranks`; they start where those of the node before end.
    end: u32,
}

const NONE: u32 = u32::MAX;

impl PathTree {
    /// The candidates come best first.
    fn new(mut candidates: Vec<(&str, u32)>) -> PathTree {
        // Stable, so that the best of a node come first.
        candidates.sort_by(|a, b| a.0.cmp(b.0));
        let mut nodes: Vec<Node> = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        let mut text_end = 0;
        let mut ancestors: Vec<(&str, u32)> = Vec::new();
        for (end, (text, _)) in (1..).zip(&candidates) {
            if texts.last() == Some(text) {
                nodes.iter_mut().next_back().into_iter().for_each(|node| node.end = end);
                continue;
            }
            while ancestors.pop_if(|(above, _)| !text.starts_with(*above)).is_some() {}
            let parent = ancestors.last().map_or(NONE, |(_, node)| *node);
            ancestors.push((text, u32::try_from(nodes.len()).unwrap_or(NONE)));
            texts.push(text);
            text_end += text.len();
            nodes.push(Node { text_end: u32::try_from(text_end).unwrap_or(NONE), parent, end });
        }
        let ranks = candidates.iter().map(|(_, rank)| *rank).collect();
        let forks = Forks::new(&texts);
        PathTree { nodes: nodes.into(), texts: texts.concat().into(), ranks, forks }
    }

    /// Looks for a better candidate than the best so far.
    fn search<T>(
        &self,
        path: &str,
        best: &mut Option<(u32, T)>,
        check: &mut impl FnMut(u32) -> Option<T>,
    ) {
        for node in self.prefixes_of(path) {
            for &rank in self.ranks(node) {
                if best.as_ref().is_some_and(|(best, _)| *best <= rank) {
                    break;
                }
                if let Some(found) = check(rank) {
                    *best = Some((rank, found));
                    break;
                }
            }
        }
    }

    /// The positions of the nodes whose texts a path starts with, the longest first.
    ///
    /// They all lie on the way up from the node that the forks lead to: a fork before the end of
    /// such a text goes the way of the text, and below it all texts start with it.
    fn prefixes_of(&self, path: &str) -> impl Iterator<Item = usize> {
        let nearest = (!self.nodes.is_empty()).then(|| self.forks.follow(path.as_bytes()));
        let up = |node: &usize| match self.nodes.get(*node)?.parent {
            NONE => None,
            parent => Some(parent as usize),
        };
        let common = nearest.map_or(0, |node| common_length(self.text(node), path));
        std::iter::successors(nearest, up).skip_while(move |node| self.text(*node).len() > common)
    }

    fn text(&self, node: usize) -> &str {
        let end = |node: usize| self.nodes.get(node).map_or(0, |node| node.text_end as usize);
        let start = node.checked_sub(1).map_or(0, end);
        self.texts.get(start..end(node)).unwrap_or_default()
    }

    /// The candidates of a node, best first.
    fn ranks(&self, node: usize) -> &[u32] {
        let end = |node: usize| self.nodes.get(node).map_or(0, |node| node.end as usize);
        let start = node.checked_sub(1).map_or(0, end);
        self.ranks.get(start..end(node)).unwrap_or_default()
    }
}

/// How many bytes two texts have in common at their start.
fn common_length(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Where sorted texts differ: at each fork by one byte, with a branch for each that it can be. The
/// bytes that all texts below a fork share are not looked at.
///
/// Of a hundred thousand texts a search by halves would look at seventeen, each in two places that
/// no cache holds. The branches near the root are few and hot, and a branch's byte is a byte.
#[derive(Debug, Default)]
struct Forks {
    forks: Vec<Fork>,
    /// What each branch of each fork asks for, in order.
    bytes: Vec<u8>,
    /// Where it leads.
    branches: Vec<Branch>,
}

#[derive(Debug)]
struct Fork {
    /// The place of the byte.
    at: u32,
    /// Where its branches begin.
    start: u32,
    /// How many there are, up to 256.
    count: u32,
    /// The first text below, for paths that go no branch's way. It is the one that ends here, if
    /// there is one.
    first: u32,
}

/// Where a branch leads.
#[derive(Debug, Clone, Copy)]
enum Branch {
    Text(u32),
    Fork(u32),
}

impl Forks {
    /// The texts are sorted, and each is another.
    fn new(texts: &[&str]) -> Forks {
        let mut forks = Forks::default();
        // Each text below a branch, and the branch; the first is that to the root.
        let mut open = VecDeque::from([(0..texts.len(), None)]);
        while let Some((range, branch)) = open.pop_front() {
            let below = texts.get(range.clone()).unwrap_or_default();
            let [first, .., last] = below else { continue };
            let at = common_length(first, last);
            let start = forks.bytes.len();
            let ended = usize::from(first.len() == at);
            let mut from = range.start + ended;
            let byte = |text: &&str| text.as_bytes().get(at).copied();
            for group in below.get(ended..).unwrap_or_default().chunk_by(|a, b| byte(a) == byte(b))
            {
                open.push_back((from..from + group.len(), Some(forks.branches.len())));
                forks.bytes.extend(group.first().and_then(byte));
                forks.branches.push(Branch::Text(short(from)));
                from += group.len();
            }
            if let Some(branch) = branch.and_then(|branch: usize| forks.branches.get_mut(branch)) {
                *branch = Branch::Fork(short(forks.forks.len()));
            }
            let count = short(forks.bytes.len() - start);
            let (at, start, first) = (short(at), short(start), short(range.start));
            forks.forks.push(Fork { at, start, count, first });
        }
        forks
    }

    /// The text that a path leads to. If the path starts with any of the texts, it is the longest
    /// of them or starts with it.
    fn follow(&self, path: &[u8]) -> usize {
        let mut fork = self.forks.first();
        while let Some(here) = fork {
            let branches = here.start as usize..(here.start + here.count) as usize;
            let bytes = self.bytes.get(branches.clone()).unwrap_or_default();
            let next = path.get(here.at as usize).and_then(|byte| memchr::memchr(*byte, bytes));
            match next.and_then(|next| self.branches.get(branches.start + next)) {
                Some(Branch::Fork(next)) => fork = self.forks.get(*next as usize),
                Some(Branch::Text(text)) => return *text as usize,
                None => return here.first as usize,
            }
        }
        0
    }
}

/// Positions fit: four thousand million routes do not.
fn short(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
