//! The map: the fenced block of ARCHITECTURE.md whose language is `order`.
//!
//! One entry per folder, `name: first second ...`, from the ground up; an indented line continues
//! the entry above. Names in brackets, `[third fourth]`, stand side by side and may not name each other. The entry
//! `crates` orders the crates, the entry of a crate orders its modules,
//! and an entry such as `gateway/upstream` orders the modules of that folder. A folder without an
//! entry is free inside.

use std::collections::BTreeMap;

/// The entry that orders the crates themselves.
const CRATES: &str = "crates";

/// One folder's line of the map.
#[derive(Debug)]
pub(super) struct Entry {
    /// The line of the document where the entry begins.
    pub(super) line: usize,
    /// Module names from the ground up.
    pub(super) names: Vec<String>,
    /// How high each of them stands; those side by side stand equally high.
    heights: Vec<usize>,
    /// Whether a bracket is open.
    abreast: bool,
}

/// The whole map, by folder.
#[derive(Debug)]
pub(super) struct Order {
    entries: BTreeMap<String, Entry>,
}

impl Order {
    /// Reads the map out of the document; an error says what is missing or written twice.
    pub(super) fn parse(document: &str) -> Result<Self, String> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut current = None;
        for (line, text) in block(document)? {
            let names = match text.split_once(':') {
                Some((folder, names)) => {
                    let entry = Entry { line, names: Vec::new(), heights: Vec::new(), abreast: false };
                    if entries.insert(folder.trim().to_owned(), entry).is_some() {
                        return Err(format!("line {line}: a second entry for {folder}"));
                    }
                    current = Some(folder.trim().to_owned());
                    names
                }
                None => text,
            };
            let entry = current.as_ref().and_then(|folder| entries.get_mut(folder));
            let entry = entry.ok_or(format!("line {line}: names before the first entry"))?;
            names.split_whitespace().for_each(|name| entry.add(name));
        }
        let order = Self { entries };
        if order.crates().is_empty() {
            return Err("the order block has no entry `crates`".to_owned());
        }
        Ok(order)
    }

    /// The crates from the ground up; the last one exists for tests.
    pub(super) fn crates(&self) -> &[String] {
        self.entries.get(CRATES).map_or(&[], |entry| &entry.names)
    }

    /// The entry of a folder, named as in the map: `gateway` or `gateway/upstream`.
    pub(super) fn entry(&self, folder: &str) -> Option<&Entry> {
        self.entries.get(folder)
    }

    /// The entries of one crate, its own and those of its folders.
    pub(super) fn entries_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.entries
            .iter()
            .filter(move |(folder, _)| folder.split('/').next() == Some(name))
            .map(|(folder, entry)| (folder.as_str(), entry))
    }
}

impl Entry {
    /// The height of a module over the ground, or nothing when it is not listed.
    pub(super) fn height(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|listed| listed == name).map(|index| self.heights[index])
    }

    /// Adds a name, which may open or close a bracket.
    fn add(&mut self, name: &str) {
        let top = self.heights.last().map_or(0, |height| height + 1);
        self.heights.push(if self.abreast { top.saturating_sub(1) } else { top });
        self.abreast = (self.abreast || name.starts_with('[')) && !name.ends_with(']');
        self.names.push(name.trim_matches(['[', ']']).to_owned());
    }
}

/// The lines between ` ```order ` and the next fence, with their numbers in the document.
fn block(document: &str) -> Result<Vec<(usize, &str)>, String> {
    let mut lines = document.lines().enumerate().map(|(index, text)| (index + 1, text));
    lines.find(|(_, text)| text.trim() == "```order").ok_or("no block marked ```order")?;
    Ok(lines.take_while(|(_, text)| !text.starts_with("```")).filter(|(_, text)| !text.trim().is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "# Map\n\n```order\ncrates: wire\n        gateway\nwire: a b\ngateway/up: x\n```\n";

    #[test]
    fn an_entry_goes_on_over_indented_lines() {
        let order = Order::parse(MAP).expect("a good map");
        assert_eq!(order.crates(), ["wire", "gateway"]);
        let entry = order.entry("wire").expect("listed");
        assert_eq!((entry.line, entry.height("a"), entry.height("b"), entry.height("c")), (6, Some(0), Some(1), None));
        assert_eq!(order.entries_of("gateway").map(|(folder, _)| folder).collect::<Vec<_>>(), ["gateway/up"]);
    }

    #[test]
    fn names_in_brackets_stand_equally_high() {
        let order =
            Order::parse("```order\ncrates: a\na: ground [left middle\n   right] roof\n```").expect("a good map");
        let entry = order.entry("a").expect("listed");
        let heights = ["ground", "left", "middle", "right", "roof"].map(|name| entry.height(name));
        assert_eq!(heights, [Some(0), Some(1), Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn a_map_that_says_nothing_is_an_error() {
        assert!(Order::parse("```rust\ncrates: a\n```").is_err());
        assert!(Order::parse("```order\nwire: a\n```").is_err());
        assert!(Order::parse("```order\n  stray\n```").is_err());
        assert!(Order::parse("```order\ncrates: a\na: x\na: y\n```").is_err());
    }
}
