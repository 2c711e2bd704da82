//! The command line of sidehook.

fn main() {}
