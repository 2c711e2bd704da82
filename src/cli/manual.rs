//! `sidehook completions` and `sidehook man`: made of the same description as the command line itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::help::command;

/// The text below the help of `completions`.
const COMPLETIONS: &str = "\
Examples:
  sidehook completions bash > /etc/bash_completion.d/sidehook
  sidehook completions zsh > ~/.zfunc/_sidehook
  sidehook completions fish > ~/.config/fish/completions/sidehook.fish";

/// The text below the help of `man`.
const MAN: &str = "\
Examples:
  sidehook man | man -l -
  sidehook man replay | man -l -
  sidehook man --out /usr/local/share/man/man1      all pages";

/// Print what makes a shell complete commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = COMPLETIONS)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Print the manual page of a command, or write all of them into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = MAN)]
pub(crate) struct ManArgs {
    /// Of this command. Default: of the program
    command: Option<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

/// Prints the completions of the command line.
///
/// # Errors
/// Standard output takes nothing.
pub(crate) fn completions(args: &CompletionsArgs, program: Command) -> anyhow::Result<ExitCode> {
    // In memory first: the generator would panic when the reader goes away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(program), "sidehook", &mut script);
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints a page of the command line, or writes all.
///
/// # Errors
/// There is no such command, or what is written to takes nothing.
pub(crate) fn man(args: &ManArgs, program: Command) -> anyhow::Result<ExitCode> {
    let pages = pages(program);
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, page) in &pages {
            write(&folder.join(format!("{name}.1")), page)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = match &args.command {
        Some(command) => format!("sidehook-{command}"),
        None => "sidehook".to_owned(),
    };
    let page = pages.iter().find(|(known, _)| *known == name);
    let (_, page) = page.with_context(|| {
        let command = args.command.as_deref().unwrap_or_default();
        format!("there is no command {command:?}, see sidehook --help")
    })?;
    io::stdout().write_all(page)?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, page: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, page).with_context(|| path.display().to_string())
}

/// Every page with its name, that of the program first.
fn pages(program: Command) -> Vec<(String, Vec<u8>)> {
    // `help` has no page that it could refer to.
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = vec![("sidehook".to_owned(), page(program.clone()))];
    for known in program.get_subcommands() {
        let name = format!("sidehook-{}", known.get_name());
        pages.push((name, page(known.clone())));
    }
    pages
}

fn page(command: Command) -> Vec<u8> {
    let examples = command.get_after_help().map(ToString::to_string);
    let has_commands = command.get_subcommands().next().is_some();
    let man = Man::new(command.subcommand_help_heading("Commands"));
    let mut page = Vec::new();
    let mut render = || -> io::Result<()> {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if has_commands {
            man.render_subcommands_section(&mut page)?;
        }
        writeln!(page, ".SH NOTES\n.nf")?;
        for line in examples.iter().flat_map(|text| text.lines()) {
            writeln!(page, "{}", escaped(line))?;
        }
        writeln!(page, ".fi")
    };
    // Writing to memory cannot fail.
    render().unwrap_or_default();
    page
}

/// A line that is shown as it is. Source: groff(7), "Escape sequences".
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let pages = pages(Cli::command());
        assert!(pages.len() > 10);
        for (name, page) in &pages {
            let text = String::from_utf8(page.clone()).unwrap();
            assert!(text.contains(".SH NAME"), "{name}");
            assert!(text.contains(".SH SYNOPSIS"), "{name}");
            assert!(text.contains("sidehook"), "{name}");
        }
        let (_, replay) = pages
            .iter()
            .find(|(name, _)| name == "sidehook-replay")
            .unwrap();
        let replay = String::from_utf8(replay.clone()).unwrap();
        assert!(replay.contains("dry\\-run"), "{replay}");
        let example = "\n  sidehook replay \\-\\-list  ";
        assert!(replay.contains(example), "{replay}");
        assert_eq!(escaped(".a \\ '-"), "\\&.a \\e '\\-");
    }

    #[test]
    fn every_shell_can_complete_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(Cli::command()), "sidehook", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("rotate-secret"), "{shell}");
        }
    }
}
