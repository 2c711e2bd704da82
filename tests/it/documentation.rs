//! The pages for people: the README stays an introduction, every page is found from it, and every link leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What somebody reads who wants to know whether sidehook is for them.
const README_LINES_MAX: usize = 150;

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let readme = read(Path::new("README.md"));
    let lines = readme.lines().count();
    assert!(
        lines <= README_LINES_MAX,
        "README.md has {lines} lines, {README_LINES_MAX} at most: what is looked up belongs into docs/"
    );
    let linked: BTreeSet<_> = links(&readme)
        .iter()
        .map(|link| path_and_anchor(link).0.to_owned())
        .collect();
    for page in folder("docs") {
        let page = page.display().to_string();
        assert!(
            linked.contains(&page),
            "README.md has no link to {page}: {linked:?}"
        );
    }
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut pages = folder("docs");
    let others = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"];
    pages.extend(others.map(PathBuf::from));
    pages.extend(folder("examples"));
    let (mut checked, mut broken) = (0, Vec::new());
    for page in pages {
        for link in links(&read(&page)) {
            if link.contains("://") {
                continue;
            }
            checked += 1;
            if let Some(wrong) = wrong_with(&page, &link) {
                broken.push(format!("{}: {link}: {wrong}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(checked > 20, "only {checked} links found");
}

/// Says why a link of a page leads nowhere; `None` if it is right.
fn wrong_with(page: &Path, link: &str) -> Option<&'static str> {
    let (path, anchor) = path_and_anchor(link);
    let target = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap_or(Path::new("")).join(path),
    };
    if !root().join(&target).exists() {
        return Some("no such file");
    }
    let anchor = anchor?;
    let is_heading = anchors(&read(&target)).contains(anchor);
    (!is_heading).then_some("no such heading")
}

fn path_and_anchor(link: &str) -> (&str, Option<&str>) {
    match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    }
}

/// The targets of all inline links, `[text](target)`, of a page.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The anchors that a page has: its headings in lower case, with hyphens for spaces and without punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text_without_blocks(text);
    headings
        .lines()
        .filter_map(|line| {
            let title = line.trim_start_matches('#').strip_prefix(' ')?;
            line.starts_with('#').then(|| anchor(title))
        })
        .collect()
}

fn anchor(title: &str) -> String {
    let kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
    let title: String = title.to_lowercase().chars().filter(kept).collect();
    title.replace(' ', "-")
}

/// A page without its blocks of code and what stands between backticks.
fn prose(text: &str) -> String {
    let text = text_without_blocks(text);
    text.split('`').step_by(2).collect()
}

fn text_without_blocks(text: &str) -> String {
    let mut is_code = false;
    text.lines()
        .filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

/// The pages of a folder, relative to the root; at least one.
fn folder(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(name)).unwrap();
    let pages: Vec<_> = entries
        .map(|entry| Path::new(name).join(entry.unwrap().file_name()))
        .filter(|page| page.extension().is_some_and(|extension| extension == "md"))
        .collect();
    assert!(!pages.is_empty(), "no pages in {name}");
    pages
}

fn read(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
