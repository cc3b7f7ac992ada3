//! Notices that files change.
//!
//! A file is found by its path, and every symbolic link on the way is a place where another file can be put
//! in: a Kubernetes ConfigMap is swapped by renaming a link to its folder, editors rename a new file over
//! the old one. So what is watched are the folders of the file and of every such link, and of the events in
//! there those about the very names that the path leads through.
//!
//! Bounds: one watch for each folder of a file that the configuration names; one event that waits.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long files must be left alone before a change counts as complete.
const QUIET: Duration = Duration::from_millis(100);

/// How long a change may be put off when files are never left alone.
const LONGEST_QUIET: Duration = Duration::from_secs(2);

/// Links on the way to one file, as many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Watches some files.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    names: Arc<Mutex<BTreeSet<PathBuf>>>,
    events: mpsc::Receiver<()>,
    /// When the change that was noticed is complete, and when it counts as such at the latest.
    due: Option<(Instant, Instant)>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// When the system has no watch left.
    pub(super) fn new() -> notify::Result<Self> {
        let names = Arc::<Mutex<BTreeSet<PathBuf>>>::default();
        let (sender, events) = mpsc::channel(1);
        let known = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let names = known.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| concerns(&event, &names)) {
                // Full is as good: one that waits stands for all of them.
                let _ = sender.try_send(());
            }
        })?;
        Ok(Self { watcher, folders: BTreeSet::new(), names, events, due: None })
    }

    /// Watches these files and no others. A change after this is noticed, also of a file that is watched
    /// already. Returns the folders that cannot be watched, and why.
    pub(super) fn follow(&mut self, files: &[PathBuf]) -> Vec<(PathBuf, notify::Error)> {
        let names: BTreeSet<_> = files.iter().flat_map(|file| names_on_the_way(file)).collect();
        let folders: BTreeSet<_> = names.iter().filter_map(|name| name.parent().map(Path::to_owned)).collect();
        let mut watched = names;
        watched.extend(folders.iter().cloned());
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        for gone in self.folders.difference(&folders) {
            // Fails when the folder itself is gone, and its watch with it.
            let _ = self.watcher.unwatch(gone);
        }
        let mut failures = Vec::new();
        for folder in &folders {
            // Also where it is watched already: another folder may be there now by the same name.
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                failures.push((folder.clone(), error));
            }
        }
        self.folders = folders;
        failures
    }

    /// Waits until something has changed and is complete. Nothing is lost when this is dropped.
    pub(super) async fn changed(&mut self) {
        loop {
            let event = match self.due {
                None => self.events.recv().await,
                Some((complete, latest)) => {
                    let until = complete.min(latest);
                    let Ok(event) = tokio::time::timeout_at(until, self.events.recv()).await else {
                        self.due = None;
                        return;
                    };
                    event
                }
            };
            if event.is_none() {
                // The watching thread has ended; there is nothing to wait for any more.
                std::future::pending::<()>().await;
            }
            let now = Instant::now();
            let latest = self.due.map_or(now + LONGEST_QUIET, |(_, latest)| latest);
            self.due = Some((now + QUIET, latest));
        }
    }
}

/// Whether an event is a change of one of these names.
fn concerns(event: &Event, names: &BTreeSet<PathBuf>) -> bool {
    let is_change = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    // Where events were lost, nobody knows what they were about.
    is_change && (event.need_rescan() || event.paths.iter().any(|path| names.contains(path)))
}

/// Every name that decides which file a path leads to: the links on the way and the file itself, each in its
/// real folder. Of names that do not exist, the first one.
fn names_on_the_way(path: &Path) -> Vec<PathBuf> {
    let Ok(path) = std::path::absolute(path) else { return Vec::new() };
    let mut names = Vec::new();
    let mut at = PathBuf::new();
    let mut rest: VecDeque<_> = path.components().map(step).collect();
    while let Some(next) = rest.pop_front() {
        match Path::new(&next).components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(name)) => at.push(name),
            _ => {}
        }
        match fs::read_link(&at) {
            Ok(target) if names.len() < MOST_LINKS => {
                names.push(at.clone());
                at.pop();
                for component in target.components().rev() {
                    rest.push_front(step(component));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            _ => {}
        }
    }
    names.push(at);
    names
}

fn step(component: Component<'_>) -> OsString {
    component.as_os_str().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A folder as a ConfigMap is mounted: `gateway.yaml` → `..data/gateway.yaml`, `..data` → `..1`.
    fn config_map() -> (TempDir, PathBuf) {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path().canonicalize().expect("it exists");
        write_generation(&root, 1);
        symlink("..1", root.join("..data")).expect("a link");
        symlink("..data/gateway.yaml", root.join("gateway.yaml")).expect("a link");
        (folder, root)
    }

    fn write_generation(root: &Path, number: u32) {
        let generation = root.join(format!("..{number}"));
        fs::create_dir(&generation).expect("a folder");
        fs::write(generation.join("gateway.yaml"), number.to_string()).expect("writable");
    }

    fn swap(root: &Path, number: u32) {
        symlink(format!("..{number}"), root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("writable");
    }

    #[test]
    fn the_way_leads_through_links() {
        let (_folder, root) = config_map();
        let names = names_on_the_way(&root.join("..1/../gateway.yaml"));
        assert_eq!(names, [root.join("gateway.yaml"), root.join("..data"), root.join("..1/gateway.yaml")]);
    }

    #[test]
    fn of_what_is_missing_the_first_name_counts() {
        let (_folder, root) = config_map();
        assert_eq!(names_on_the_way(&root.join("no/such/file")), [root.join("no")]);
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = TempDir::new().expect("a folder");
        let link = folder.path().join("link");
        symlink(&link, &link).expect("a link");
        assert!(names_on_the_way(&link).len() <= MOST_LINKS + 1);
    }

    #[test]
    fn looking_is_no_change() {
        let names = BTreeSet::from([PathBuf::from("/a")]);
        let event = |kind, path: &str| Event::new(kind).add_path(path.into());
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!concerns(&event(opened, "/a"), &names));
        assert!(!concerns(&event(written, "/b"), &names));
        assert!(concerns(&event(written, "/a"), &names));
    }

    async fn is_noticed(watch: &mut Watch) {
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.expect("the change is noticed");
    }

    #[tokio::test]
    async fn swaps_renames_and_writes_are_noticed() {
        let (_folder, root) = config_map();
        let file = root.join("gateway.yaml");
        let mut watch = Watch::new().expect("a watch");
        assert!(watch.follow(std::slice::from_ref(&file)).is_empty());
        for number in 2..5 {
            write_generation(&root, number);
            swap(&root, number);
            is_noticed(&mut watch).await;
            watch.follow(std::slice::from_ref(&file));
        }
        fs::write(root.join("..4/gateway.yaml"), "in place").expect("writable");
        is_noticed(&mut watch).await;
        fs::write(root.join("new"), "renamed").expect("writable");
        fs::rename(root.join("new"), &file).expect("writable");
        is_noticed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_folder_that_goes_and_comes_back_is_noticed() {
        let root = TempDir::new().expect("a folder");
        let folder = root.path().join("conf");
        let file = folder.join("gateway.yaml");
        fs::create_dir(&folder).expect("writable");
        fs::write(&file, "").expect("writable");
        let mut watch = Watch::new().expect("a watch");
        watch.follow(std::slice::from_ref(&file));
        for _ in 0..2 {
            fs::remove_dir_all(&folder).expect("writable");
            is_noticed(&mut watch).await;
            watch.follow(std::slice::from_ref(&file));
            fs::create_dir(&folder).expect("writable");
            is_noticed(&mut watch).await;
            watch.follow(std::slice::from_ref(&file));
            fs::write(&file, "").expect("writable");
            is_noticed(&mut watch).await;
        }
    }
}
