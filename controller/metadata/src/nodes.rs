//! A short list of nodes in sixteen bytes. Every partition has six of them, and most have at most three nodes in them.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::ids::NodeId;

/// Nodes in an order that means something. On the heap only from the fourth node on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Nodes(Repr);

/// One form for each list, so that equal lists are equal. The discriminant stands beside the nodes, and leaves room for
/// that of an `Option`.
#[derive(Clone, Default, PartialEq, Eq)]
enum Repr {
    #[default]
    None,
    One([NodeId; 1]),
    Two([NodeId; 2]),
    Three([NodeId; 3]),
    /// More than three.
    Many(Box<Spilled>),
}

/// A pointer to this is half as long as one to a slice.
#[derive(Clone, PartialEq, Eq)]
struct Spilled(Vec<NodeId>);

impl Nodes {
    pub const fn new() -> Nodes {
        Nodes(Repr::None)
    }

    pub fn from_slice(nodes: &[NodeId]) -> Nodes {
        nodes.iter().copied().collect()
    }

    pub fn from_vec(nodes: Vec<NodeId>) -> Nodes {
        nodes.into()
    }

    pub fn push(&mut self, node: NodeId) {
        self.extend([node]);
    }

    pub fn clear(&mut self) {
        *self = Nodes::new();
    }

    pub fn retain(&mut self, keep: impl Fn(&NodeId) -> bool) {
        if !self.iter().all(&keep) {
            *self = self.iter().copied().filter(keep).collect();
        }
    }
}

impl Deref for Nodes {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        match &self.0 {
            Repr::None => &[],
            Repr::One(nodes) => nodes,
            Repr::Two(nodes) => nodes,
            Repr::Three(nodes) => nodes,
            Repr::Many(nodes) => &nodes.0,
        }
    }
}

impl DerefMut for Nodes {
    fn deref_mut(&mut self) -> &mut [NodeId] {
        match &mut self.0 {
            Repr::None => &mut [],
            Repr::One(nodes) => nodes,
            Repr::Two(nodes) => nodes,
            Repr::Three(nodes) => nodes,
            Repr::Many(nodes) => &mut nodes.0,
        }
    }
}

impl FromIterator<NodeId> for Nodes {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Nodes {
        let mut nodes = nodes.into_iter();
        let mut repr = Repr::None;
        while let Some(node) = nodes.next() {
            repr = match repr {
                Repr::None => Repr::One([node]),
                Repr::One([a]) => Repr::Two([a, node]),
                Repr::Two([a, b]) => Repr::Three([a, b, node]),
                Repr::Three([a, b, c]) => Repr::Many(Box::new(Spilled(vec![a, b, c, node]))),
                Repr::Many(mut spilled) => {
                    spilled.0.push(node);
                    spilled.0.extend(&mut nodes);
                    Repr::Many(spilled)
                }
            };
        }
        Nodes(repr)
    }
}

impl Extend<NodeId> for Nodes {
    fn extend<I: IntoIterator<Item = NodeId>>(&mut self, more: I) {
        *self = self.iter().copied().chain(more).collect();
    }
}

impl From<Vec<NodeId>> for Nodes {
    fn from(nodes: Vec<NodeId>) -> Nodes {
        match nodes.len() {
            0..=3 => Nodes::from_slice(&nodes),
            _ => Nodes(Repr::Many(Box::new(Spilled(nodes)))),
        }
    }
}

impl From<&[NodeId]> for Nodes {
    fn from(nodes: &[NodeId]) -> Nodes {
        Nodes::from_slice(nodes)
    }
}

impl<'a> IntoIterator for &'a Nodes {
    type Item = &'a NodeId;
    type IntoIter = std::slice::Iter<'a, NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&**self).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_takes_sixteen_bytes() {
        assert_eq!((size_of::<Nodes>(), size_of::<Option<Nodes>>()), (16, 16));
    }

    proptest! {
        #[test]
        fn behaves_as_a_vector(mut list in vec(-1..5, 0..8), more in vec(-1..5, 0..4)) {
            let mut nodes = Nodes::from_slice(&list);
            prop_assert_eq!(&nodes[..], &list[..]);
            prop_assert_eq!(&nodes, &Nodes::from(list.clone()));
            prop_assert_eq!(format!("{nodes:?}"), format!("{list:?}"));
            for node in more {
                nodes.push(node);
                list.push(node);
            }
            prop_assert_eq!(&nodes, &Nodes::from(list.clone()));
            nodes.retain(|n| n % 2 == 0);
            list.retain(|n| n % 2 == 0);
            nodes.sort_unstable();
            list.sort_unstable();
            prop_assert_eq!(&nodes[..], &list[..]);
            // However it came about, it is equal to every other list with these nodes.
            prop_assert_eq!(&nodes, &Nodes::from(list));
            nodes.clear();
            prop_assert_eq!(nodes, Nodes::new());
        }
    }
}
