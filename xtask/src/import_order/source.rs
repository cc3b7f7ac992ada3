//! Edges between the modules of one crate, as its source files name them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Violation;
use super::order::Order;
use super::tokens::{Kind, Token, tokens};

/// A path as it is written, made absolute: `[]` is the crate root.
#[derive(Debug, PartialEq)]
struct Reference {
    line: usize,
    /// The module that names it.
    from: Vec<String>,
    /// What it names: modules first, perhaps an item last.
    to: Vec<String>,
}

/// Everything in one crate's sources that is against the order. Files are given relative to `src`.
pub(super) fn violations(order: &Order, name: &str, src: &Path, sources: &[(PathBuf, String)]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let module = module_of(file);
        let mut report = |line, message| {
            let file = src.join(file);
            found.push(Violation { file, line, message });
        };
        if let Some((depth, message)) = unlisted(order, name, &module) {
            // Said once for a folder, at the file that stands for it.
            if depth + 1 == module.len() {
                report(1, message);
            }
            continue;
        }
        for reference in references(&module, &tokens(text)) {
            if let Some(message) = against(order, name, &reference) {
                report(reference.line, message);
            }
        }
    }
    found
}

/// Names in the map that no file stands for.
pub(super) fn listed_without_a_file(
    order: &Order,
    name: &str,
    map: &Path,
    sources: &[(PathBuf, String)],
) -> Vec<Violation> {
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(file, _)| module_of(file)).collect();
    let mut found = Vec::new();
    for (folder, entry) in order.entries_of(name) {
        for listed in &entry.names {
            let path: Vec<String> = folder.split('/').skip(1).chain([listed.as_str()]).map(str::to_owned).collect();
            if !modules.contains(&path) {
                let message = format!("{folder} lists `{listed}`, which has no file");
                found.push(Violation { file: map.to_owned(), line: entry.line, message });
            }
        }
    }
    found
}

/// The module a file holds: `a/b.rs` and `a/b/mod.rs` are `a::b`; the crate root is empty.
fn module_of(file: &Path) -> Vec<String> {
    let mut path: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod") || path == ["lib"] || path == ["main"] {
        path.pop();
    }
    path
}

/// The levels of a module path, from the crate root down: the folder as the map names it, and the
/// part in it.
fn levels<'a>(name: &str, path: &'a [String]) -> impl Iterator<Item = (String, &'a String)> {
    let mut folder = name.to_owned();
    path.iter().map(move |part| {
        let level = folder.clone();
        folder = format!("{folder}/{part}");
        (level, part)
    })
}

/// Where a module path leaves the map, if it does. `tests` stands above its siblings everywhere.
fn unlisted(order: &Order, name: &str, module: &[String]) -> Option<(usize, String)> {
    let mut levels = levels(name, module).take_while(|(_, part)| *part != "tests").enumerate();
    let left =
        |(folder, part): &(String, &String)| order.entry(folder).is_some_and(|entry| entry.height(part).is_none());
    let (depth, (folder, part)) = levels.find(|(_, level)| left(level))?;
    Some((depth, format!("`{part}` is not listed under `{folder}`")))
}

/// Why a reference is against the order, if it is.
///
/// Both paths are walked down from the crate root to the folder where they part; there the heights
/// decide. The file of a folder itself (`mod.rs`, the crate root) stands above all modules in it.
fn against(order: &Order, name: &str, reference: &Reference) -> Option<String> {
    for (depth, (folder, from)) in levels(name, &reference.from).enumerate() {
        let entry = order.entry(&folder)?;
        let own = entry.height(from)?;
        let to = reference.to.get(depth);
        match to.map(|to| (to, entry.height(to))) {
            Some((to, Some(_))) if to == from => {}
            Some((to, Some(height))) if height > own => {
                return Some(format!("`{from}` names `{to}`, which stands above it in `{folder}`"));
            }
            Some((to, Some(height))) if height == own => {
                return Some(format!("`{from}` names `{to}`, which stands beside it in `{folder}`"));
            }
            Some((_, Some(_))) => return None,
            Some((to, None)) => {
                return Some(format!("`{from}` names `{to}`, which `{folder}` does not list as a module"));
            }
            None => return None,
        }
    }
    None
}

/// Every path that begins with `crate`, `self` or `super`, wherever it stands in the code.
fn references(module: &[String], tokens: &[Token]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Mark('{') => {
                depth += 1;
                if let Some(name) = inline_module(tokens, at) {
                    inline.push((depth, name.to_owned()));
                }
            }
            Kind::Mark('}') => {
                inline.pop_if(|(opened, _)| *opened == depth);
                depth -= 1;
            }
            Kind::Name(head) if begins_path(tokens, at, head) => {
                let from: Vec<String> = module.iter().chain(inline.iter().map(|(_, name)| name)).cloned().collect();
                let mut paths = Vec::new();
                written(tokens, at, &mut Vec::new(), &mut paths);
                found.extend(paths.into_iter().map(|(line, path)| {
                    let to = absolute(&from, &path);
                    Reference { line, from: from.clone(), to }
                }));
            }
            _ => {}
        }
    }
    found
}

/// The name of the module whose body opens here: `mod name {`.
fn inline_module(tokens: &[Token], brace: usize) -> Option<&str> {
    let [.., keyword, name] = tokens.get(..brace)? else {
        return None;
    };
    match (&keyword.kind, &name.kind) {
        (Kind::Name(keyword), Kind::Name(name)) if keyword == "mod" => Some(name),
        _ => None,
    }
}

/// Whether a path relative to this crate begins at this name. `pub(in crate::a)` names no
/// dependency.
fn begins_path(tokens: &[Token], at: usize, head: &str) -> bool {
    let before = at.checked_sub(1).map(|before| &tokens[before].kind);
    let visibility =
        matches!(before, Some(Kind::Name(name)) if name == "in") && at >= 2 && tokens[at - 2].kind == Kind::Mark('(');
    matches!(head, "crate" | "self" | "super")
        && before != Some(&Kind::Separator)
        && !visibility
        && tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Separator)
}

/// Collects the paths written from here on, one for each branch of a `{...}` group, and returns
/// where they end.
fn written(tokens: &[Token], mut at: usize, path: &mut Vec<String>, found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let outer = path.len();
    let line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(Kind::Name(name)) = tokens.get(at).map(|token| &token.kind) {
        path.push(name.clone());
        at += 1;
        if tokens.get(at).map(|token| &token.kind) != Some(&Kind::Separator) {
            break;
        }
        at += 1;
        if tokens.get(at).map(|token| &token.kind) == Some(&Kind::Mark('{')) {
            let end = group(tokens, at, path, found);
            path.truncate(outer);
            return end;
        }
    }
    if tokens.get(at).map(|token| &token.kind) == Some(&Kind::Mark('*')) {
        path.push("*".to_owned());
        at += 1;
    }
    found.push((line, path.clone()));
    path.truncate(outer);
    at
}

/// The branches of a group, each with the path in front of it. An `as name` between them is passed
/// over.
fn group(tokens: &[Token], open: usize, path: &mut Vec<String>, found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut at = open + 1;
    loop {
        if matches!(tokens.get(at).map(|token| &token.kind), Some(Kind::Name(_) | Kind::Mark('*'))) {
            at = written(tokens, at, path, found);
        }
        while !matches!(tokens.get(at).map(|token| &token.kind), None | Some(Kind::Mark(',' | '}'))) {
            at += 1;
        }
        match tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Mark(',')) => at += 1,
            _ => return at + 1,
        }
    }
}

/// Resolves `crate`, `self` and `super`; a `self` inside a group is the path in front of it.
fn absolute(from: &[String], path: &[String]) -> Vec<String> {
    let mut to = from.to_vec();
    for part in path {
        match part.as_str() {
            "crate" => to.clear(),
            "self" => {}
            "super" => _ = to.pop(),
            _ => to.push(part.clone()),
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "```order\ncrates: shop\nshop: till shelf hall\nshop/hall: floor lamp\n```";

    /// The lines of one file that are against the order.
    fn lines(file: &str, text: &str) -> Vec<usize> {
        let order = Order::parse(MAP).expect("a good map");
        let found = violations(&order, "shop", Path::new("src"), &[(file.into(), text.to_owned())]);
        found.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_path_may_point_down_and_not_up() {
        assert_eq!(lines("shelf.rs", "use crate::till::Coin;"), []);
        assert_eq!(lines("shelf.rs", "\nuse crate::hall::Door;"), [2]);
        assert_eq!(lines("shelf/board.rs", "fn f() { super::super::hall::open() }"), [1]);
        assert_eq!(lines("till.rs", "fn f(c: $crate::shelf::Can) {}"), [1]);
        assert_eq!(lines("till.rs", "use self::coin::Coin; use super::till::Note;"), []);
        assert_eq!(lines("lib.rs", "use crate::hall::Door; pub use self::shelf::Can;"), []);
    }

    #[test]
    fn every_branch_of_a_group_counts() {
        let text = "use crate::{\n  till::{self, Coin},\n  shelf as s,\n  hall::{floor::*, lamp::Lamp},\n};";
        assert_eq!(lines("till.rs", text), [3, 4, 4]);
        assert_eq!(lines("hall/mod.rs", text), []);
    }

    #[test]
    fn the_crate_root_is_not_a_way_round() {
        assert_eq!(lines("till.rs", "use crate::Door;"), [1]);
        assert_eq!(lines("till.rs", "use super::*;"), [1]);
        assert_eq!(lines("till.rs", "mod tests { use super::*; }"), []);
        assert_eq!(lines("till.rs", "mod tests { use super::super::hall; }"), [1]);
        assert_eq!(lines("till.rs", "mod tests { fn f() {} } use super::hall;"), [1]);
    }

    #[test]
    fn a_folder_with_an_entry_has_an_order_inside() {
        assert_eq!(lines("hall/floor.rs", "use super::lamp::Lamp;"), [1]);
        assert_eq!(lines("hall/lamp.rs", "use crate::hall::floor::Tile;"), []);
        assert_eq!(lines("hall/floor.rs", "use super::Door;"), [1]);
        assert_eq!(lines("hall/tests.rs", "use super::{Door, lamp};"), []);
        assert_eq!(lines("hall/mod.rs", "mod tests { use super::*; use super::lamp; }"), []);
    }

    #[test]
    fn modules_side_by_side_do_not_name_each_other() {
        let order = Order::parse("```order\ncrates: shop\nshop: till [shelf rack] hall\n```").expect("a good map");
        let file = ("rack.rs".into(), "use crate::till; use crate::rack::Hook;\nuse crate::shelf;".to_owned());
        let found = violations(&order, "shop", Path::new("src"), &[file]);
        let places: Vec<_> = found.iter().map(|violation| (violation.line, violation.message.as_str())).collect();
        assert_eq!(places, [(2, "`rack` names `shelf`, which stands beside it in `shop`")]);
    }

    #[test]
    fn visibility_and_prose_name_no_dependency() {
        assert_eq!(lines("till.rs", "pub(in crate::hall) fn f() {} pub(crate) fn g() {}"), []);
        assert_eq!(lines("till.rs", "//! See [`crate::hall`].\nconst C: &str = \"crate::hall::x\";"), []);
    }

    #[test]
    fn a_module_without_a_place_is_found() {
        assert_eq!(lines("cellar.rs", ""), [1]);
        assert_eq!(lines("hall/stairs/mod.rs", ""), [1]);
        assert_eq!(lines("cellar/wine.rs", ""), []);
        assert_eq!(lines("shelf/anything.rs", ""), []);
    }

    #[test]
    fn a_place_without_a_module_is_found() {
        let order = Order::parse(MAP).expect("a good map");
        let files = ["lib.rs", "till.rs", "shelf/mod.rs", "hall/mod.rs", "hall/floor.rs"];
        let sources = files.map(|file| (PathBuf::from(file), String::new()));
        let found = listed_without_a_file(&order, "shop", Path::new("MAP.md"), &sources);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "MAP.md:4: shop/hall lists `lamp`, which has no file");
    }
}
