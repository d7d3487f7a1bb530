//! The index: from the host to the prefixes of the path to the routes that can match, best first.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::conditions::{Conditions, Subject};
use crate::hosts::Bucket;
use crate::order::Rank;
use crate::pattern::{PathPattern, Span};

/// Everything that can match, best first: a route once for each of its paths.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    conditions: Vec<Conditions>,
    exact: HashMap<Box<str>, PathTree>,
    suffixes: HashMap<Box<str>, PathTree>,
    prefixes: HashMap<Box<str>, PathTree>,
    any: PathTree,
}

/// A route with one of its paths.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The position of the route in the list given.
    pub(crate) route: u32,
    /// The position of its conditions.
    pub(crate) conditions: u32,
    pub(crate) path: PathPattern,
    pub(crate) place: Place,
}

/// A place in the order of entries; the greater goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) rank: Rank,
    /// Of equals, the greater goes first.
    pub(crate) id: Uuid,
}

/// What the index found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'i> {
    pub(crate) entry: &'i Entry,
    pub(crate) span: Span,
}

/// The best so far: a position among the entries, and what of the path it matched.
type Best = Option<(u32, Span)>;

impl Index {
    /// Makes the index. The entries come best first.
    pub(crate) fn new(entries: Vec<Entry>, conditions: Vec<Conditions>) -> Index {
        let mut buckets: HashMap<Bucket<'_>, Vec<u32>> = HashMap::new();
        for (rank, entry) in (0..).zip(&entries) {
            let Some(conditions) = conditions.get(entry.conditions as usize) else { continue };
            for bucket in conditions.buckets() {
                let ranks = buckets.entry(bucket).or_default();
                // Two hosts of a route may share a bucket.
                if ranks.last() != Some(&rank) {
                    ranks.push(rank);
                }
            }
        }
        let mut index = Index::default();
        for (bucket, ranks) in buckets {
            let tree = PathTree::new(&entries, ranks);
            match bucket {
                Bucket::Exact(name) => _ = index.exact.insert(name.into(), tree),
                Bucket::Suffix(suffix) => _ = index.suffixes.insert(suffix.into(), tree),
                Bucket::Prefix(prefix) => _ = index.prefixes.insert(prefix.into(), tree),
                Bucket::Any => index.any = tree,
            }
        }
        Index { entries, conditions, ..index }
    }

    /// The best entry that matches, of routes that are not `stale`.
    pub(crate) fn find(&self, subject: &Subject<'_>, stale: &HashSet<u32>) -> Option<Found<'_>> {
        let host = subject.host.name;
        let mut best = None;
        if let Some(tree) = self.exact.get(host) {
            self.search(tree, subject, stale, &mut best);
        }
        if !(self.suffixes.is_empty() && self.prefixes.is_empty()) {
            for (dot, _) in host.match_indices('.') {
                let (prefix, suffix) = (host.get(..=dot), host.get(dot..));
                let suffix_tree = suffix.and_then(|suffix| self.suffixes.get(suffix));
                let prefix_tree = prefix.and_then(|prefix| self.prefixes.get(prefix));
                for tree in suffix_tree.into_iter().chain(prefix_tree) {
                    self.search(tree, subject, stale, &mut best);
                }
            }
        }
        self.search(&self.any, subject, stale, &mut best);
        let (rank, span) = best?;
        self.entries.get(rank as usize).map(|entry| Found { entry, span })
    }

    /// Looks for a better match in one tree.
    fn search(
        &self,
        tree: &PathTree,
        subject: &Subject<'_>,
        stale: &HashSet<u32>,
        best: &mut Best,
    ) {
        let path = subject.lookup.path;
        for node in tree.prefixes_of(path) {
            for &rank in tree.ranks(node) {
                if best.is_some_and(|(best, _)| best <= rank) {
                    break;
                }
                if let Some(span) = self.check(rank, subject, stale) {
                    *best = Some((rank, span));
                    break;
                }
            }
        }
    }

    fn check(&self, rank: u32, subject: &Subject<'_>, stale: &HashSet<u32>) -> Option<Span> {
        let entry = self.entries.get(rank as usize)?;
        if !stale.is_empty() && stale.contains(&entry.route) {
            return None;
        }
        let conditions = self.conditions.get(entry.conditions as usize)?;
        if conditions.hold(subject) { entry.path.find(subject.lookup.path) } else { None }
    }
}

/// The paths of the routes of a host: every text that paths can start with, sorted, each
/// pointing to the longest other that it starts with.
#[derive(Debug, Default)]
struct PathTree {
    nodes: Vec<Node>,
    ranks: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    text: Box<str>,
    /// The longest other text that this one starts with.
    parent: Option<u32>,
    /// Where its entries end in `ranks`; they start where those of the node before end.
    end: u32,
}

impl PathTree {
    fn new(entries: &[Entry], mut ranks: Vec<u32>) -> PathTree {
        let literal = |rank: u32| entries.get(rank as usize).map_or("", |e| e.path.literal());
        // Stable, so that the best of a node come first.
        ranks.sort_by(|a, b| literal(*a).cmp(literal(*b)));
        let mut nodes: Vec<Node> = Vec::new();
        let mut ancestors: Vec<u32> = Vec::new();
        for (end, &rank) in (1..).zip(&ranks) {
            let text = literal(rank);
            match nodes.last_mut() {
                Some(node) if *node.text == *text => node.end = end,
                _ => {
                    let text_of = |node: u32| nodes.get(node as usize).map_or("", |n| &n.text);
                    while ancestors.pop_if(|node| !text.starts_with(text_of(*node))).is_some() {}
                    let parent = ancestors.last().copied();
                    ancestors.extend(u32::try_from(nodes.len()));
                    nodes.push(Node { text: text.into(), parent, end });
                }
            }
        }
        PathTree { nodes, ranks }
    }

    /// The positions of the nodes whose texts a path starts with, the longest first.
    ///
    /// They all lie on the way up from the last node that does not sort after the path: what
    /// sorts between a text and a longer one that starts with it starts with it too.
    fn prefixes_of(&self, path: &str) -> impl Iterator<Item = usize> {
        let after = self.nodes.partition_point(|node| *node.text <= *path);
        let last = after.checked_sub(1).and_then(|at| Some((at, self.nodes.get(at)?)));
        let up = |(_, node): &(usize, &Node)| {
            let at = node.parent? as usize;
            self.nodes.get(at).map(|node| (at, node))
        };
        let common = last.map_or(0, |(_, node)| common_length(&node.text, path));
        std::iter::successors(last, up)
            .skip_while(move |(_, node)| node.text.len() > common)
            .map(|(at, _)| at)
    }

    /// The entries of a node, best first.
    fn ranks(&self, node: usize) -> &[u32] {
        let start = node.checked_sub(1).and_then(|before| self.nodes.get(before));
        let start = start.map_or(0, |node| node.end as usize);
        let end = self.nodes.get(node).map_or(0, |node| node.end as usize);
        self.ranks.get(start..end).unwrap_or_default()
    }
}

/// How many bytes two texts have in common at their start.
fn common_length(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
