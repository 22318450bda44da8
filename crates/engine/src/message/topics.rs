//! The patterns of a topic exchange as a tree of words, so that a routing key costs what matches it
//! and not what is bound. Nodes stand in one list and are used again.

use std::collections::{BTreeMap, BTreeSet};

use super::Destination;
use super::router::Fans;

/// Where a node stands in the list.
type NodeId = u32;

const ROOT: NodeId = 0;
const ONE_WORD: &str = "*";
const ANY_WORDS: &str = "#";

#[derive(Debug, Default)]
struct Node {
    words: BTreeMap<Box<str>, NodeId>,
    one: Option<NodeId>,
    any: Option<NodeId>,
    fans: Fans,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.one.is_none() && self.any.is_none() && self.fans.is_empty()
    }
}

/// The words between the dots; an empty key has none.
fn words(key: &str) -> impl Iterator<Item = &str> {
    let whole = (!key.is_empty()).then_some(key);
    whole.into_iter().flat_map(|key| key.split('.'))
}

/// The bindings of one topic exchange.
#[derive(Debug)]
pub(crate) struct Topics {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl Topics {
    fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id as usize).expect("nodes name nodes of the list")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(id as usize).expect("nodes name nodes of the list")
    }

    fn child(&self, id: NodeId, word: &str) -> Option<NodeId> {
        let node = self.node(id);
        match word {
            ONE_WORD => node.one,
            ANY_WORDS => node.any,
            word => node.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, id: NodeId, word: &str, child: Option<NodeId>) {
        let node = self.node_mut(id);
        match (word, child) {
            (ONE_WORD, child) => node.one = child,
            (ANY_WORDS, child) => node.any = child,
            (word, Some(child)) => drop(node.words.insert(word.into(), child)),
            (word, None) => drop(node.words.remove(word)),
        }
    }

    fn grow(&mut self) -> NodeId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as NodeId
    }

    pub(crate) fn add(&mut self, pattern: &str, to: Destination) {
        let mut at = ROOT;
        for word in words(pattern) {
            at = if let Some(child) = self.child(at, word) {
                child
            } else {
                let child = self.grow();
                self.set_child(at, word, Some(child));
                child
            };
        }
        self.node_mut(at).fans.add(to);
    }

    pub(crate) fn remove(&mut self, pattern: &str, to: Destination) {
        let mut path = vec![(ROOT, "")];
        for word in words(pattern) {
            let at = path.last().map_or(ROOT, |(id, _)| *id);
            let Some(child) = self.child(at, word) else { return };
            path.push((child, word));
        }
        let last = path.last().map_or(ROOT, |(id, _)| *id);
        self.node_mut(last).fans.take(to);
        // What leads to nothing any more goes, from the end on.
        while let [.., (parent, _), (id, word)] = path[..]
            && self.node(id).is_empty()
        {
            self.set_child(parent, word, None);
            *self.node_mut(id) = Node::default();
            self.free.push(id);
            path.pop();
        }
    }

    /// Visits the destinations of all patterns that a routing key matches, each once per pattern.
    /// All patterns are followed at once, word by word.
    pub(crate) fn route(&self, key: &str, found: &mut dyn FnMut(Destination)) {
        let mut here = BTreeSet::new();
        self.arrive(ROOT, &mut here);
        for word in words(key) {
            let mut next = BTreeSet::new();
            for id in here {
                let (id, stays) = id;
                let node = self.node(id);
                if stays {
                    next.insert((id, true));
                }
                for child in [node.words.get(word).copied(), node.one].into_iter().flatten() {
                    self.arrive(child, &mut next);
                }
            }
            here = next;
            if here.is_empty() {
                return;
            }
        }
        for (id, _) in here {
            self.node(id).fans.iter().for_each(&mut *found);
        }
    }

    /// Comes to a node, and to what follows it by no word at all. The mark says that any word stays
    /// there.
    fn arrive(&self, id: NodeId, at: &mut BTreeSet<(NodeId, bool)>) {
        let (mut id, mut stays) = (id, false);
        while at.insert((id, stays)) {
            match self.node(id).any {
                Some(any) => (id, stays) = (any, true),
                None => return,
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::QueueId;

    fn to(id: usize) -> Destination {
        Destination::Queue { id: QueueId(id as u32) }
    }

    fn routed(topics: &Topics, key: &str) -> BTreeSet<Destination> {
        let mut all = BTreeSet::new();
        topics.route(key, &mut |to| {
            all.insert(to);
        });
        all
    }

    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            ([ANY_WORDS, rest @ ..], key) => {
                matches(rest, key)
                    || key.split_first().is_some_and(|(_, key)| matches(pattern, key))
            }
            ([word, rest @ ..], [first, key @ ..]) => {
                (*word == ONE_WORD || word == first) && matches(rest, key)
            }
            (_, []) => false,
        }
    }

    #[test]
    fn patterns_match_as_amqp_says() {
        let mut topics = Topics::default();
        let patterns = ["a.b", "a.*", "a.#", "#", "#.b", "*", "", "*.#.b", "#.#"];
        for (index, pattern) in patterns.iter().enumerate() {
            topics.add(pattern, to(index));
        }
        let of = |key| {
            let found = routed(&topics, key).into_iter();
            let index = |to| match to {
                Destination::Queue { id } => patterns[id.0 as usize],
                _ => unreachable!(),
            };
            found.map(index).collect::<Vec<_>>()
        };
        assert_eq!(of("a.b"), ["a.b", "a.*", "a.#", "#", "#.b", "*.#.b", "#.#"]);
        assert_eq!(of("a"), ["a.#", "#", "*", "#.#"]);
        assert_eq!(of(""), ["#", "", "#.#"], "an empty key has no word");
        assert_eq!(of("b.x.b"), ["#", "#.b", "*.#.b", "#.#"]);
    }

    #[test]
    fn one_queue_that_is_bound_twice_stays_until_both_are_gone() {
        let mut topics = Topics::default();
        topics.add("a.b", to(1));
        topics.add("a.b", to(1));
        topics.remove("a.b", to(1));
        assert_eq!(routed(&topics, "a.b").len(), 1);
        topics.remove("a.b", to(1));
        assert!(routed(&topics, "a.b").is_empty());
        assert_eq!(topics.len(), 1, "nodes that lead to nothing go");
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_scan_finds(
            patterns in prop::collection::vec("[ab*#](\\.[ab*#]){0,4}", 0..12),
            keys in prop::collection::vec("[abc](\\.[abc]){0,5}", 1..6),
            gone in prop::collection::vec(any::<bool>(), 12),
        ) {
            let mut topics = Topics::default();
            for (index, pattern) in patterns.iter().enumerate() {
                topics.add(pattern, to(index));
            }
            let left = |index: &usize| !gone[*index];
            for index in (0..patterns.len()).filter(|index| !left(index)) {
                topics.remove(&patterns[index], to(index));
            }
            for key in keys {
                let words: Vec<_> = key.split('.').collect();
                let wanted = |index: &usize| {
                    left(index) && matches(&patterns[*index].split('.').collect::<Vec<_>>(), &words)
                };
                let wanted: BTreeSet<_> = (0..patterns.len()).filter(wanted).map(to).collect();
                prop_assert_eq!(routed(&topics, &key), wanted);
            }
        }
    }
}
