//! Where candidates are found: by the host, then by what the path starts with.

use std::collections::HashMap;

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
/// the longest other that it starts with.
#[derive(Debug, Default)]
struct PathTree {
    nodes: Box<[Node]>,
    /// The texts of all nodes, one after the other: those that a search looks at last are
    /// neighbours.
    texts: Box<str>,
    ranks: Box<[u32]>,
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
        let mut texts = String::new();
        let mut last = None;
        let mut ancestors: Vec<(&str, u32)> = Vec::new();
        for (end, (text, _)) in (1..).zip(&candidates) {
            if last == Some(*text) {
                nodes.iter_mut().next_back().into_iter().for_each(|node| node.end = end);
                continue;
            }
            last = Some(*text);
            while ancestors.pop_if(|(above, _)| !text.starts_with(*above)).is_some() {}
            let parent = ancestors.last().map_or(NONE, |(_, node)| *node);
            ancestors.push((text, u32::try_from(nodes.len()).unwrap_or(NONE)));
            texts.push_str(text);
            nodes.push(Node { text_end: u32::try_from(texts.len()).unwrap_or(NONE), parent, end });
        }
        let ranks = candidates.into_iter().map(|(_, rank)| rank).collect();
        PathTree { nodes: nodes.into(), texts: texts.into(), ranks }
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
    /// They all lie on the way up from the last node that does not sort after the path: what
    /// sorts between a text and a longer one that starts with it starts with it too.
    fn prefixes_of(&self, path: &str) -> impl Iterator<Item = usize> {
        let last = self.last_not_after(path);
        let up = |node: &usize| match self.nodes.get(*node)?.parent {
            NONE => None,
            parent => Some(parent as usize),
        };
        let common = last.map_or(0, |node| common_length(self.text(node), path));
        std::iter::successors(last, up).skip_while(move |node| self.text(*node).len() > common)
    }

    /// The position of the last node whose text does not sort after a path.
    fn last_not_after(&self, path: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.nodes.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.text(middle) <= path { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1)
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
