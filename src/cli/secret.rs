//! `sidehook secret`: makes a signing secret.

use std::io::Write;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The text below the help.
const EXAMPLES: &str = "\
Examples:
  sidehook secret > billing.secret
  sidehook secret | sidehook rotate-secret billing --secret-file -";

/// Make a signing secret: whsec_ and the base64 of random bytes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SecretArgs {
    /// Length of the key, 24 to 64 bytes
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u8).range(24..=64))]
    bytes: u8,
}

/// Writes one secret on a line of its own. The exit code is 0.
///
/// # Errors
/// The system has no randomness, or `out` takes no text.
pub(crate) fn run(args: &SecretArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut key = Zeroizing::new(vec![0; usize::from(args.bytes)]);
    getrandom::fill(&mut key).context("the system gives no random bytes")?;
    let text = Zeroizing::new(STANDARD.encode(&key));
    writeln!(out, "whsec_{}", *text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;
    use crate::signing::Scheme;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: SecretArgs,
    }

    fn made(arguments: &[&str]) -> String {
        let arguments = [&["secret"], arguments].concat();
        let mut out = Vec::new();
        let args = Command::try_parse_from(arguments).unwrap().args;
        assert_eq!(run(&args, &mut out).unwrap(), 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_secret_is_another_and_fits_the_standard_scheme() {
        let secrets = [made(&[]), made(&[]), made(&["--bytes", "24"])];
        assert_ne!(secrets[0], secrets[1]);
        for line in secrets {
            let text = line.strip_suffix('\n').unwrap();
            let secret = Secret::new(text.as_bytes().to_vec());
            assert_eq!(Scheme::standard().check_secret(&secret), Ok(()), "{text}");
        }
    }

    #[test]
    fn the_length_is_that_of_the_key() {
        let length = |bytes: &str| {
            let line = made(&["--bytes", bytes]);
            let encoded = line.trim_end().strip_prefix("whsec_").unwrap().to_owned();
            STANDARD.decode(encoded).unwrap().len()
        };
        assert_eq!(length("24"), 24);
        assert_eq!(length("64"), 64);
    }

    #[test]
    fn a_length_that_no_receiver_takes_is_refused() {
        for bytes in ["23", "65", "many"] {
            assert!(Command::try_parse_from(["secret", "--bytes", bytes]).is_err());
        }
    }
}
