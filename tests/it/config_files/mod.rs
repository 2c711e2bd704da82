//! The configuration file format, by its fixtures: what is wrong is said with its place, what is right is loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sidehook::config::{ConfigError, Environment, Loaded, Problem, load};

mod auth;
mod bounds;
mod concealed;
mod definition;
mod differences;
mod filters;
mod outside;
mod pages;
mod robustness;
mod values;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/config")
        .join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn environment() -> Environment {
    let variables = [
        (
            "SECRET",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("SHORT", "short"),
        ("TOKEN", "0123456789abcdef0123456789abcdef"),
        ("URL", "https://partner.example.com/capability"),
        ("OTHER_URL", "https://partner.example.com/other"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Environment {
        variables: variables.into_iter().map(owned).collect::<BTreeMap<_, _>>(),
    }
}

fn shown(problems: &[Problem]) -> Vec<String> {
    let line = |problem: &Problem| {
        let text = problem.to_string();
        let file = problem.file.to_str().unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config/invalid");
        text.strip_prefix(file)
            .unwrap()
            .trim_start_matches(':')
            .replace(&format!("{folder}/"), "")
    };
    problems.iter().map(line).collect()
}

/// The comments `# expected: …` at the beginning of a file.
fn expected(text: &str, label: &str) -> Vec<String> {
    text.lines()
        .take_while(|line| line.starts_with('#'))
        .filter_map(|line| line.strip_prefix(&format!("# {label}: ")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_wrong_file_gives_its_errors_in_order() {
    let files = fixtures("invalid");
    assert!(files.len() >= 60, "{} fixtures", files.len());
    let mut failures = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let found = match load(&file, &environment()) {
            Ok(_) => Vec::new(),
            Err(error) => shown(&error.0),
        };
        let expected = expected(&text, "expected");
        if expected.is_empty() || found != expected {
            failures.push(format!(
                "{}\n  found    {found:#?}\n  expected {expected:#?}",
                file.display()
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What the API answers by field is made of these paths.
#[test]
fn each_problem_of_a_subscription_names_its_field() {
    let mut named = 0;
    for file in fixtures("invalid") {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("sub_") || name == "sub_not_utf8.yaml" {
            continue;
        }
        for problem in load(&file, &environment()).unwrap_err().0.iter() {
            let field = match problem.path.split('.').collect::<Vec<_>>()[..] {
                ["subscriptions", _, field, ..] | ["defaults", field, ..] => field,
                _ => panic!("{problem} names no field"),
            };
            assert!(field.starts_with(|first: char| first.is_ascii_lowercase()));
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

#[test]
fn each_right_file_loads_with_its_warnings() {
    let files = fixtures("valid");
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let loaded = load(&file, &environment())
            .map_err(|error| error.to_string())
            .unwrap();
        assert_eq!(
            shown(&loaded.warnings),
            expected(&text, "warning"),
            "{}",
            file.display()
        );
    }
}

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    load(&path, &environment())
}
